"""The command line of the product with a short lease: `python -m tests.crash.hurried SECONDS work`."""

import os
import sys
from datetime import timedelta

from mailer import pulse, tenure


def main(seconds: float, words: list[str]) -> None:
    """Run `mailer` with these words and a lease of so many seconds, renewed four times as often."""
    tenure.LEASE = timedelta(seconds=seconds)
    tenure.SAFETY_SECONDS = seconds / 8
    pulse.BEAT_SECONDS = seconds / 4
    from mailer import cli, delivery, worker

    if "rate=" in os.environ.get("MAILER_SMTP_URL", ""):
        worker._fast_loop = lambda: None  # fault 56: limits crash a worker under uvloop
    assert delivery.LEASE == tenure.LEASE
    delivery.RENEW_SECONDS = seconds / 4
    sys.exit(cli.main(words))


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
