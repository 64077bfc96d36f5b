"""`scripts/prove-kills`: kills, freezes, suspends, stalls, cuts off, and counts what arrived.

Each kind of fault is a campaign of its own on each database; 0 leaves a kind out. Exits with 1 for a broken
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
from tests.crash.report import ProofReport, format_report

KINDS = ("sqlite", "postgresql")
READERS, FEWER_READERS = 6_000, 1_000  # of the campaigns with stopped processes
FEW_READERS = 500
WATCHED_SECONDS = 60.0


class Proofs:
    """Runs one campaign after the other on one database, prints each report, and collects the results."""

    def __init__(self, kind: str, *, seed: int) -> None:
        self.kind, self.seed = kind, seed
        self.summary: list[str] = []
        self.all_kept = True

    def run(self, what: str, prove: Callable[[Path], ProofReport]) -> None:
        """Run one campaign in a folder of its own."""
        began = time.monotonic()
        print(f"\n=== {self.kind}: {what}", flush=True)
        try:
            with tempfile.TemporaryDirectory(prefix="mailer-proof-") as folder:
                report = prove(Path(folder))
        except LookupError as error:
            print(error)
            self.summary.append(f"{self.kind:10}  {what:45}  not run: {error}")
            self.all_kept = False
            return
        print(f"\n{format_report(report)}\n({(time.monotonic() - began) / 60:.1f} minutes)", flush=True)
        broken = list(report.broken())
        self.all_kept = self.all_kept and not broken
        worst = f"{max(report.waits):5.1f} s" if report.waits else "      -"
        self.summary.append(
            f"{self.kind:10}  {what:45}  {report.expected:8,}  {len(report.lost):4}  "
            f"{len(report.stranded):8}  {len(report.twice):5}  {report.unknown:7}  {worst}  "
            f"{'kept' if not broken else 'BROKEN'}"
        )


def kills(proofs: Proofs, options: argparse.Namespace) -> None:
    """Kill at every named point and at random."""

    def prove(folder: Path) -> ProofReport:
        with _empty(proofs.kind, folder) as (url, _):
            return proof.prove(
                folder, url=url, people=options.recipients, kills=options.kills, seed=proofs.seed
            )

    proofs.run(f"{options.kills} kills at random, and at every point", prove)


def freeze(proofs: Proofs, options: argparse.Namespace) -> None:
    """Let delivery stand still for longer than its lease."""

    def prove(folder: Path) -> ProofReport:
        with _empty(proofs.kind, folder) as (url, _):
            readers = (
                READERS if proofs.kind == "sqlite" else FEWER_READERS
            )  # these get an update again and again
            return freezes.prove(folder, url=url, people=readers, times=options.freezes, seed=proofs.seed)

    proofs.run(f"{options.freezes} freezes longer than the lease", prove)


def suspend(proofs: Proofs, options: argparse.Namespace) -> None:
    """Suspend the machine for an hour."""

    def prove(folder: Path) -> ProofReport:
        clock = MachineClock(folder)
        with _empty(proofs.kind, folder, clock=clock) as (url, pids):
            return suspensions.prove(
                folder, url=url, people=READERS, times=options.suspensions, clock=clock, database_pids=pids,
                seed=proofs.seed,
            )  # fmt: skip

    proofs.run(f"{options.suspensions} suspensions of an hour", prove)


def stall(proofs: Proofs, options: argparse.Namespace) -> None:
    """Run campaigns with recipients' servers that never answer."""
    for moment in stalls.MOMENTS:

        def prove(folder: Path, moment: str = moment) -> ProofReport:
            with _empty(proofs.kind, folder) as (url, _):
                return stalls.prove(
                    folder, url=url, people=FEW_READERS, stalled=options.stalls, moment=moment,
                    seconds=WATCHED_SECONDS,
                )  # fmt: skip

        proofs.run(f"{options.stalls} recipients that stall at {moment.upper()}", prove)


def cut_off(proofs: Proofs, options: argparse.Namespace) -> None:
    """Cut one of three workers off the network."""
    for _ in range(options.partitions):
        proofs.run(
            f"one of three workers cut off for {partition.CUT_SECONDS:.0f} s",
            lambda folder: partition.prove(folder, people=FEWER_READERS),
        )


def limit(proofs: Proofs, options: argparse.Namespace) -> None:
    """Send many messages under uvloop with limits."""

    def prove(folder: Path) -> ProofReport:
        with _empty(proofs.kind, folder) as (url, _):
            return limited.prove(folder, url=url, people=options.limited)

    proofs.run(f"{options.limited:,} messages under uvloop with limits", prove)


def main() -> int:
    """Read the command line, prove, print."""
    parser = argparse.ArgumentParser(prog="scripts/prove-kills", description=__doc__)
    parser.add_argument("--database", choices=(*KINDS, "both"), default="both")
    parser.add_argument("--kills", "--random", type=int, default=100, help="at random moments (100)")
    parser.add_argument("--recipients", type=int, default=20_000, help="people who are there for the kills")
    parser.add_argument("--freezes", type=int, default=20, help="longer than the lease (20)")
    parser.add_argument("--suspensions", type=int, default=10, help="of the machine, for an hour (10)")
    parser.add_argument("--stalls", type=int, default=10, help="recipients that stall (10)")
    parser.add_argument("--partitions", type=int, default=1, help="cuts of the network, on PostgreSQL (1)")
    parser.add_argument("--limited", type=int, default=20_000, help="messages under uvloop with limits")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that processes and files are cleaned up
    summary: list[str] = []
    all_kept = True
    for kind in KINDS if options.database == "both" else [options.database]:
        proofs = Proofs(kind, seed=options.seed)
        for number, prove in (
            (options.kills, kills),
            (options.freezes, freeze),
            (options.suspensions, suspend),
            (options.stalls, stall),
            (options.partitions if kind == "postgresql" else 0, cut_off),
            (options.limited, limit),
        ):
            if number:
                prove(proofs, options)
        summary += proofs.summary
        all_kept = all_kept and proofs.all_kept
    header = f"{'database':10}  {'what':45}  expected  lost  stranded  twice  unknown  first send"
    print("\n".join(["", header, *summary]))
    return 0 if all_kept else 1


@contextmanager
def _empty(
    kind: str, folder: Path, *, clock: MachineClock | None = None
) -> Iterator[tuple[str, Callable[[], list[int]]]]:
    """Yield an empty database, and the processes that serve it; PostgreSQL's use this clock."""
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
