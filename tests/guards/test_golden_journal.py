"""Golden journal: the journal of an ended worker of eb00ebd is read, and a present worker writes the same."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import golden
from tests.golden import BOOT, Installation

ENDED_WORKER = "golden.4711.deadbeef"
# The state of each message that the ended worker had claimed, by the records of its journal.
STATES_AFTER_RESCUE: Mapping[str, str] = {
    "confirmation-sending": "queued",  # begun and not answered; its kind is sent once more
    "already-sending": "sent",
    "access-sending": "queued",  # deferred
    "received-sending": "failed",  # refused
    "invitation-sending": "queued",  # unknown; its kind is sent once more
    "sequence-sending": "unknown",  # begun and not answered
    "broadcast-sending": "queued",  # no record
    "broadcast-sending-sent": "sent",
    "broadcast-sending-deferred": "queued",
    "broadcast-sending-refused": "failed",
    "broadcast-sending-unreachable": "queued",
    "broadcast-sending-unknown": "unknown",
    "broadcast-sending-begun": "unknown",
    "broadcast-sending-nothing": "queued",
    "broadcast-sending-cut": "queued",  # its only record was cut short
    "broadcast-sending-older": "queued",  # the record is of an earlier attempt
}
NO_RECORD = (
    "broadcast-sending",
    "broadcast-sending-nothing",
    "broadcast-sending-cut",
    "broadcast-sending-older",
)
# Claimed by workers of other machines.
OTHER_MACHINES = ("broadcast-sending-silent", "broadcast-sending-distant")


@pytest.fixture
def same_boot(kind: str, tmp_path: Path, installation: Installation) -> None:
    """Make the journals those of the present boot of the machine."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    for path in (tmp_path / "journals").iterdir():
        path.write_bytes(path.read_bytes().replace(BOOT, boot))


def states(installation: Installation) -> Mapping[str, str]:
    """Return the state of each message that was claimed, by the local part of the recipient's address."""
    claimed = {"confirmation", "already", "access", "received", "invitation", "sequence", "broadcast"}
    states_by_name = {}
    for row in installation.messages().values():
        name = str(row["email"]).partition("@")[0]
        if "-sending" in name and name.partition("-")[0] == row["kind"] and row["kind"] in claimed:
            states_by_name[name] = str(row["state"])
    return states_by_name


def test_the_old_journal_settles_the_messages_of_its_worker(
    installation: Installation, same_boot: None
) -> None:
    assert set(states(installation).values()) == {"sending"}
    installation.run("jobs", "run", "rescue")
    now = states(installation)
    assert {name: now[name] for name in STATES_AFTER_RESCUE} == STATES_AFTER_RESCUE
    assert [path.suffix for path in (installation.home / "journals").glob(f"{ENDED_WORKER}.*")] == [
        ".settled"
    ]


def test_after_a_reboot_messages_without_a_record_in_the_old_journal_are_unknown(
    installation: Installation,
) -> None:
    installation.run("jobs", "run", "rescue")
    now = states(installation)
    assert {name: now[name] for name in STATES_AFTER_RESCUE} == {
        **STATES_AFTER_RESCUE,
        **dict.fromkeys(NO_RECORD, "unknown"),
    }


def test_messages_of_workers_on_other_machines_wait_for_the_end_of_their_leases(
    installation: Installation,
) -> None:
    installation.run("jobs", "run", "rescue")
    assert {name: states(installation)[name] for name in OTHER_MACHINES} == {
        "broadcast-sending-silent": "unknown",
        "broadcast-sending-distant": "sending",
    }
    installation.clock.advance(minutes=11)
    installation.run("jobs", "run", "rescue")
    assert states(installation)["broadcast-sending-distant"] == "unknown"


def test_the_present_worker_writes_the_same_bytes(installation: Installation) -> None:
    installation.world.seconds, installation.world.dotted_after = 0.1, 0.05
    installation.deliver(worker="golden.3.00000003")
    (path,) = (installation.home / "journals").glob("golden.3.00000003.*.settled")
    data = path.read_bytes()
    (old_path,) = (golden.FOLDER / "sqlite" / "journals").glob("golden.1.*")
    old_data = old_path.read_bytes()
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    assert data[:8] == old_data[:8] == b"mailer\x002"
    assert data[8:44] == boot
    assert data[44:128] == b"golden.3.00000003".ljust(84, b"\0")
    records = [data[offset : offset + 16] for offset in range(128, len(data), 16)]
    begun_ids = {record[1:13] for record in records if record[:1] == b">"}
    sent_ids = {record[1:13] for record in records if record[:1] == b"S"}
    rows = {golden.row_of(message) for message in installation.letters()}
    assert begun_ids == sent_ids
    assert {int.from_bytes(record_id[:8], "little") for record_id in sent_ids} == rows
    # The last three bytes of a record are this checksum, in the old journal and in ours.
    assert all(record[13:] == checksum(record[:13]) for record in records)
    assert all(
        old_data[offset + 13 : offset + 16] == checksum(old_data[offset : offset + 13])
        for offset in (128, 144)
    )


def checksum(line: bytes) -> bytes:
    """Return CRC-32 (ISO 3309) of a line, without its highest byte, the lowest first."""
    crc = 0xFFFFFFFF
    for octet in line:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "little")[:3]
