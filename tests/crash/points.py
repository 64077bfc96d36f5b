"""Points: the named points at which a process is killed.

Each names a function of the product and a moment around it. The product does not depend on this table: the
victim (tests/crash/victim.py) wraps the function in its own process before it begins.
"""

from dataclasses import dataclass
from typing import Literal

Moment = Literal["before", "after", "committed", "soon after"]
Scene = Literal[
    "work", "stop", "rescue", "serve", "join", "leave", "upgrade", "job", "expire", "announce", "resolve"
]


@dataclass(frozen=True, kw_only=True)
class Point:
    """Where a process is killed.

    `where` is the dotted path of the function as its caller uses it; `moment` is before it is called, after
    it returned, once the transaction it was called in is committed, or a few milliseconds after it returned;
    `within` is a function that must be running meanwhile; `scene` selects the process, and `words` are
    its command.
    """

    name: str
    where: str
    moment: Moment
    scene: Scene = "work"
    within: str = ""
    words: tuple[str, ...] = ()


def _both(name: str, where: str, scene: Scene, *words: str, within: str = "") -> list[Point]:
    """Return two points: right before a transaction is committed, and right after."""
    common = {"where": where, "within": within, "words": words}
    return [
        Point(name=f"{name}, not committed", moment="after", scene=scene, **common),  # type: ignore[arg-type]
        Point(name=f"{name}, committed", moment="committed", scene=scene, **common),  # type: ignore[arg-type]
    ]


TABLES = "alembic.operations.Operations.create_table"
CREATE = "mailer.cli.broadcast.broadcasts.create"
FILL = "mailer.outbox.outbox.fill"
BROADCASTS = "mailer.sources.broadcasts.Broadcasts.fill"
ASK = "mailer.sources.confirmations.Confirmations.record_signup"
LEAVE_LIST = "mailer.web.public.opt_out.leave"
SETTLE = "mailer.sources.sequences.Sequences.settle"
COMPOSE = "mailer.compose.composer.Composer.compose"
SEND = "mailer.smtp.connection.SmtpConnection.send"
RECORD_START = "mailer.delivery.journal.Journal.record_start"
RECORD_OUTCOME = "mailer.delivery.journal.Journal.record_outcome"
WRITE_DOWN = "mailer.delivery.results.record_and_settle"
RECORD = "mailer.outbox.outbox.record"
RESCUE = "mailer.delivery.rescue.Rescue.settle_ended_workers"

DOT = Point(name="dot: written, not answered", where=RECORD_START, moment="soon after")

# In the order of a campaign: each point leaves the state in which the next one begins.
POINTS: tuple[Point, ...] = (
    Point(name="upgrade: some tables made", where=TABLES, moment="after", scene="upgrade"),
    *_both("announce: an update written down", CREATE, "announce"),
    *_both("fill: confirmations", FILL, "job", "fill-confirmation"),
    *_both("fill: invitations", FILL, "job", "fill-invitation"),
    *_both("fill: a sequence", FILL, "job", "fill-sequence"),
    *_both("settle: a journey moved on", SETTLE, "work"),
    *_both("fill: a batch of the update", FILL, "serve", within=BROADCASTS),
    *_both("page: Cleo leaves", LEAVE_LIST, "leave"),
    *_both("page: somebody joins", ASK, "join"),
    *_both("claim: made", "mailer.outbox.due_rows.claim", "work"),
    Point(name="compose: begun", where=COMPOSE, moment="before"),
    Point(name="compose: done", where=COMPOSE, moment="after"),
    Point(name="hand-over: begun", where=SEND, moment="before"),
    Point(name="journal: before the line", where=RECORD_START, moment="before"),
    Point(name="journal: after the line, the dot not written", where=RECORD_START, moment="after"),
    DOT,
    Point(name="answer: read, not in the journal", where=RECORD_OUTCOME, moment="before"),
    Point(name="answer: in the journal, not recorded", where=RECORD_OUTCOME, moment="after"),
    Point(name="record: not begun", where=WRITE_DOWN, moment="before"),
    *_both("record: written", RECORD, "work"),
    *_both("lease: renewed", "mailer.outbox.due_rows.renew", "work"),
    *_both("give back: what was not begun", "mailer.outbox.outbox.give_back", "stop"),
    Point(
        name="stop: all recorded, the journal open",
        where="mailer.delivery.journal.Journal.close",
        moment="before",
        scene="stop",
    ),
    Point(
        name="stop: the journal settled",
        where="mailer.delivery.journal.Journal.close",
        moment="after",
        scene="stop",
    ),
    Point(
        name="rescue: read", where="mailer.outbox.due_rows.list_claimed_by", moment="after", scene="rescue"
    ),
    *_both("rescue: written", RECORD, "rescue", within=RESCUE),
    Point(name="rescue: done", where=RESCUE, moment="after", scene="rescue"),
    Point(
        name="journal: begun, nothing claimed",
        where="mailer.delivery.journal.Journal.__init__",
        moment="after",
    ),
    *_both("expire: too late to send", "mailer.outbox.outbox.expire", "expire", "expire"),
    *_both("resolve: staff decide", "mailer.outbox.in_doubt.resolve", "resolve"),
)
