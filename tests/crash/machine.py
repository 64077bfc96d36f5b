"""Machine: the processes of a service can be stopped together, and their clock can be stepped.

A suspended machine is simulated in two parts. Every process is stopped by SIGSTOP; and before they continue,
their wall clock and CLOCK_BOOTTIME are stepped, while CLOCK_MONOTONIC is not, as Linux does. Processes that
were started with `environ` see the step, through a small library in front of libc (clock.c).
"""

import mmap
import os
import random
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lists.clock import Clock

SOURCE = Path(__file__).with_name("clock.c")
OFFSET = struct.Struct("q")  # nanoseconds
WAKING_SECONDS = 6.0  # the longest from one process that wakes to the next, as when its memory is read back


class MachineClock(Clock):
    """The clock of a machine that can be suspended, for this process; `environ` sets it for others."""

    def __init__(self, folder: Path) -> None:
        """Build the library in this folder; raises LookupError where there is no C compiler.

        Every account with processes that use it must be able to read this folder.
        """
        super().__init__()
        compiler = shutil.which("cc")
        if compiler is None:
            raise LookupError("A C compiler is missing; install one with:  apt-get install gcc libc6-dev")
        library, file = folder / "clock.so", folder / "clock"
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"], check=True)
        file.write_bytes(OFFSET.pack(0))
        for path in (library, file):
            path.chmod(0o755)
        self.environ: Mapping[str, str] = {"LD_PRELOAD": str(library), "PROOF_CLOCK": str(file)}
        with file.open("r+b") as stream:
            self._mapped = mmap.mmap(stream.fileno(), OFFSET.size)

    def machine(self) -> datetime:
        """Return the time of the machine's wall clock."""
        (nanoseconds,) = OFFSET.unpack(self._mapped[:])
        return datetime.now(UTC) + timedelta(microseconds=nanoseconds / 1000)

    def real(self) -> datetime:
        """Return the same: the database uses it, too."""
        return self.machine()

    def step(self, length: timedelta) -> None:
        """Advance the wall clock and CLOCK_BOOTTIME by this length."""
        (nanoseconds,) = OFFSET.unpack(self._mapped[:])
        self._mapped[:] = OFFSET.pack(nanoseconds + length // timedelta(microseconds=1) * 1000)


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    descendants = [pid]
    for parent in descendants:
        for path in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(FileNotFoundError, ProcessLookupError):
                descendants += [int(child) for child in path.read_text().split()]
    return descendants


def stop(pids: Iterable[int]) -> None:
    """Stop these processes (SIGSTOP)."""
    _signal(pids, signal.SIGSTOP)


def go_on(pids: Iterable[int]) -> None:
    """Continue these processes (SIGCONT)."""
    _signal(pids, signal.SIGCONT)


def wake(pids: Iterable[int], *, dice: random.Random) -> None:
    """Continue these processes in any order, some later than others."""
    pids = list(pids)
    dice.shuffle(pids)
    for pid in pids:
        go_on([pid])
        if dice.random() < 0.5:
            time.sleep(dice.uniform(0.0, WAKING_SECONDS))


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
