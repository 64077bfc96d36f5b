"""File lock: an exclusive lock on an open file (flock), which the kernel releases when its process ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def acquire(handle: int) -> None:
    """Lock an open file; wait while another process holds it."""
    fcntl.flock(handle, fcntl.LOCK_EX)


def try_acquire(handle: int) -> bool:
    """Lock an open file; False while another process holds it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(handle: int) -> bool:
    """Tell whether another process holds the lock of an open file."""
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


@contextmanager
def holding(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold the lock of a file for the block; create the file where it is missing.

    Yields False, and the block runs without the lock, where another process holds it and `wait` is false.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if wait:
            acquire(handle)
        yield wait or try_acquire(handle)
    finally:
        os.close(handle)
