"""Forge: forks victims, one at a time, from a process with all code imported: see tests/crash/victim.py."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from tests.crash.points import Point


class Victim:
    """A process that runs `mailer`, to be killed at a point, or at any moment."""

    def __init__(self, forge: subprocess.Popen[bytes], point: Point | None, *words: str) -> None:
        assert forge.stdin is not None and forge.stdout is not None
        self.name = " ".join(words) if point is None else point.name
        self._ended, self._status = forge.stdout, None
        request = [None if point is None else asdict(point), *words]
        forge.stdin.write(json.dumps(request).encode() + b"\n")
        forge.stdin.flush()
        self.pid = int(self._ended.readline())

    @property
    def status(self) -> int | None:
        """How it ended, or None while it runs."""
        if self._status is None and select.select([self._ended], [], [], 0)[0]:
            self._status = int(self._ended.readline())
        return self._status

    def stop(self) -> None:
        """Let it finish what it began, and end."""
        if self.status is None:
            os.kill(self.pid, signal.SIGTERM)


class Forge:
    """The process that forks them; `log` receives their output."""

    def __init__(self, environ: Mapping[str, str], *, log: Path) -> None:
        self._victim: Victim | None = None
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.victim"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                env=environ,
            )

    @property
    def is_free(self) -> bool:
        """Whether its last victim has ended."""
        return self._victim is None or self._victim.status is not None

    def fork(self, point: Point | None, *words: str) -> Victim:
        """Start `mailer` with these words, armed with this point."""
        self._victim = Victim(self._process, point, *words)
        return self._victim

    def close(self) -> None:
        """End it, and its victim if that still runs."""
        if not self.is_free:
            assert self._victim is not None
            os.kill(self._victim.pid, signal.SIGKILL)
        self._process.communicate(b"")
