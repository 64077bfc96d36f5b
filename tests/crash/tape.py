"""The tape: what the sink wrote down, read as it grows. The only witness of what was sent."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path


@dataclass(frozen=True)
class Taken:
    """One message that the sink took: when its client had connected, when it took it, for whom, and which."""

    accepted: float
    at: float
    recipient: str
    message_id: str

    @property
    def row(self) -> int:
        """The number of the outbox row, which the Message-ID begins with."""
        return int(self.message_id.strip("<").partition(".")[0])


class Tape:
    """Reads the sink's file; `taken` is in the order of the file."""

    def __init__(self, path: Path) -> None:
        self.taken: list[Taken] = []
        self._file = path.open("rb")
        self._rest = b""

    def read(self) -> list[Taken]:
        """Read on to the end of what was written by now, and return everything."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in lines:
            accepted, at, recipient, message_id = line.decode().split(" ")
            self.taken.append(Taken(float(accepted), float(at), recipient, message_id))
        return self.taken

    def first_after(self, moment: float) -> Taken | None:
        """Return the first message that came over a connection made after this moment."""
        taken = self.read()
        begin = bisect_left(taken, moment, key=lambda each: each.at)
        return next((each for each in taken[begin:] if each.accepted > moment), None)

    def next_after(self, moment: float) -> Taken | None:
        """Return the first message that came after this moment, over whatever connection."""
        taken = self.read()
        place = bisect_left(taken, moment, key=lambda each: each.at)
        return taken[place] if place < len(taken) else None

    def longest_pause(self, since: float, until: float) -> float:
        """Return for how many seconds at most nothing came between two moments."""
        moments = [since, *(each.at for each in self.read() if since < each.at < until), until]
        return max(late - early for early, late in pairwise(moments))

    def taken_after(self, moment: float) -> bool:
        """Tell whether any message came after this moment."""
        taken = self.read()
        return bool(taken) and taken[-1].at > moment

    def copies(self) -> Counter[str]:
        """Count how often each message was taken, by Message-ID."""
        return Counter(each.message_id for each in self.read())

    def distinct(self) -> Counter[str]:
        """Count the different messages that each recipient got."""
        return Counter(
            recipient for recipient, _ in {(each.recipient, each.message_id) for each in self.read()}
        )
