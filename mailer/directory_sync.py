"""Directory sync: flushes the entries of a directory to the disk, so that new names survive a power loss."""

import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Flush the entries of a directory to the disk; raises OSError where it cannot be opened."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
