"""The command line of the product with a short lease: `python -m tests.crash.hurried SECONDS work`."""

import sys
from datetime import timedelta

from mailer.coordination import heartbeat
from mailer.delivery import worker_lease


def main(seconds: float, words: list[str]) -> None:
    """Run `mailer` with these words and a lease of so many seconds, renewed four times as often."""
    worker_lease.LEASE = timedelta(seconds=seconds)
    worker_lease.SAFETY_SECONDS = seconds / 8
    heartbeat.BEAT_SECONDS = seconds / 4
    from mailer import cli
    from mailer.delivery import delivery

    assert delivery.LEASE == worker_lease.LEASE
    delivery.RENEW_SECONDS = seconds / 4
    sys.exit(cli.main(words))


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
