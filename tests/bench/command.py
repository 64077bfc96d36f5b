"""A command of the service as a process of its own: its time, and its highest memory."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, Popen

from tests.databases import ROOT


@dataclass(frozen=True, kw_only=True)
class Used:
    """The resources of a command: seconds by the clock and of CPU, and its highest memory in MB."""

    seconds: float
    cpu: float
    memory: float


def run(*words: str, home: Path) -> Used:
    """Run `mailer <words>` on this data folder; ends the measurement when the command fails."""
    environment = {**os.environ, "MAILER_HOME": str(home), "PYTHONPATH": str(ROOT)}
    began = time.monotonic()
    process = Popen([sys.executable, "-m", "mailer", *words], env=environment, cwd=ROOT, stdout=DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    if status:
        raise SystemExit(f"“mailer {words[0]} {words[1]}” failed")
    return Used(seconds=seconds, cpu=usage.ru_utime + usage.ru_stime, memory=usage.ru_maxrss / 1024)
