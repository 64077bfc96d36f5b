"""A disk that is really full: nothing is lost, nothing leaves twice, and it goes on when there is space."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.crash import proof, scenes, verdict
from tests.crash.campaign import campaign

RECIPIENTS = 6_000
FULL_SECONDS = 2.0
SIZE = "24M"
FULL = "The disk is full."  # what operators read
BUSY = "We are busy for a moment"  # what a neighbor reads


@contextmanager
def loop(folder: Path) -> Iterator[None]:
    """A file system in a file, mounted as a disk is."""
    image = folder.with_suffix(".image")
    subprocess.run(["truncate", "-s", SIZE, image], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def memory(folder: Path) -> Iterator[None]:
    """A file system in memory, as small."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk, else a small file system in memory, or a skip where this account may mount nothing."""
    folder = tmp_path / "disk"
    folder.mkdir()
    for mounted in (loop, memory):
        with suppress(subprocess.CalledProcessError, FileNotFoundError), mounted(folder):
            yield folder
            return
    pytest.skip("this account may not mount a file system")


def fill(ballast: Path) -> None:
    """Write until not one octet more fits."""
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1 << 9, 1):
            with suppress(OSError):
                while file.write(b"\0" * size):
                    pass
        os.fsync(file)


@pytest.mark.timeout(200)
def test_a_full_disk_loses_nothing_and_delivery_and_joining_go_on_when_there_is_space(
    small_disk: Path, tmp_path: Path
) -> None:
    home = small_disk / "home"
    url = f"sqlite:///{home}/mailer.db"
    with campaign(tmp_path, url=url, home=home) as made:
        scenes.settle_in(made, RECIPIENTS)
        with scenes.serving(made):
            scenes.leave(made)
            scenes.announce(made)
            began = time.monotonic()
            made.until(lambda: made.sending(began), what="a first message")
            ballast = small_disk / "ballast"
            fill(ballast)
            made.until(lambda: FULL in made.log_file.read_text(), what="a word about the full disk")
            time.sleep(FULL_SECONDS)
            fill(ballast)
            refused = scenes.asked_to_join(made)
            before = len(made.tape.read())
            ballast.unlink()
            made.until(lambda: len(made.tape.read()) > before + 10, what="messages when there is space")
            scenes.join(made)
            made.expected[scenes.DORA] += 1
        proof.finish(made)
        reached = verdict.reach(made)
    assert refused.status == 503 and BUSY in refused.text
    assert list(reached.broken()) == [], verdict.told(reached)
    assert (reached.unknown, reached.twice) == (0, [])
