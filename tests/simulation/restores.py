"""Restores: the world is backed up, and restored by a process that is killed at some step.

Here a step is any operation on a file below the new data folder, and each commit. The process is a real one,
forked and killed by SIGKILL. Afterwards commands must refuse the folder unless the restore is complete, and
the same command again must complete it.
"""

import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from lists.clock import Clock
from lists.db import Database
from mailer import cli
from mailer.backup import backup
from mailer.processes import restoring

if TYPE_CHECKING:
    from tests.simulation.world import World

PASSPHRASE = b"correct horse battery staple, said Ana"
MAX_STEPS = 60  # a little more than a whole restore has
TOUCHES = frozenset(
    {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.chmod", "os.truncate"}
)
TABLES = ("contacts", "subscriptions", "outbox", "attempts", "journeys")
FAULT = 3  # the exit status after an exception


def try_one(world: "World", chance: Random) -> None:
    """Back up the world as it is, kill a restore of it, and check that the next one is complete."""
    stage = world.stage
    file, home = stage.folder / "world.backup", stage.folder / "restored"
    environ = {"MAILER_HOME": str(home)}
    copy = stage.folder / "copy.db"
    _copy(stage.file, copy)
    database = Database(f"sqlite:///{copy}")
    now = world.clock.now()
    backup.make(file, PASSPHRASE, database=database, home=stage.folder, now=now, progress=_nothing)
    database.dispose()
    expected = _rows(stage.file)
    step = chance.randint(1, MAX_STEPS)

    def restore() -> None:
        restoring.restore(file, PASSPHRASE, environ=environ, clock=Clock(), progress=_nothing)

    try:
        was_killed = _in_a_process(restore, home, dies_at=step) == -signal.SIGKILL
        world.tell("restore", f"killed at step {step}" if was_killed else "not killed")
        is_refused = _in_a_process(lambda: _check(environ), home) != 0
        is_complete = _rows(home / "mailer.db") == expected
        if not is_refused and not is_complete:
            world.breaks(f"a restore was killed at step {step}, and a command takes half of it for whole")
        elif is_refused and _in_a_process(restore, home) != 0:
            world.breaks(f"a restore was killed at step {step}, and the same command again fails")
        elif _in_a_process(lambda: _check(environ), home) != 0 or _rows(home / "mailer.db") != expected:
            world.breaks(f"a restore was killed at step {step}, and the next one is not whole")
    finally:
        shutil.rmtree(home, ignore_errors=True)
        for path in (file, *stage.folder.glob("copy.db*")):
            path.unlink()


def _copy(source: Path, target: Path) -> None:
    """Copy the database of the world without the triggers and the table of the witness."""
    with sqlite3.connect(source) as source_connection, sqlite3.connect(target) as target_connection:
        source_connection.backup(target_connection)
        target_connection.executescript(
            "DROP TRIGGER put; DROP TRIGGER moved; DROP TRIGGER erased; DROP TABLE moves;"
        )
    source_connection.close()
    target_connection.close()


def _in_a_process(act: Callable[[], object], home: Path, *, dies_at: int = 0) -> int:
    """Run this in a process of its own, which may be killed at a step; returns its exit code."""
    child = os.fork()
    if child == 0:
        status = FAULT
        try:
            with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
                sys.stdout = sys.stderr = nowhere
                _count_steps(str(home), dies_at)
                act()
                status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else FAULT
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _count_steps(home: str, dies_at: int) -> None:
    count = 0

    def step(*_: object) -> None:
        nonlocal count
        count += 1
        if count == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_audit_event(name: str, values: tuple[Any, ...]) -> None:
        if name in TOUCHES and any(str(value).startswith(home) for value in values[:2]):
            step()

    sys.addaudithook(on_audit_event)
    event.listen(Engine, "commit", step)


def _check(environ: dict[str, str]) -> None:
    os.environ.update(environ)
    cli.main(["db", "check"])


def _rows(path: Path) -> dict[str, int]:
    if not path.exists():
        return {}
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}
    except sqlite3.OperationalError:
        return {}
    finally:
        connection.close()


def _nothing(_: int) -> None:
    pass
