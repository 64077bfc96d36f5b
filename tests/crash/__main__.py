"""`scripts/prove-kills`: kill it, freeze it, suspend it, stall it, cut it off, and count what arrived.

Each kind of trouble is a campaign of its own on each database; 0 leaves a kind out. Ends with 1 for a broken
promise.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import databases
from tests.crash import freezes, limited, machine, partition, proof, stalls, suspensions
from tests.crash.machine import MachineClock
from tests.crash.verdict import Verdict, told

KINDS = ("sqlite", "postgresql")
READERS, FEWER_READERS = 6_000, 1_000  # of the campaigns that stand still
FEW_READERS = 500
WATCHED_SECONDS = 60.0


class Proofs:
    """Runs one campaign after the other on one database, prints each verdict, and knows whether all kept."""

    def __init__(self, kind: str, *, seed: int) -> None:
        self.kind, self.seed = kind, seed
        self.summary: list[str] = []
        self.kept = True

    def run(self, what: str, prove: Callable[[Path], Verdict]) -> None:
        """Run one campaign in a folder of its own."""
        begun = time.monotonic()
        print(f"\n=== {self.kind}: {what}", flush=True)
        try:
            with tempfile.TemporaryDirectory(prefix="mailer-proof-") as folder:
                verdict = prove(Path(folder))
        except LookupError as missing:
            print(missing)
            self.summary.append(f"{self.kind:10}  {what:45}  not run: {missing}")
            self.kept = False
            return
        print(f"\n{told(verdict)}\n({(time.monotonic() - begun) / 60:.1f} minutes)", flush=True)
        broken = list(verdict.broken())
        self.kept = self.kept and not broken
        worst = f"{max(verdict.waits):5.1f} s" if verdict.waits else "      -"
        self.summary.append(
            f"{self.kind:10}  {what:45}  {verdict.expected:8,}  {len(verdict.lost):4}  "
            f"{len(verdict.stranded):8}  {len(verdict.twice):5}  {verdict.unknown:7}  {worst}  "
            f"{'kept' if not broken else 'BROKEN'}"
        )


def kills(proofs: Proofs, asked: argparse.Namespace) -> None:
    """Kill at every named point and at random."""

    def prove(folder: Path) -> Verdict:
        with _empty(proofs.kind, folder) as (url, _):
            return proof.prove(folder, url=url, people=asked.recipients, kills=asked.kills, seed=proofs.seed)

    proofs.run(f"{asked.kills} kills at random, and at every point", prove)


def freeze(proofs: Proofs, asked: argparse.Namespace) -> None:
    """Let delivery stand still for longer than its lease."""

    def prove(folder: Path) -> Verdict:
        with _empty(proofs.kind, folder) as (url, _):
            readers = (
                READERS if proofs.kind == "sqlite" else FEWER_READERS
            )  # who are written to again and again
            return freezes.prove(folder, url=url, people=readers, times=asked.freezes, seed=proofs.seed)

    proofs.run(f"{asked.freezes} freezes longer than the lease", prove)


def suspend(proofs: Proofs, asked: argparse.Namespace) -> None:
    """Suspend the machine for an hour."""

    def prove(folder: Path) -> Verdict:
        clock = MachineClock(folder)
        with _empty(proofs.kind, folder, clock=clock) as (url, pids):
            return suspensions.prove(
                folder, url=url, people=READERS, times=asked.suspensions, clock=clock, database_pids=pids,
                seed=proofs.seed,
            )  # fmt: skip

    proofs.run(f"{asked.suspensions} suspensions of an hour", prove)


def stall(proofs: Proofs, asked: argparse.Namespace) -> None:
    """Let recipients' servers never answer."""
    for moment in stalls.MOMENTS:

        def prove(folder: Path, moment: str = moment) -> Verdict:
            with _empty(proofs.kind, folder) as (url, _):
                return stalls.prove(
                    folder, url=url, people=FEW_READERS, stalled=asked.stalls, moment=moment,
                    seconds=WATCHED_SECONDS,
                )  # fmt: skip

        proofs.run(f"{asked.stalls} recipients that stall at {moment.upper()}", prove)


def cut_off(proofs: Proofs, asked: argparse.Namespace) -> None:
    """Cut one of three workers off."""
    for _ in range(asked.partitions):
        proofs.run(
            f"one of three workers cut off for {partition.CUT_SECONDS:.0f} s",
            lambda folder: partition.prove(folder, people=FEWER_READERS),
        )


def limit(proofs: Proofs, asked: argparse.Namespace) -> None:
    """Send many messages under uvloop with limits."""

    def prove(folder: Path) -> Verdict:
        with _empty(proofs.kind, folder) as (url, _):
            return limited.prove(folder, url=url, people=asked.limited)

    proofs.run(f"{asked.limited:,} messages under uvloop with limits", prove)


def main() -> int:
    """Read the command line, prove, print."""
    reader = argparse.ArgumentParser(prog="scripts/prove-kills", description=__doc__)
    reader.add_argument("--database", choices=(*KINDS, "both"), default="both")
    reader.add_argument("--kills", "--random", type=int, default=100, help="at random moments (100)")
    reader.add_argument("--recipients", type=int, default=20_000, help="people who are there for the kills")
    reader.add_argument("--freezes", type=int, default=20, help="longer than the lease (20)")
    reader.add_argument("--suspensions", type=int, default=10, help="of the machine, for an hour (10)")
    reader.add_argument("--stalls", type=int, default=10, help="recipients that stall (10)")
    reader.add_argument("--partitions", type=int, default=1, help="cuts of the network, on PostgreSQL (1)")
    reader.add_argument("--limited", type=int, default=20_000, help="messages under uvloop with limits")
    reader.add_argument("--seed", type=int, default=1)
    asked = reader.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was begun is ended and cleared away
    summary: list[str] = []
    kept = True
    for kind in KINDS if asked.database == "both" else [asked.database]:
        proofs = Proofs(kind, seed=asked.seed)
        for number, prove in (
            (asked.kills, kills),
            (asked.freezes, freeze),
            (asked.suspensions, suspend),
            (asked.stalls, stall),
            (asked.partitions if kind == "postgresql" else 0, cut_off),
            (asked.limited, limit),
        ):
            if number:
                prove(proofs, asked)
        summary += proofs.summary
        kept = kept and proofs.kept
    header = f"{'database':10}  {'what':45}  expected  lost  stranded  twice  unknown  first send"
    print("\n".join(["", header, *summary]))
    return 0 if kept else 1


@contextmanager
def _empty(
    kind: str, folder: Path, *, clock: MachineClock | None = None
) -> Iterator[tuple[str, Callable[[], list[int]]]]:
    """A database without any table, and the processes that make it; PostgreSQL's live by this clock."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'home' / 'mailer.db'}", list
        return
    programs = databases.postgres_programs()
    if programs is None:
        raise LookupError("PostgreSQL is missing; install it with:  apt-get install postgresql")
    folder.chmod(0o755)  # its account reads the clock here
    environ = clock.environ if clock else {}
    with databases.postgres(programs, environ=environ) as server:
        yield server.empty(), lambda: machine.tree(server.pid)


if __name__ == "__main__":
    raise SystemExit(main())
