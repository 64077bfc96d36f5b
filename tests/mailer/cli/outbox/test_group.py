"""`mailer outbox unknown` and `resolve`: staff decide the result of messages in doubt, once."""

import pytest
from sqlalchemy import insert, select, update

from lists import subscriptions
from lists.audit import AuditEntry
from mailer.cli.outbox import resolving
from mailer.outbox import in_doubt
from mailer.outbox.outbox import OutboxRow
from mailer.reasons import Reason, describe
from mailer.service import Service
from tests import commands, people
from tests.commands import Mailer
from tests.people import Person
from tests.relays import World, broadcast, crowd, deliver, rows, states


@pytest.fixture
def mailer(service: Service) -> Mailer:
    return commands.mailer(service)


def make_unknown(service: Service) -> None:
    broadcast(service)
    with service.database.write() as session:
        session.execute(update(OutboxRow).values(state="unknown", reason=Reason.WORKER_DIED))


def test_staff_see_what_is_unknown_and_decide_once(
    service: Service, mailer: Mailer, ben: Person, cleo: Person
) -> None:
    assert "Nothing is unknown." in mailer("outbox", "unknown").out
    make_unknown(service)
    (row,) = mailer("outbox", "unknown", "--json").json
    assert (row["email"], row["why"]) == (ben.email, describe(Reason.WORKER_DIED))
    undecided = mailer("outbox", "resolve", str(row["id"]))
    assert (undecided.status, "--sent if it arrived" in undecided.refusal) == (2, True)
    assert mailer("outbox", "resolve", str(row["id"]), "--sent").status == 0
    assert states(service) == {"sent": 1}
    repeated = mailer("outbox", "resolve", str(row["id"]), "--resend")
    assert (repeated.status, "only an unknown one waits" in repeated.refusal) == (2, True)


def test_what_is_sent_once_more_leaves_and_cleo_gets_nothing(
    service: Service, mailer: Mailer, ben: Person, cleo: Person
) -> None:
    make_unknown(service)
    (row,) = mailer("outbox", "unknown", "--json").json
    assert "leaves once more" in mailer("outbox", "resolve", str(row["id"]), "--resend").out
    assert "2 messages are sent." in mailer("deliver", "--until-empty").out  # with his first follow-up email
    assert states(service) == {"sent": 2}


# Many at once


def make_many_unknown(service: Service, world: World) -> None:
    """Make two updates unknown, the first two days old; a third was sent."""
    crowd(service, 3)
    for hours in (48, 2, 0):
        broadcast(service)
        world.clock.advance(hours=hours)
    of_first_two = update(OutboxRow).where(OutboxRow.ref < 3)
    of_third = update(OutboxRow).where(OutboxRow.ref == 3)
    with service.database.write() as session:
        session.execute(
            of_first_two.values(state="unknown", reason=Reason.WORKER_LOST, worker="lost", attempt=1)
        )
        session.execute(of_third.values(state="sent", sent_at=service.clock.now()))


def list_states(service: Service) -> list[tuple[int, str]]:
    return sorted({(row.ref, row.state) for row in rows(service)})


def list_acts(service: Service) -> list[tuple[str, str]]:
    with service.database.read() as session:
        return [
            (act.action, act.subject)
            for act in session.scalars(select(AuditEntry))
            if act.action[:3] == "res"
        ]


def test_a_look_counts_by_kind_reason_and_age_and_decides_nothing(
    service: Service, world: World, mailer: Mailer, ben: Person, cleo: Person
) -> None:
    make_many_unknown(service, world)
    report = mailer("outbox", "resolve", "--all", "--json").json
    row = {
        "kind": "broadcast",
        "reason": Reason.WORKER_LOST,
        "why": describe(Reason.WORKER_LOST),
        "number": 4,
    }
    assert report == {
        "unknown": [{**row, "age": "under a day"}, {**row, "age": "under a week"}],
        "decision": None,
        "decided": 0,
    }
    printed = mailer("outbox", "resolve", "--kind", "broadcast").out
    assert (
        describe(Reason.WORKER_LOST)[:40] in printed and "8 messages of this. Nothing was decided." in printed
    )
    assert list_states(service) == [(1, "unknown"), (2, "unknown"), (3, "sent")]
    assert list_acts(service) == []


@pytest.mark.parametrize(
    ("words", "which", "subject"),
    [
        (["--broadcast", 2], [2], "broadcast 2: 4 messages"),
        (["--older-than", "1d"], [1], "older than 1d: 4 messages"),
        (["--older-than", "1h", "--kind", "broadcast"], [1, 2], "kind broadcast, older than 1h: 8 messages"),
        (["--all"], [1, 2], "all: 8 messages"),
    ],
)
@pytest.mark.parametrize(("decision", "state"), [("--sent", "sent"), ("--resend", "queued")])
def test_staff_decide_about_many_at_once_after_a_question(
    service: Service,
    world: World,
    mailer: Mailer,
    ben: Person,
    cleo: Person,
    words: list[object],
    which: list[int],
    subject: str,
    decision: str,
    state: str,
) -> None:
    make_many_unknown(service, world)
    states_before = list_states(service)
    assert mailer("outbox", "resolve", *words, decision, typed="n\n").refusal == "Stopped."
    assert (list_states(service), list_acts(service)) == (states_before, [])
    result = mailer("outbox", "resolve", *words, decision, typed="y\n")
    assert f"Decided about {4 * len(which)} messages" in result.out
    assert list_states(service) == [
        (1, state if 1 in which else "unknown"),
        (2, state if 2 in which else "unknown"),
        (3, "sent"),
    ]
    assert all((row.worker is None) == (row.state != "unknown") for row in rows(service))
    assert list_acts(service) == [(f"resolve {decision[2:]}", subject)]
    repeated = mailer("outbox", "resolve", *words, decision, "--yes", "--json").json
    assert (repeated["unknown"], repeated["decided"]) == ([], 0)


def test_who_left_since_then_gets_nothing_though_all_is_sent_once_more(
    service: Service, world: World, mailer: Mailer, ben: Person
) -> None:
    """Cleo was written to; then she left."""
    with service.database.write() as session:
        cleo = people.add(
            session, name="Cleo", email="cleo@left.example.org", language="en", zip="90012", list="interest",
            now=service.clock.now(),
        )  # fmt: skip
    make_many_unknown(service, world)
    with service.database.write() as session:
        subscriptions.leave(session, contact_id=cleo.id, list="interest", now=service.clock.now())
    assert mailer("outbox", "resolve", "--all", "--resend", "--yes", "--json").json["decided"] == 10
    deliver(service, world)
    assert len(world.arrived) == 8
    assert cleo.email not in world.arrived
    assert states(service) == {"sent": 13, "cancelled": 2}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "Name one message by its number, or many"),
        ([12, "--all"], "Name one message by its number, or many"),
        (["--all", "--kind", "broadcast"], "Name one message by its number, or many"),
        (["--older-than", "soon", "--sent"], "write hours or days, such as 6h or 2d"),
        (["--restored"], "Say what you decided"),
        (["--all", "--sent", "--json"], "add --yes to decide"),
        (["--broadcast", 77], "77"),
    ],
)
def test_what_cannot_be_decided_is_a_sentence(mailer: Mailer, words: list[object], sentence: str) -> None:
    result = mailer("outbox", "resolve", *words)
    assert (result.status, sentence in result.refusal) == (2, True), result.refusal


def test_ten_thousand_are_decided_in_batches_that_each_are_short(
    service: Service, world: World, mailer: Mailer, ben: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    broadcast(service)
    (row,) = rows(service)
    columns = [column for column in OutboxRow.__table__.columns if column.key not in ("id", "key")]
    with service.database.write() as session:
        values = {column.key: getattr(row, column.key) for column in columns} | {
            "state": "unknown",
            "reason": Reason.WORKER_LOST,
        }
        session.execute(insert(OutboxRow), [{**values, "key": f"copy/{each}"} for each in range(10_000)])
    limits: list[int] = []
    resolve_some = in_doubt.resolve_some

    def record_limit(*args: object, limit: int, **more: object) -> int:
        limits.append(limit)
        return resolve_some(*args, limit=limit, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(in_doubt, "resolve_some", record_limit)
    report = mailer("outbox", "resolve", "--all", "--sent", "--yes", "--json").json
    assert (report["decided"], len(limits), max(limits)) == (10_000, 5, resolving.BATCH_SIZE)
    assert states(service) == {"sent": 10_000, "queued": 1}
