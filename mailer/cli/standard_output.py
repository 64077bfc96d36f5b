"""Standard output: notices that it takes nothing more, because the disk is full or its reader has gone."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, TextIO, TypeVar, cast

Result = TypeVar("Result")


class WatchedOutput:
    """The standard output; `fault` is the error of the first write that failed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.fault: OSError | None = None

    def write(self, text: Any) -> int:
        """Write a text; raises OSError when it cannot be written."""
        return self._watch(self._stream.write, text)

    def flush(self) -> None:
        """Write what is left in the buffer; raises OSError when it cannot be written."""
        self._watch(self._stream.flush)

    def discard(self) -> None:
        """Let what is left in the buffer go nowhere, so that it cannot fail again when the process ends."""
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def _watch(self, write: Callable[..., Result], *arguments: Any) -> Result:
        try:
            return write(*arguments)
        except OSError as fault:
            self.fault = fault
            raise

    def __getattr__(self, name: str) -> Any:
        """Return every other attribute of the stream itself."""
        return getattr(self._stream, name)


@contextmanager
def watch() -> Iterator[WatchedOutput]:
    """Watch the standard output for the block; what it did not take goes nowhere afterwards."""
    # A process that was started without one has None.
    watched = WatchedOutput(sys.stdout or io.StringIO())
    try:
        with redirect_stdout(cast(TextIO, watched)):
            yield watched
    finally:
        if watched.fault is not None:
            watched.discard()
