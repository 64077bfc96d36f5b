"""The victim: the command line of the product, until it comes to a named point and is killed there.

`python -m tests.crash.victim` reads all code once. Then, for each line of standard input, a point and the
words of a `mailer` command, it forks a process that runs that command with the point armed, and says
its number and how it ended. So a victim begins in a quarter of the time a new program needs.
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
SOON_SECONDS = 0.004  # the dot is on the wire by then, and the sink has not answered


def die() -> None:
    """End this process as nothing but `kill -9` ends one."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: Point) -> None:
    """Wrap the function that a point names, so that the process dies there."""
    seen = threading.local()  # what this thread is doing, because several work at once

    def passed() -> None:
        if point.within and not getattr(seen, "within", 0):
            return
        if point.moment == "committed":
            seen.passed = True
        elif point.moment == "soon after":
            threading.Timer(SOON_SECONDS, die).start()
        else:
            die()

    @contextmanager
    def inside() -> Iterator[None]:
        seen.within = getattr(seen, "within", 0) + 1
        yield
        seen.within -= 1

    if point.within:
        wrap(point.within, around=inside)
    if point.moment == "before":
        wrap(point.where, before=passed)
    else:
        wrap(point.where, after=passed)
    if point.moment == "committed":
        _die_after_commits(lambda: getattr(seen, "passed", False))


def wrap(
    path: str,
    *,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
    around: Callable[[], Any] | None = None,
) -> None:
    """Replace the function of this dotted path by one that calls these as well."""
    owner, name = _found(path)
    function = getattr(owner, name)

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        before()
        if around is None:
            result = function(*args, **kwargs)
        else:
            with around():
                result = function(*args, **kwargs)
        after()
        return result

    assert not asyncio.iscoroutinefunction(function) or path.endswith(".send"), "only its beginning is seen"
    setattr(owner, name, called)


def _die_after_commits(passed: Callable[[], bool]) -> None:
    write = Database.write

    @contextmanager
    def written(self: Database) -> Iterator[Any]:
        with write(self) as session:
            yield session
        if passed():
            die()

    Database.write = written  # type: ignore[method-assign]


def _found(path: str) -> tuple[Any, str]:
    """Return what holds the last name of a dotted path: a module or a class."""
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
        reading, writing = os.pipe()  # a worker stops when this ends, so it is held open
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
