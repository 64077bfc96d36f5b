"""Held messages: a fault of the service holds a message, staff see it, and it is sent once it is fixed."""

import pytest
from sqlalchemy import select, update

from lists.contacts import Contact
from mailer.monitoring import health
from mailer.outbox import held_messages
from mailer.outbox.outbox import OutboxRow
from mailer.reasons import Reason
from mailer.service import Service
from mailer.sources import staff_digest
from mailer.sources.journeys import Journey
from tests import commands
from tests.clocks import StoppedClock
from tests.commands import Mailer
from tests.people import Person
from tests.relays import World, broadcast, crowd, deliver, rows, states

SMUGGLED = "Ben\r\nBcc: everybody@example.org"


@pytest.fixture
def mailer(service: Service) -> Mailer:
    return commands.mailer(service)


def rename(service: Service, person: Person, text: str) -> None:
    with service.database.write() as session:
        session.execute(update(Contact).where(Contact.id == person.id).values(name=text))


def list_notices(service: Service) -> list[str]:
    with service.database.read() as session:
        return [notice.name for notice in staff_digest.list_items(session, now=service.clock.now())]


def read_level(service: Service) -> str:
    statuses = health.run_checks(service.database, service.clock, home=service.settings.home)
    return next(status.level for status in statuses if status.name == "texts")


def set_failed(service: Service, reason: Reason, detail: str = "") -> None:
    with service.database.write() as session:
        session.execute(update(OutboxRow).values(state="failed", reason=reason, detail=detail))


def test_one_that_cannot_be_written_waits_while_all_others_of_its_batch_leave(
    service: Service, world: World, ben: Person, cleo: Person
) -> None:
    crowd(service, 49)
    rename(service, ben, SMUGGLED)
    broadcast(service)
    deliver(service, world)
    assert states(service) == {"held": 1, "sent": 49}
    assert ben.email not in world.arrived and cleo.email not in world.arrived
    assert list_notices(service) == ["faults"] and read_level(service) == "trouble"


def test_staff_read_why_and_what_to_do_and_it_leaves_once_mended(
    service: Service, world: World, mailer: Mailer, ben: Person, cleo: Person
) -> None:
    rename(service, ben, SMUGGLED)
    broadcast(service)
    deliver(service, world)
    (reason,) = mailer("outbox", "retry", "--json").json
    assert (reason["number"], reason["state"]) == (1, "held")
    assert "control character" in reason["why"] and "Mend the text or the name" in reason["advice"]
    assert "mailer outbox retry" in mailer("status").out
    rename(service, ben, "Ben")
    assert "1 message is queued again" in mailer("outbox", "retry", "--all").out
    deliver(service, world)
    assert states(service) == {"sent": 1} and world.arrived == [ben.email]
    assert list_notices(service) == [] and read_level(service) == "ok"
    assert "Nothing is kept back" in mailer("outbox", "retry").out


def test_a_start_of_the_service_tries_all_again(service: Service, world: World, ben: Person) -> None:
    rename(service, ben, SMUGGLED)
    broadcast(service)
    deliver(service, world)
    with service.database.write() as session:
        assert held_messages.retry_held(session) == 1
    deliver(service, world)
    assert states(service) == {"held": 1}  # it is not fixed yet


def test_a_newer_text_of_a_message_frees_what_could_not_be_written(
    service: Service, world: World, ben: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service.database.write() as session:
        service.confirmations.send_access_link(session, ben.id, now=service.clock.now())
        session.execute(
            update(OutboxRow).values(state="held", reason=Reason.OUR_FAULT, detail="it cannot be written: x")
        )
    release = service.jobs.get("release-held")
    assert (release.run(), states(service)) == (0, {"held": 1})
    monkeypatch.setitem(service.editions.shared["es"], "motto", "Otras palabras")
    assert (release.run(), states(service)) == (1, {"queued": 1})
    deliver(service, world)
    assert states(service) == {"sent": 1}


@pytest.mark.parametrize(
    ("reason", "detail"), [(Reason.OUR_FAULT, "it cannot be written: x"), (Reason.NO_SMTPUTF8, "")]
)
def test_what_failed_in_an_earlier_version_waits_for_staff_and_gets_its_time_anew(
    service: Service,
    clock: StoppedClock,
    world: World,
    mailer: Mailer,
    ben: Person,
    cleo: Person,
    reason: Reason,
    detail: str,
) -> None:
    broadcast(service)
    set_failed(service, reason, detail)
    clock.advance(days=9)
    with service.database.write() as session:
        assert held_messages.retry_held(session) == 0
    assert states(service) == {"failed": 1} and list_notices(service) in (["faults"], ["servers"])
    assert mailer("outbox", "retry", "--broadcast", 1, "--json").json == {"queued": 1}
    deliver(service, world)
    assert states(service) == {"sent": 1} and world.arrived == [ben.email]


def test_an_answer_that_nobody_waits_for_any_more_is_not_sent(
    service: Service, clock: StoppedClock, mailer: Mailer, ben: Person
) -> None:
    with service.database.write() as session:
        service.confirmations.send_access_link(session, ben.id, now=clock.now())
    set_failed(service, Reason.OUR_FAULT, "it cannot be written: x")
    clock.advance(days=1)
    assert mailer("outbox", "retry", "--all", "--json").json == {"queued": 0}
    assert mailer("outbox", "retry", "--all", "--give-up", "--json").json == {"given_up": 1}
    (row,) = rows(service)
    assert (row.state, row.reason) == ("expired", Reason.GIVEN_UP) and list_notices(service) == []


@pytest.mark.parametrize(("words", "then"), [((), "waiting"), (("--give-up",), "waiting")])
def test_messages_that_ended_by_a_fault_of_ours_go_on(
    service: Service,
    clock: StoppedClock,
    world: World,
    mailer: Mailer,
    ben: Person,
    ana: Person,
    words: tuple[str, ...],
    then: str,
) -> None:
    with service.database.write() as session:
        service.sequences.fill(session, now=clock.now(), limit=100)
        session.execute(update(Journey).values(state="stopped"))
        session.execute(
            update(OutboxRow).values(
                state="failed", reason=Reason.OUR_FAULT, detail="it cannot be written: x"
            )
        )
        session.execute(update(OutboxRow).where(OutboxRow.contact_id == ana.id).values(reason=Reason.REFUSED))
    assert mailer("outbox", "retry", "--all", *words).status == 0
    deliver(service, world)
    with service.database.read() as session:
        states_by_contact = dict(session.execute(select(Journey.contact_id, Journey.state)).all())
    assert states_by_contact == {ben.id: then, **({ana.id: "stopped"} if ana.id in states_by_contact else {})}
    assert ana.email not in world.arrived


def test_one_update_is_tried_again_and_another_stays(
    service: Service, world: World, mailer: Mailer, ben: Person
) -> None:
    broadcast(service)
    broadcast(service)
    set_failed(service, Reason.OUR_FAULT, "it cannot be written: x")
    assert mailer("outbox", "retry", "--broadcast", 2, "--json").json == {"queued": 1}
    assert [(row.ref, row.state) for row in rows(service)] == [(1, "failed"), (2, "queued")]
    answer = mailer("outbox", "retry", "--broadcast", 9)
    assert answer.status == 2 and "no broadcast number 9" in answer.refusal


def test_it_is_said_what_to_name(mailer: Mailer) -> None:
    for words in (["1", "--all"], ["--give-up"], ["--all", "--broadcast", "1"]):
        assert mailer("outbox", "retry", *words).status == 2


def test_held_mail_comes_to_an_end_when_it_is_too_late(
    service: Service, clock: StoppedClock, world: World, ben: Person
) -> None:
    rename(service, ben, SMUGGLED)
    broadcast(service)
    deliver(service, world)
    clock.advance(days=6)
    service.jobs.get("expire").run()
    assert states(service) == {"expired": 1}
