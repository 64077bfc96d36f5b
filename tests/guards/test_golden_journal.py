"""The journal of a worker of eb00ebd that died tells what left; a worker of today writes the same bytes."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import golden
from tests.golden import BOOT, Installation

DEAD = "golden.4711.deadbeef"
# What becomes of each message that the dead worker had claimed, by what its journal says of it.
SETTLED: Mapping[str, str] = {
    "confirmation-sending": "queued",  # begun and not answered; its kind leaves once more
    "already-sending": "sent",
    "access-sending": "queued",  # deferred
    "received-sending": "failed",  # refused
    "invitation-sending": "queued",  # unknown; its kind leaves once more
    "sequence-sending": "unknown",  # begun and not answered
    "broadcast-sending": "queued",  # nothing
    "broadcast-sending-sent": "sent",
    "broadcast-sending-deferred": "queued",
    "broadcast-sending-refused": "failed",
    "broadcast-sending-unreachable": "queued",
    "broadcast-sending-unknown": "unknown",
    "broadcast-sending-begun": "unknown",
    "broadcast-sending-nothing": "queued",
    "broadcast-sending-cut": "queued",  # the one line of it was cut short
    "broadcast-sending-older": "queued",  # it tells of an attempt before
}
NOTHING_SAID = (
    "broadcast-sending",
    "broadcast-sending-nothing",
    "broadcast-sending-cut",
    "broadcast-sending-older",
)
ELSEWHERE = ("broadcast-sending-silent", "broadcast-sending-distant")  # claimed by workers of other machines


@pytest.fixture
def same_boot(kind: str, tmp_path: Path, installation: Installation) -> None:
    """Let the machine not have been started anew since."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    for path in (tmp_path / "journals").iterdir():
        path.write_bytes(path.read_bytes().replace(BOOT, boot))


def states(installation: Installation) -> Mapping[str, str]:
    """Return the state of each message that was claimed, by the first part of its reader's address."""
    claimed = {"confirmation", "already", "access", "received", "invitation", "sequence", "broadcast"}
    found = {}
    for row in installation.messages().values():
        name = str(row["email"]).partition("@")[0]
        if "-sending" in name and name.partition("-")[0] == row["kind"] and row["kind"] in claimed:
            found[name] = str(row["state"])
    return found


def test_the_old_journal_settles_what_its_worker_had_claimed(
    installation: Installation, same_boot: None
) -> None:
    assert set(states(installation).values()) == {"sending"}
    installation.run("jobs", "run", "rescue")
    now = states(installation)
    assert {name: now[name] for name in SETTLED} == SETTLED
    assert [path.suffix for path in (installation.home / "journals").glob(f"{DEAD}.*")] == [".settled"]


def test_after_a_reboot_what_the_old_journal_does_not_say_is_unknown(installation: Installation) -> None:
    installation.run("jobs", "run", "rescue")
    now = states(installation)
    assert {name: now[name] for name in SETTLED} == {**SETTLED, **dict.fromkeys(NOTHING_SAID, "unknown")}


def test_what_workers_elsewhere_had_claimed_waits_for_the_end_of_their_leases(
    installation: Installation,
) -> None:
    installation.run("jobs", "run", "rescue")
    assert {name: states(installation)[name] for name in ELSEWHERE} == {
        "broadcast-sending-silent": "unknown",
        "broadcast-sending-distant": "sending",
    }
    installation.clock.advance(minutes=11)
    installation.run("jobs", "run", "rescue")
    assert states(installation)["broadcast-sending-distant"] == "unknown"


def test_todays_worker_writes_the_bytes_of_then(installation: Installation) -> None:
    installation.world.seconds, installation.world.dotted_after = 0.1, 0.05
    installation.deliver(worker="golden.3.00000003")
    (path,) = (installation.home / "journals").glob("golden.3.00000003.*.settled")
    data = path.read_bytes()
    (then,) = (golden.FOLDER / "sqlite" / "journals").glob("golden.1.*")
    old = then.read_bytes()
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    assert data[:8] == old[:8] == b"mailer\x002"
    assert data[8:44] == boot
    assert data[44:128] == b"golden.3.00000003".ljust(84, b"\0")
    lines = [data[place : place + 16] for place in range(128, len(data), 16)]
    begun = {line[1:13] for line in lines if line[:1] == b">"}
    sent = {line[1:13] for line in lines if line[:1] == b"S"}
    rows = {golden.row_of(letter) for letter in installation.letters()}
    assert begun == sent
    assert {int.from_bytes(each[:8], "little") for each in sent} == rows
    # Of lines of the old worker the last three bytes are this checksum; of ours they must be, too.
    assert all(line[13:] == checked(line[:13]) for line in lines)
    assert all(old[place + 13 : place + 16] == checked(old[place : place + 13]) for place in (128, 144))


def checked(line: bytes) -> bytes:
    """Return CRC-32 (ISO 3309) of a line, without its highest byte, the lowest first."""
    crc = 0xFFFFFFFF
    for octet in line:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "little")[:3]
