"""Steps: a process that is killed at its nth step on the disk or in the database, counted while it runs.

A step is whatever another process could see: a file opened for writing, linked, renamed or removed, a folder
made or removed, an fsync, and the beginning and the end of each transaction. Statements in between are not
visible to other processes, so only every hundredth is a step. The process is killed right before the step.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event

SEEN = {"os.link", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
STATEMENTS = 100  # to a step


def run(work: Callable[[], object], *, die_at: int = 0) -> tuple[int, int]:
    """Run this in a process of its own, killed before its step `die_at`, or never when that is 0.

    Returns how it ended, as `os.waitstatus_to_exitcode` does, and how many steps it reached.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        status = 1
        try:
            _count(writing, die_at)
            work()
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        steps = len(stream.read())
    _, wait_status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(wait_status), steps


def _count(writing: int, die_at: int) -> None:
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(writing, b".")

    def on_audit_event(name: str, args: tuple[Any, ...]) -> None:
        if name in SEEN or (name == "open" and isinstance(args[2], int) and args[2] & WRITING):
            step()

    fsync, statements = os.fsync, 0

    def fsync_as_step(handle: int) -> None:
        step()
        fsync(handle)

    def on_statement(*_: object) -> None:
        nonlocal statements
        statements += 1
        if statements % STATEMENTS == 0:
            step()

    sys.addaudithook(on_audit_event)
    os.fsync = fsync_as_step
    event.listen(Engine, "begin", lambda *_: step())
    event.listen(Engine, "commit", lambda *_: step())
    event.listen(Engine, "before_cursor_execute", on_statement)
