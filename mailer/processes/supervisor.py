"""Supervisor: starts the delivery process, restarts it when it ends, and lets it drain at the end."""

import subprocess
import sys
import threading
from collections.abc import Mapping

import structlog

DRAIN_SECONDS = 40.0  # a little longer than the child itself takes
RESTART_FIRST, RESTART_LONGEST = 0.5, 5.0  # the longest lets mail leave within ten seconds of any end
STEADY_SECONDS = 10.0  # a child that ran this long did not fail at its start

log = structlog.get_logger()


class Supervisor:
    """Keeps one `mailer work` running.

    It holds the other end of the child's standard input: when that ends, by `stop()` or because this process
    was killed, the child drains and ends.
    """

    def __init__(self, *, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start the delivery process and the thread that restarts it."""
        self._begin()
        self._thread.start()

    def stop(self) -> None:
        """Let the delivery process finish what it began, and wait for it."""
        self._stopping.set()
        child = self._child
        if child is None or child.stdin is None:
            return
        child.stdin.close()
        try:
            child.wait(DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            log.error("delivery did not drain in time and is ended", pid=child.pid)
            child.kill()
            child.wait()

    @property
    def pid(self) -> int | None:
        """Return the delivery process's id, or None before it started."""
        return None if self._child is None else self._child.pid

    def _begin(self) -> None:
        self._child = subprocess.Popen(  # a new program: a fork would copy locks, but not threads
            [sys.executable, "-m", "mailer", "work", "--attached"], stdin=subprocess.PIPE, env=self._environ
        )

    def _watch(self) -> None:
        delay = RESTART_FIRST
        while not self._stopping.is_set():
            child = self._child
            assert child is not None
            try:
                status = child.wait(STEADY_SECONDS)
            except subprocess.TimeoutExpired:
                delay = RESTART_FIRST
                continue
            if self._stopping.is_set():
                return
            log.error("delivery ended and is started anew", status=status, rest_seconds=delay)
            if self._stopping.wait(delay):
                return
            delay = min(delay * 2, RESTART_LONGEST)
            self._begin()
