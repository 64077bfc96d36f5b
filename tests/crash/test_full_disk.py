"""A disk that is really full: nothing is lost, nothing is sent twice, and sending resumes with free space."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.crash import proof, report, scenes
from tests.crash.campaign import open_campaign

RECIPIENTS = 6_000
FULL_SECONDS = 2.0
SIZE = "24M"
FULL = "The disk is full."  # the text for operators
BUSY = "We are busy for a moment"  # the text for neighbors


@contextmanager
def loop(folder: Path) -> Iterator[None]:
    """Mount a file system in a file, like a disk."""
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
    """Mount a file system in memory, of the same size."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk, else a small file system in memory, or a skip where this account may not mount."""
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
    with open_campaign(tmp_path, url=url, home=home) as campaign:
        scenes.settle_in(campaign, RECIPIENTS)
        with scenes.serving(campaign):
            scenes.leave(campaign)
            scenes.announce(campaign)
            began = time.monotonic()
            campaign.until(lambda: campaign.sending(began), what="a first message")
            ballast = small_disk / "ballast"
            fill(ballast)
            campaign.until(lambda: FULL in campaign.log_file.read_text(), what="a word about the full disk")
            time.sleep(FULL_SECONDS)
            fill(ballast)
            response = scenes.submit_join_form(campaign)
            count_before = len(campaign.tape.read())
            ballast.unlink()
            campaign.until(
                lambda: len(campaign.tape.read()) > count_before + 10, what="messages when there is space"
            )
            scenes.join(campaign)
            campaign.expected[scenes.DORA] += 1
        proof.finish(campaign)
        result = report.reach(campaign)
    assert response.status == 503 and BUSY in response.text
    assert list(result.broken()) == [], report.format_report(result)
    assert (result.unknown, result.twice) == (0, [])
