"""Victim: the command line of the product, until it reaches a named point and is killed there.

`python -m tests.crash.victim` imports all code once. Then, for each line of standard input, a point and the
words of a `mailer` command, it forks a process that runs that command with the point armed, and prints its
number and how it ended. So a victim begins in a quarter of the time that a new program needs.
"""

import asyncio
import functools
import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lists.db import Database
from mailer import cli
from tests.crash.points import Point

READ = ("broadcast", "db", "jobs", "outbox", "serve", "work")  # the commands that victims run
SOON_SECONDS = 0.004  # the dot is sent by then, and the sink has not answered


def die() -> None:
    """End this process as only `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: Point) -> None:
    """Wrap the function that a point names, so that the process is killed there."""
    state = threading.local()  # the state of this thread, because several run at once

    def on_passage() -> None:
        if point.within and not getattr(state, "within", 0):
            return
        if point.moment == "committed":
            state.passed = True
        elif point.moment == "soon after":
            threading.Timer(SOON_SECONDS, die).start()
        else:
            die()

    @contextmanager
    def enter_within() -> Iterator[None]:
        state.within = getattr(state, "within", 0) + 1
        yield
        state.within -= 1

    if point.within:
        wrap(point.within, around=enter_within)
    if point.moment == "before":
        wrap(point.where, before=on_passage)
    else:
        wrap(point.where, after=on_passage)
    if point.moment == "committed":
        _die_after_commits(lambda: getattr(state, "passed", False))


def wrap(
    path: str,
    *,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
    around: Callable[[], Any] | None = None,
) -> None:
    """Replace the function of this dotted path by one that also calls these."""
    owner, name = _find_owner(path)
    function = getattr(owner, name)

    @functools.wraps(function)
    def call_wrapped(*args: Any, **kwargs: Any) -> Any:
        before()
        if around is None:
            result = function(*args, **kwargs)
        else:
            with around():
                result = function(*args, **kwargs)
        after()
        return result

    assert not asyncio.iscoroutinefunction(function) or path.endswith(".send"), "only its beginning is seen"
    setattr(owner, name, call_wrapped)


def _die_after_commits(has_passed: Callable[[], bool]) -> None:
    write = Database.write

    @contextmanager
    def write_and_die(self: Database) -> Iterator[Any]:
        with write(self) as session:
            yield session
        if has_passed():
            die()

    Database.write = write_and_die  # type: ignore[method-assign]


def _find_owner(path: str) -> tuple[Any, str]:
    """Return the owner of the last name of a dotted path: a module or a class."""
    words = path.split(".")
    for length in range(len(words) - 1, 0, -1):
        try:
            owner: Any = importlib.import_module(".".join(words[:length]))
        except ModuleNotFoundError:
            continue
        for word in words[length:-1]:
            owner = getattr(owner, word)
        return owner, words[-1]
    raise LookupError(path)


def main() -> None:
    """Fork a victim for each line, one at a time; one without a point just runs."""
    for name in READ:
        importlib.import_module(f"mailer.cli.{name}")
    while line := sys.stdin.readline():
        point, *words = json.loads(line)
        reading, writing = os.pipe()  # a worker stops when this ends, so it stays open
        victim = os.fork()
        if victim == 0:
            os.close(writing)
            os.dup2(reading, 0)
            os.dup2(2, 1)
            if point is not None:
                arm(Point(**point))
            cli.main(words)
        print(victim, flush=True)
        _, status = os.waitpid(victim, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
        os.close(reading)
        os.close(writing)


if __name__ == "__main__":
    main()
