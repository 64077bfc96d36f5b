"""Tape: the sink's file, read as it grows; the only evidence of what was sent."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path


@dataclass(frozen=True)
class SinkRecord:
    """One message that the sink took: when its client connected, when it took it, for whom, and which."""

    accepted: float
    at: float
    recipient: str
    message_id: str

    @property
    def row(self) -> int:
        """The number of the outbox row, with which the Message-ID begins."""
        return int(self.message_id.strip("<").partition(".")[0])


class Tape:
    """Reads the sink's file; `records` is in the order of the file."""

    def __init__(self, path: Path) -> None:
        self.records: list[SinkRecord] = []
        self._file = path.open("rb")
        self._rest = b""

    def read(self) -> list[SinkRecord]:
        """Read to the present end of the file, and return all records."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in lines:
            accepted, at, recipient, message_id = line.decode().split(" ")
            self.records.append(SinkRecord(float(accepted), float(at), recipient, message_id))
        return self.records

    def first_after(self, moment: float) -> SinkRecord | None:
        """Return the first message that came over a connection made after this moment."""
        records = self.read()
        begin = bisect_left(records, moment, key=lambda each: each.at)
        return next((each for each in records[begin:] if each.accepted > moment), None)

    def next_after(self, moment: float) -> SinkRecord | None:
        """Return the first message that came after this moment, over any connection."""
        records = self.read()
        index = bisect_left(records, moment, key=lambda each: each.at)
        return records[index] if index < len(records) else None

    def longest_pause(self, since: float, until: float) -> float:
        """Return the longest time in seconds without a message between two moments."""
        moments = [since, *(each.at for each in self.read() if since < each.at < until), until]
        return max(late - early for early, late in pairwise(moments))

    def has_message_after(self, moment: float) -> bool:
        """Tell whether any message came after this moment."""
        records = self.read()
        return bool(records) and records[-1].at > moment

    def copies(self) -> Counter[str]:
        """Count how often each message was taken, by Message-ID."""
        return Counter(each.message_id for each in self.read())

    def distinct(self) -> Counter[str]:
        """Count the different messages that each recipient got."""
        return Counter(
            recipient for recipient, _ in {(each.recipient, each.message_id) for each in self.read()}
        )
