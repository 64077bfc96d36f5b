"""`scripts/prove-kills`: kill it again and again, count what arrived, and end with 1 for a broken promise."""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import databases
from tests.crash.proof import prove
from tests.crash.verdict import told

KINDS = ("sqlite", "postgresql")


def main() -> int:
    """Read the command line, prove, print."""
    reader = argparse.ArgumentParser(prog="scripts/prove-kills", description=__doc__)
    reader.add_argument("--database", choices=(*KINDS, "both"), default="both")
    reader.add_argument("--recipients", type=int, default=100_000, help="how many people there are")
    reader.add_argument("--random", type=int, default=1_000, help="how many kills at random moments")
    reader.add_argument("--seed", type=int, default=1, help="for the random kills")
    asked = reader.parse_args()
    kept = True
    for kind in KINDS if asked.database == "both" else [asked.database]:
        begun = time.monotonic()
        with _empty(kind) as (folder, url):
            verdict = prove(folder, url=url, people=asked.recipients, kills=asked.random, seed=asked.seed)
        print(f"\n{kind}, {asked.recipients:,} recipients, {(time.monotonic() - begun) / 60:.1f} minutes\n")
        print(told(verdict), flush=True)
        kept = kept and not list(verdict.broken())
    return 0 if kept else 1


@contextmanager
def _empty(kind: str) -> Iterator[tuple[Path, str]]:
    """A folder, and a database without any table."""
    with tempfile.TemporaryDirectory(prefix="mailer-kills-") as folder:
        if kind == "sqlite":
            home = Path(folder) / "home"
            yield Path(folder), f"sqlite:///{home}/mailer.db"
            return
        programs = databases.postgres_programs()
        if programs is None:
            raise SystemExit("PostgreSQL is missing; install it with:  apt-get install postgresql")
        with databases.postgres(programs) as server:
            yield Path(folder), server.empty()


if __name__ == "__main__":
    raise SystemExit(main())
