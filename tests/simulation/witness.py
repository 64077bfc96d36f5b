"""Witness: writes down what really happened in a world, beside the product's own tables, and judges it.

It sees each change of the ledger by a trigger in the database, in the very transaction that makes it; each
message a relay took; and each moment at which somebody left. It says in a sentence which promise was broken.
"""

import bisect
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lists.db import EPOCH, MICROSECOND
from mailer.policy import POLICY
from mailer.smtp.rate import Rate
from tests.simulation.clock import SECOND
from tests.simulation.doubts import Journals
from tests.simulation.process import NEVER

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

WITHIN = 1.0  # seconds: how soon an unsubscribe stops what has not started, and a confirmation overtakes
WITHIN_A_STALL = 2.0  # seconds: how soon a confirmation begins while others' servers never answer
EVERYTHING = frozenset(POLICY)
LIST_MAIL = frozenset(kind for kind, policy in POLICY.items() if policy.needs == "confirmed")

# The ledger's moves, as drawn at the top of mailer/outbox/outbox.py. Each other is a broken promise.
MOVES = frozenset(
    {
        ("", "queued"),
        ("queued", "sending"),
        *(("sending", to) for to in ("queued", "sent", "held", "cancelled", "failed", "expired", "unknown")),
        *(("queued", to) for to in ("sent", "held", "cancelled", "failed", "expired", "unknown")),
        *(("unknown", to) for to in ("sent", "queued", "failed")),
        *(("held", to) for to in ("queued", "cancelled", "expired")),
        ("cancelled", "queued"),
        *(
            (state, "")
            for state in ("queued", "sending", "sent", "held", "cancelled", "failed", "expired", "unknown")
        ),
    }
)

NEXT_DUE = "SELECT min(due_at) FROM outbox WHERE state = 'queued' AND due_at > ?"

TRIGGERS = """
CREATE TABLE moves (number INTEGER PRIMARY KEY, row INTEGER, old TEXT, new TEXT, before INTEGER,
                    attempt INTEGER, worker TEXT, lease INTEGER, why TEXT);
CREATE TRIGGER put AFTER INSERT ON outbox BEGIN
  INSERT INTO moves (row, old, new, before, attempt, worker, lease, why)
  VALUES (NEW.id, '', NEW.state, 0, NEW.attempt, NULL, NULL, NEW.why);
END;
CREATE TRIGGER moved AFTER UPDATE ON outbox WHEN OLD.state <> NEW.state OR OLD.attempt <> NEW.attempt BEGIN
  INSERT INTO moves (row, old, new, before, attempt, worker, lease, why)
  VALUES (NEW.id, OLD.state, NEW.state, OLD.attempt, NEW.attempt, OLD.worker, OLD.lease_until, NEW.why);
END;
CREATE TRIGGER erased AFTER DELETE ON outbox BEGIN
  INSERT INTO moves (row, old, new, before, attempt, worker, lease, why)
  VALUES (OLD.id, OLD.state, '', OLD.attempt, OLD.attempt, OLD.worker, OLD.lease_until, '');
END;
"""


# Who may be written to and was due, but has no row: (sentence, question). A clock that was set back hides who
# confirmed before what, so the first is asked only where none was.
MISSED_UPDATE = """
SELECT s.contact_id, 'update ' || b.id FROM subscriptions s JOIN broadcasts b ON b.audience = s.list
WHERE s.state = 'confirmed' AND s.confirmed_at < b.created_at AND s.paused_until IS NULL
AND b.recalled_at IS NULL AND NOT EXISTS
  (SELECT 1 FROM suppressions x JOIN contacts c ON c.email_digest = x.email_digest WHERE c.id = s.contact_id)
AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.key = 'broadcast/' || b.id || '/contact/' || s.contact_id)
"""
MISSED_CALL = """
SELECT s.contact_id, 'call ' || e.id FROM subscriptions s JOIN events e ON e.audience = s.list
WHERE e.invited_at IS NOT NULL AND s.state = 'confirmed' AND s.paused_until IS NULL AND NOT EXISTS
  (SELECT 1 FROM suppressions x JOIN contacts c ON c.email_digest = x.email_digest WHERE c.id = s.contact_id)
AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.kind = 'invitation' AND o.ref = e.id
                AND o.contact_id = s.contact_id)
"""
MISSED_WELCOME = """
SELECT s.contact_id, 'first mail of ' || s.list FROM subscriptions s
WHERE s.state = 'confirmed' AND NOT EXISTS (SELECT 1 FROM journeys j WHERE j.contact_id = s.contact_id
  AND j.sequence = CASE s.list WHEN 'interest' THEN 'welcome' ELSE 'organizer' END)
"""


class Move(NamedTuple):
    """One change of one row of the ledger: state and attempt before and after, and who held it before."""

    number: int
    row: int
    old: str
    new: str
    before: int
    attempt: int
    worker: str | None
    lease: int | None
    why: str


class Letter(NamedTuple):
    """What a row of the ledger is."""

    kind: str
    list: str
    contact: int
    ref: int


@dataclass(kw_only=True)
class Stop:
    """From `since` until `until` (ticks) a contact gets none of these kinds; `list`, `ref`: only of these."""

    kinds: frozenset[str]
    since: int
    why: str
    list: str = ""
    ref: int = 0
    until: int = NEVER

    def covers(self, letter: Letter) -> bool:
        """Tell whether it stops this letter."""
        same_list = not self.list or letter.list == self.list
        return letter.kind in self.kinds and same_list and self.ref in (0, letter.ref)


class Witness:
    """What happened in one world."""

    def __init__(self, world: "World", path: Path) -> None:
        self.world = world
        self._reading = sqlite3.connect(path, isolation_level=None)
        self._last = 0
        self.letters: dict[int, Letter] = {}
        self.copies: dict[int, int] = defaultdict(int)
        self.stops: dict[int, list[Stop]] = defaultdict(list)
        self.named_at: dict[str, int] = {}
        self._limits: dict[str, Rate] = {}
        self._begun: dict[str, list[int]] = defaultdict(list)
        self.pauses: dict[str, list[Stop]] = defaultdict(list)  # by staff, of a relay or a domain
        self.recalls: dict[int, list[Stop]] = defaultdict(list)  # of an update
        self.erased: set[int] = set()
        self.journals = Journals()
        self.commits = 0

    def close(self) -> None:
        """Let go of the database."""
        self._reading.close()

    def ask(self, question: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the database, past the product."""
        return self._reading.execute(question, values).fetchall()

    def committed(self, process: "Process") -> None:
        """Look at what a commit changed in the ledger."""
        self.commits += 1
        for found in self.ask("SELECT * FROM moves WHERE number > ? ORDER BY number", self._last):
            move = Move(*found)
            self._last = move.number
            self.world.tell(process.name, f"row {move.row} {move.old}→{move.new} {move.attempt} {move.why}")
            self._judge(process, move)

    def _judge(self, process: "Process", move: Move) -> None:
        if (move.old, move.new) not in MOVES:
            self.world.breaks(f"row {move.row} went from {move.old!r} to {move.new!r}, which is not drawn")
        raised = move.attempt - move.before
        if raised != (move.new == "sending"):
            self.world.breaks(f"the attempt of row {move.row} went from {move.before} to {move.attempt}")
        if move.old == "sending" and not self._may_end(process, move):
            self.world.breaks(
                f"{process.name} ended the claim of {move.worker}, which lives, on row {move.row}"
            )
        if move.old == "":
            found = self.ask("SELECT kind, list, contact_id, ref FROM outbox WHERE id = ?", move.row)
            if found:
                self.letters[move.row] = Letter(*found[0])
        if move.new == "":
            self.erased.add(move.row)

    def _may_end(self, process: "Process", move: Move) -> bool:
        """Tell whether a claim may be ended: by its worker, after its death or lease, or by forgetting."""
        lease_over = move.lease is not None and move.lease < (self.world.clock.real() - EPOCH) // MICROSECOND
        dead = all(each.name != move.worker for each in self.world.living())
        return move.worker == process.name or dead or lease_over or move.new == ""

    def dot(self, process: "Process", row: int, attempt: int) -> None:
        """See that a worker decides to write the final dot of this attempt: its claim must be its own."""
        found = self.ask("SELECT state, attempt, worker, lease_until FROM outbox WHERE id = ?", row)
        real = (self.world.clock.real() - EPOCH) // MICROSECOND
        if found and found[0] != ("sending", attempt, process.name, found[0][3]):
            self.world.breaks(
                f"{process.name} writes the dot of row {row}, which it holds no more: {found[0][:3]}"
            )
        elif found and found[0][3] < real:
            self.world.breaks(f"{process.name} writes the dot of row {row} after its lease is over")

    def stop(self, contact: int, stop: Stop) -> None:
        """Note that from now on this contact must not be written to."""
        self.stops[contact].append(stop)

    def pause(self, scope: str) -> None:
        """Note that from now on nothing must go to a relay or a domain."""
        self.pauses[scope].append(
            Stop(kinds=EVERYTHING, since=self.world.clock.ticks, why=f"a pause of {scope}")
        )

    def resume_pause(self, scope: str) -> None:
        """Note that mail may go there again."""
        for stop in self.pauses[scope]:
            stop.until = min(stop.until, self.world.clock.ticks)

    def recall(self, broadcast: int) -> None:
        """Note that from now on nobody must be written this update."""
        self.recalls[broadcast].append(
            Stop(kinds=frozenset({"broadcast"}), since=self.world.clock.ticks, why="its recall")
        )

    def resume(self, contact: int, kinds: Iterable[str], *, list: str) -> None:
        """Note that this contact wants these kinds again, on this list."""
        for stop in self.stops[contact]:
            if stop.list == list and stop.kinds <= frozenset(kinds):
                stop.until = min(stop.until, self.world.clock.ticks)

    def next_due(self, *, after: datetime) -> datetime:
        """Return when the next row falls due that is not due yet; for ever if none."""
        ((due,),) = self.ask(NEXT_DUE, (after - EPOCH) // MICROSECOND)
        return datetime.max.replace(tzinfo=UTC) if due is None else self.moment(due)

    def limit(self, scope: str, rate: str) -> None:
        """Know that no more messages may begin by this scope than this, such as 20/minute; "" is no limit."""
        if rate:
            self._limits[scope] = Rate.parse(rate)

    def _count(self, scope: str, began: int) -> None:
        rate = self._limits.get(scope)
        if rate is None:
            return
        begun = self._begun[scope]
        place = bisect.bisect(begun, began)
        begun.insert(place, began)
        period = rate.period.total_seconds() * SECOND
        for first in range(max(0, place - rate.limit), place + 1):
            last = first + rate.limit
            if last < len(begun) and begun[last] - begun[first] < period:
                self.world.breaks(f"{rate.limit + 1} messages began by {scope} in less than a {rate} allows")

    def is_stopped(self, email: str) -> bool:
        """Tell whether the contact of this address is not to be written to at all, or is gone."""
        found = self.ask("SELECT id FROM contacts WHERE email = ?", email)
        return not found or any(stop.until == NEVER for stop in self.stops[found[0][0]])

    @staticmethod
    def moment(stored: int) -> datetime:
        """Return a moment as the database holds it."""
        return EPOCH + stored * MICROSECOND

    def stored(self, seconds: float) -> int:
        """Return the moment so many seconds from now, as the database holds it."""
        return (self.world.clock.real() - EPOCH) // MICROSECOND + int(seconds * SECOND)

    def named(self, recipient: str, began: int) -> None:
        """See that a relay was told of a recipient, in a transaction begun (MAIL) at `began`."""
        self.named_at[recipient] = began

    def heard(self, row: int, recipient: str, *, relay: str, began: int) -> None:
        """See that a whole message came to a relay, in a transaction begun (MAIL) at `began`."""
        self._count(relay, began)
        self._count(recipient.rpartition("@")[2], began)
        letter = self.letters.get(row)
        if letter is None:
            self.world.breaks(f"a relay was given a message to {recipient} that no row is about")
            return
        places = self.pauses[f"relay/{relay}:25"] + self.pauses[f"domain/{recipient.rpartition('@')[2]}"]
        for stop in self.stops[letter.contact] + places + self.recalls[letter.ref]:
            if stop.covers(letter) and stop.since + WITHIN * SECOND < began < stop.until:
                late = (began - stop.since) / SECOND
                self.world.breaks(f"a {letter.kind}, row {row}, was begun {late:.1f} s after {stop.why}")

    def taken(self, row: int, recipient: str, text: bytes) -> None:
        """See that a relay took a message: once, or once more for each time that nobody could say."""
        self.copies[row] += 1
        self.world.tell("relay", f"took row {row}, copy {self.copies[row]}")
        if self.copies[row] > 1 and row not in self.erased:
            doubts = self.ask(
                "SELECT count(*) FROM attempts WHERE outbox_id = ? AND outcome = 'unknown'", row
            )
            if self.copies[row] > 1 + doubts[0][0]:
                self.world.breaks(f"row {row} was taken {self.copies[row]} times, and never was unknown")
        self.world.neighbors.received(row, recipient, text)

    def at_the_end(self) -> Iterator[str]:
        """Say what is wrong with the rows when everything is healed and has come to rest."""
        for row, state, why, tries, attempts in self.ask(
            "SELECT id, state, why, tries, (SELECT group_concat(outcome) FROM attempts"
            " WHERE outbox_id = outbox.id) FROM outbox ORDER BY id"
        ):
            yield from self._explained(row, state, why, tries, attempts.split(",") if attempts else [])
        killed = self.ask("SELECT count(*) FROM attempts WHERE reply = 'its worker died at the last byte'")[
            0
        ][0]
        if killed > (died := self.world.may_be_unknown):
            yield f"{killed} rows are unknown by deaths, but only {died} connections died"
        lost = self.ask("SELECT count(*) FROM attempts WHERE reply = 'its worker was lost'")[0][0]
        if lost and not (self.world.rebooted or self.world.stalled):
            yield f"{lost} workers' rows were given up, though no worker stood still"
        for question in (MISSED_CALL, MISSED_WELCOME, *(() if self.world.set_back else (MISSED_UPDATE,))):
            for contact, what in self.ask(question):
                yield f"contact {contact} may be written to, but was never to get the {what}"
        yield from self.journals.stranded(self)
        for journey, step in self.ask(
            "SELECT id, step FROM journeys WHERE state = 'sending' AND NOT EXISTS (SELECT 1 FROM outbox"
            " WHERE outbox.kind = 'sequence' AND ref = journeys.id AND outbox.state IN ('queued', 'held'))"
        ):
            yield f"journey {journey} waits for a message of step {step} that will never come"

    def _explained(self, row: int, state: str, why: str, tries: int, outcomes: list[str]) -> Iterator[str]:
        copies = self.copies[row]
        doubted = "unknown" in outcomes
        if state in ("queued", "sending"):
            yield f"row {row} is still {state} ({why}) though everything is healed"
        if state == "sent" and not copies:
            yield f"row {row} is sent, but no relay took it"
        if state == "sent" and "sent" not in outcomes:
            yield f"row {row} is sent, but none of its attempts says so: {outcomes}"
        if copies and state != "sent" and not doubted:
            yield f"row {row} is {state} ({why}), but a relay took it"
        if state in ("held", "cancelled", "expired", "failed", "unknown") and not why:
            yield f"row {row} is {state} and does not say why"
        if state == "failed" and "refused" not in outcomes:
            yield f"row {row} failed, but nobody refused it: {why}"
        if state == "unknown" and not doubted:
            yield f"row {row} is unknown, but none of its attempts says so: {outcomes}"
        if tries != sum(outcome != "unreachable" for outcome in outcomes):
            yield f"row {row} has cost {tries} tries, but its attempts say {outcomes}"
