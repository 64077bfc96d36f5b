"""Witness: records the events of a world, beside the product's own tables, and checks the promises.

It records each change of the outbox by a trigger in the database, in the very transaction that makes it; each
message that a relay accepted; and each moment at which a contact left. It reports each broken promise in a
sentence.
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

WITHIN = 1.0  # seconds until an unsubscribe stops unstarted messages, and until a confirmation begins
WITHIN_A_STALL = 2.0  # seconds until a confirmation begins while servers of other readers never answer
EVERYTHING = frozenset(POLICY)
LIST_MAIL = frozenset(kind for kind, policy in POLICY.items() if policy.needs == "confirmed")

# The state changes, as drawn at the top of mailer/outbox/outbox.py. Any other is a broken promise.
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
  VALUES (NEW.id, '', NEW.state, 0, NEW.attempt, NULL, NULL, NEW.reason);
END;
CREATE TRIGGER moved AFTER UPDATE ON outbox WHEN OLD.state <> NEW.state OR OLD.attempt <> NEW.attempt BEGIN
  INSERT INTO moves (row, old, new, before, attempt, worker, lease, why)
  VALUES (NEW.id, OLD.state, NEW.state, OLD.attempt, NEW.attempt, OLD.worker, OLD.lease_until, NEW.reason);
END;
CREATE TRIGGER erased AFTER DELETE ON outbox BEGIN
  INSERT INTO moves (row, old, new, before, attempt, worker, lease, why)
  VALUES (OLD.id, OLD.state, '', OLD.attempt, OLD.attempt, OLD.worker, OLD.lease_until, '');
END;
"""


# Queries for contacts without a row who are permitted and due: (contact, sentence). A clock that was set back
# hides the order of confirmations and updates, so the first runs only where no clock was.
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
    """One change of one row of the outbox: state and attempt before and after, and its worker before."""

    number: int
    row: int
    old: str
    new: str
    before: int
    attempt: int
    worker: str | None
    lease: int | None
    why: str


class MessageInfo(NamedTuple):
    """The fixed properties of a row of the outbox."""

    kind: str
    list: str
    contact: int
    ref: int


@dataclass(kw_only=True)
class Stop:
    """From `since` until `until` (ticks) a contact gets none of these kinds; `list`, `ref` restrict it."""

    kinds: frozenset[str]
    since: int
    why: str
    list: str = ""
    ref: int = 0
    until: int = NEVER

    def covers(self, message: MessageInfo) -> bool:
        """Return whether it stops this message."""
        same_list = not self.list or message.list == self.list
        return message.kind in self.kinds and same_list and self.ref in (0, message.ref)


class Witness:
    """The events of one world."""

    def __init__(self, world: "World", path: Path) -> None:
        self.world = world
        self._reading = sqlite3.connect(path, isolation_level=None)
        self._last = 0
        self.messages: dict[int, MessageInfo] = {}
        self.copies: dict[int, int] = defaultdict(int)
        self.stops: dict[int, list[Stop]] = defaultdict(list)
        self.recipient_moments: dict[str, int] = {}
        self._limits: dict[str, Rate] = {}
        self._starts: dict[str, list[int]] = defaultdict(list)
        self.pauses: dict[str, list[Stop]] = defaultdict(list)  # by staff, of a relay or a domain
        self.recalls: dict[int, list[Stop]] = defaultdict(list)  # of an update
        self.erased: set[int] = set()
        self.journals = Journals()
        self.commits = 0

    def close(self) -> None:
        """Close the connection to the database."""
        self._reading.close()

    def ask(self, question: str, *values: Any) -> list[tuple[Any, ...]]:
        """Query the database, without the product."""
        return self._reading.execute(question, values).fetchall()

    def check_commit(self, process: "Process") -> None:
        """Check the changes of a commit in the outbox."""
        self.commits += 1
        for row in self.ask("SELECT * FROM moves WHERE number > ? ORDER BY number", self._last):
            move = Move(*row)
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
            rows = self.ask("SELECT kind, list, contact_id, ref FROM outbox WHERE id = ?", move.row)
            if rows:
                self.messages[move.row] = MessageInfo(*rows[0])
        if move.new == "":
            self.erased.add(move.row)

    def _may_end(self, process: "Process", move: Move) -> bool:
        """Return whether a claim may be ended: by its worker, after its worker or lease, or by an erasure."""
        lease_over = move.lease is not None and move.lease < (self.world.clock.real() - EPOCH) // MICROSECOND
        is_worker_ended = all(running.name != move.worker for running in self.world.living())
        return move.worker == process.name or is_worker_ended or lease_over or move.new == ""

    def check_dot(self, process: "Process", row: int, attempt: int) -> None:
        """Check the claim of a worker that decides to write the final dot of this attempt."""
        rows = self.ask("SELECT state, attempt, worker, lease_until FROM outbox WHERE id = ?", row)
        real = (self.world.clock.real() - EPOCH) // MICROSECOND
        if rows and rows[0] != ("sending", attempt, process.name, rows[0][3]):
            self.world.breaks(
                f"{process.name} writes the dot of row {row}, which it holds no more: {rows[0][:3]}"
            )
        elif rows and rows[0][3] < real:
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
        """Note that from now on no contact must be sent this update."""
        self.recalls[broadcast].append(
            Stop(kinds=frozenset({"broadcast"}), since=self.world.clock.ticks, why="its recall")
        )

    def resume(self, contact: int, kinds: Iterable[str], *, list: str) -> None:
        """Note that this contact wants these kinds again, on this list."""
        for stop in self.stops[contact]:
            if stop.list == list and stop.kinds <= frozenset(kinds):
                stop.until = min(stop.until, self.world.clock.ticks)

    def next_due(self, *, after: datetime) -> datetime:
        """Return when the next row falls due that is not due yet; datetime.max if none."""
        ((due,),) = self.ask(NEXT_DUE, (after - EPOCH) // MICROSECOND)
        return datetime.max.replace(tzinfo=UTC) if due is None else self.moment(due)

    def limit(self, scope: str, rate: str) -> None:
        """Set the limit of messages that may begin by this scope, such as 20/minute; "" is no limit."""
        if rate:
            self._limits[scope] = Rate.parse(rate)

    def _count(self, scope: str, began: int) -> None:
        rate = self._limits.get(scope)
        if rate is None:
            return
        starts = self._starts[scope]
        index = bisect.bisect(starts, began)
        starts.insert(index, began)
        period = rate.period.total_seconds() * SECOND
        for first in range(max(0, index - rate.limit), index + 1):
            last = first + rate.limit
            if last < len(starts) and starts[last] - starts[first] < period:
                self.world.breaks(f"{rate.limit + 1} messages began by {scope} in less than a {rate} allows")

    def is_stopped(self, email: str) -> bool:
        """Return whether the contact of this address must get no mail at all, or does not exist."""
        rows = self.ask("SELECT id FROM contacts WHERE email = ?", email)
        return not rows or any(stop.until == NEVER for stop in self.stops[rows[0][0]])

    @staticmethod
    def moment(stored: int) -> datetime:
        """Return the moment of a stored value."""
        return EPOCH + stored * MICROSECOND

    def stored(self, seconds: float) -> int:
        """Return the stored value of the moment this many seconds from now."""
        return (self.world.clock.real() - EPOCH) // MICROSECOND + int(seconds * SECOND)

    def record_recipient(self, recipient: str, began: int) -> None:
        """Record that a relay received a recipient, in a transaction begun (MAIL) at `began`."""
        self.recipient_moments[recipient] = began

    def record_arrival(self, row: int, recipient: str, *, relay: str, began: int) -> None:
        """Check a complete message that reached a relay, in a transaction begun (MAIL) at `began`."""
        self._count(relay, began)
        self._count(recipient.rpartition("@")[2], began)
        message = self.messages.get(row)
        if message is None:
            self.world.breaks(f"a relay was given a message to {recipient} that no row is about")
            return
        scope_stops = self.pauses[f"relay/{relay}:25"] + self.pauses[f"domain/{recipient.rpartition('@')[2]}"]
        for stop in self.stops[message.contact] + scope_stops + self.recalls[message.ref]:
            if stop.covers(message) and stop.since + WITHIN * SECOND < began < stop.until:
                late = (began - stop.since) / SECOND
                self.world.breaks(f"a {message.kind}, row {row}, was begun {late:.1f} s after {stop.why}")

    def record_acceptance(self, row: int, recipient: str, text: bytes) -> None:
        """Check that a relay accepted a message once, or once more for each attempt in doubt."""
        self.copies[row] += 1
        self.world.tell("relay", f"took row {row}, copy {self.copies[row]}")
        if self.copies[row] > 1 and row not in self.erased:
            doubts = self.ask(
                "SELECT count(*) FROM attempts WHERE outbox_id = ? AND outcome = 'unknown'", row
            )
            if self.copies[row] > 1 + doubts[0][0]:
                self.world.breaks(f"row {row} was taken {self.copies[row]} times, and never was unknown")
        self.world.neighbors.read_mail(row, recipient, text)

    def check_end(self) -> Iterator[str]:
        """Yield a sentence on each fault of the rows after the world is healed and idle."""
        for row, state, reason, tries, attempts in self.ask(
            "SELECT id, state, reason, tries, (SELECT group_concat(outcome) FROM attempts"
            " WHERE outbox_id = outbox.id) FROM outbox ORDER BY id"
        ):
            yield from self._check_row(row, state, reason, tries, attempts.split(",") if attempts else [])
        killed = self.ask("SELECT count(*) FROM attempts WHERE reason = 'worker_died'")[0][0]
        if killed > (died := self.world.may_be_unknown):
            yield f"{killed} rows are unknown by deaths, but only {died} connections died"
        lost = self.ask("SELECT count(*) FROM attempts WHERE reason = 'worker_lost'")[0][0]
        if lost and not (self.world.rebooted or self.world.stalled):
            yield f"{lost} workers' rows were given up, though no worker stood still"
        for question in (MISSED_CALL, MISSED_WELCOME, *(() if self.world.set_back else (MISSED_UPDATE,))):
            for contact, what in self.ask(question):
                yield f"contact {contact} may be written to, but was never to get the {what}"
        yield from self.journals.list_stranded(self)
        for journey, step in self.ask(
            "SELECT id, step FROM journeys WHERE state = 'sending' AND NOT EXISTS (SELECT 1 FROM outbox"
            " WHERE outbox.kind = 'sequence' AND ref = journeys.id AND outbox.state IN ('queued', 'held'))"
        ):
            yield f"journey {journey} waits for a message of step {step} that will never come"

    def _check_row(self, row: int, state: str, reason: str, tries: int, outcomes: list[str]) -> Iterator[str]:
        copies = self.copies[row]
        was_doubted = "unknown" in outcomes
        if state in ("queued", "sending"):
            yield f"row {row} is still {state} ({reason}) though everything is healed"
        if state == "sent" and not copies:
            yield f"row {row} is sent, but no relay took it"
        if state == "sent" and "sent" not in outcomes:
            yield f"row {row} is sent, but none of its attempts says so: {outcomes}"
        if copies and state != "sent" and not was_doubted:
            yield f"row {row} is {state} ({reason}), but a relay took it"
        if state in ("held", "cancelled", "expired", "failed", "unknown") and not reason:
            yield f"row {row} is {state} and has no reason"
        if state == "failed" and "refused" not in outcomes:
            yield f"row {row} failed, but nobody refused it: {reason}"
        if state == "unknown" and not was_doubted:
            yield f"row {row} is unknown, but none of its attempts says so: {outcomes}"
        if tries != sum(outcome != "unreachable" for outcome in outcomes):
            yield f"row {row} has cost {tries} tries, but its attempts say {outcomes}"
