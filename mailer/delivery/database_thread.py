"""Database thread: runs the synchronous database work of an event loop, one call after the other."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

import structlog

from lists.errors import StorageError

RETRY_SECONDS = 1.0
LAST_TRIES = 10

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class DatabaseThread:
    """Runs work in an executor with one thread; `is_stopped` tells whether its worker must stop."""

    executor: Executor
    is_stopped: Callable[[], bool]

    async def run(self, work: Callable[..., T], *args: object) -> T:
        """Run work and return its result; while the disk is full or the database locked, try again.

        Raises StorageError after LAST_TRIES tries, but only where the worker must stop.
        """
        loop = asyncio.get_running_loop()
        tries = 0
        while True:
            try:
                return await loop.run_in_executor(self.executor, work, *args)
            except StorageError as trouble:
                tries += 1
                log.error("the database cannot be used, trying again", trouble=str(trouble), tries=tries)
                if self.is_stopped() and tries >= LAST_TRIES:
                    raise
                await asyncio.sleep(RETRY_SECONDS)
