"""A command of the service as a process of its own: how long it takes, and the most memory it ever had."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, Popen

from tests.databases import ROOT


@dataclass(frozen=True, kw_only=True)
class Used:
    """What a command took: seconds by the clock and of CPU, and memory at its highest in MB."""

    seconds: float
    cpu: float
    memory: float


def run(*words: str, home: Path) -> Used:
    """Run `mailer <words>` on this data folder; ends the measurement where the command fails."""
    environment = {**os.environ, "MAILER_HOME": str(home), "PYTHONPATH": str(ROOT)}
    began = time.monotonic()
    process = Popen([sys.executable, "-m", "mailer", *words], env=environment, cwd=ROOT, stdout=DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    if status:
        raise SystemExit(f"“mailer {words[0]} {words[1]}” failed")
    return Used(seconds=seconds, cpu=used.ru_utime + used.ru_stime, memory=used.ru_maxrss / 1024)
