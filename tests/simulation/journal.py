"""Journal: the real journal of a simulated worker, with steps at which it may be killed or refused."""

import errno
from pathlib import Path

from mailer.delivery.journal import Journal
from tests.simulation.process import Process


class SimulatedJournal(Journal):
    """Writes the lines of a real one; each line is a step, and may be refused as by a full disk."""

    def __init__(self, folder: Path, *, process: Process) -> None:
        self.process = process
        self._open = False
        process.step("journal: begun")
        super().__init__(folder, worker=process.name)
        self._open = True

    def record_start(self, row: int, attempt: int) -> None:
        self.process.world.witness.check_dot(self.process, row, attempt)
        self.process.step("journal: before the line")
        if self.process.world.faults.refuses_journal():
            raise OSError(errno.ENOSPC, "No space left on device")
        super().record_start(row, attempt)
        self.process.world.witness.journals.begin(row, attempt)
        self.process.step("journal: after the line")

    def record_outcome(self, row: int, attempt: int, state: str) -> None:
        self.process.step("answer: before its line")
        if self.process.world.faults.refuses_journal():
            raise OSError(errno.ENOSPC, "No space left on device")
        super().record_outcome(row, attempt, state)
        self.process.world.witness.journals.answer(row, attempt, state)
        self.process.step("answer: after its line")

    def close(self, *, is_settled: bool) -> None:
        """Close the file, once: another file may have its descriptor a moment later."""
        if self._open:
            self._open = False
            super().close(is_settled=is_settled)

    def release_file(self) -> None:
        """Close the file as the kernel does when its process ends: written lines stay, the lock is freed."""
        self.close(is_settled=False)
