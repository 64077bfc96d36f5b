"""For each list and kind of mail: would one be sent now, and which rule prevents it."""

from datetime import timedelta

import pytest

from lists import contacts, subscriptions, suppressions, topic_optouts
from lists.catalog import BUILT_IN_LISTS
from mailer.coordination import send_hold, suspensions
from mailer.outbox import outbox
from mailer.outbox.outbox import OutboxRow
from mailer.people import eligibility
from mailer.people.eligibility import RULES
from mailer.policy import POLICY
from mailer.reasons import Reason
from mailer.service import Service
from mailer.sources import confirmations
from tests import calls, relays
from tests.clocks import StoppedClock
from tests.people import Person
from tests.relays import World


def find_rule(service: Service, person: Person, kind: str, *, list: str = "interest") -> str:
    """Return the rule that prevents this kind of mail to a person, "" when it would be sent."""
    with service.database.read() as session:
        contact = contacts.get(session, person.id)
        now = service.clock.now()
        answers = eligibility.check_all(
            session, contact, schedules=service.schedules, relays=["one:25", "two:25"], now=now
        )
    by_list_and_kind = {(answer.list, answer.kind): answer for answer in answers}
    assert len(by_list_and_kind) == len(answers)
    answer = by_list_and_kind[list, kind]
    assert answer.goes == (answer.rule == "") == (answer.why == "")
    return answer.rule


def fill(service: Service) -> None:
    with service.database.write() as session:
        service.sequences.fill(session, now=service.clock.now(), limit=100)


def test_every_kind_but_staffs_own_has_its_rules_and_every_list_is_asked_about(
    service: Service, ben: Person
) -> None:
    to_people = {kind for kind, policy in POLICY.items() if not policy.to_staff}
    assert set(RULES) == to_people
    with service.database.read() as session:
        contact, now = contacts.get(session, ben.id), service.clock.now()
        answers = eligibility.check_all(session, contact, schedules=service.schedules, relays=[], now=now)
    assert {answer.list for answer in answers} == {"", *BUILT_IN_LISTS}
    assert {answer.kind for answer in answers} == to_people


def test_ben_gets_updates_of_his_list_and_none_of_the_other_and_cleo_none(
    service: Service, ben: Person, cleo: Person
) -> None:
    assert find_rule(service, ben, "broadcast") == ""
    assert find_rule(service, ben, "access", list="") == ""
    assert find_rule(service, ben, "broadcast", list="organizers") == "never joined"
    assert find_rule(service, ben, "confirmation") == "already confirmed"
    for kind in ("broadcast", "sequence", "invitation", "confirmation"):
        assert find_rule(service, cleo, kind) == "left"


def test_what_somebody_said_is_told_before_what_we_do(service: Service, ben: Person) -> None:
    now = service.clock.now()
    with service.database.write() as session:
        suspensions.begin_by_staff(session, "domain/vecinos.example.org", real=now)
    assert find_rule(service, ben, "broadcast") == "domain paused"
    with service.database.write() as session:
        topic_optouts.set_optouts(session, contact_id=ben.id, topics={"updates"}, now=now)
    assert find_rule(service, ben, "broadcast") == "declined"
    assert find_rule(service, ben, "invitation") == "domain paused"
    with service.database.write() as session:
        subscriptions.pause(session, contact_id=ben.id, until=now + timedelta(days=9))
    assert find_rule(service, ben, "invitation") == "paused"
    with service.database.write() as session:
        suppressions.add(session, ben.address.digest, reason="complaint", now=now)
    assert find_rule(service, ben, "access", list="") == "suppressed"


def test_mail_waits_when_every_server_of_ours_is_paused_and_not_when_one_is(
    service: Service, ben: Person
) -> None:
    for name, rule in (("one:25", ""), ("two:25", "relays paused")):
        with service.database.write() as session:
            suspensions.begin_by_staff(session, f"relay/{name}", real=service.clock.real())
        assert find_rule(service, ben, "broadcast") == rule


def test_refusals_of_others_hold_no_mail_that_is_urgent(service: Service, ben: Person, cleo: Person) -> None:
    now = service.clock.real()
    with service.database.write() as session:
        suspensions.begin(session, "domain/vecinos.example.org", reply="5.7.1 no", real=now)
    assert find_rule(service, ben, "broadcast") == "domain paused"
    assert find_rule(service, ben, "access", list="") == ""
    assert find_rule(service, cleo, "invitation") == "left"


def test_nothing_goes_while_a_restore_is_held(service: Service, ben: Person) -> None:
    now = service.clock.now()
    with service.database.write() as session:
        send_hold.begin(session, backup_at=now - timedelta(days=1), run="a", now=now)
    assert find_rule(service, ben, "broadcast") == "restore"


def test_a_letter_goes_on_its_day_and_ends_with_the_last(
    service: Service, world: World, clock: StoppedClock, ben: Person
) -> None:
    assert find_rule(service, ben, "sequence") == "no journey"
    assert find_rule(service, ben, "sequence", list="organizers") == "never joined"
    fill(service)
    assert find_rule(service, ben, "sequence") == "journey sending"
    relays.deliver(service, world)
    assert find_rule(service, ben, "sequence") == "not due"
    clock.advance(days=14)
    assert find_rule(service, ben, "sequence") == ""


def test_a_held_and_an_unknown_message_are_named(service: Service, ben: Person) -> None:
    relays.broadcast(service)
    for state in ("held", "unknown"):
        with service.database.write() as session:
            changed = OutboxRow.__table__.update().values(
                state=state, reason=Reason.MISSING_LINK, detail="toolkit_url"
            )  # type: ignore[attr-defined]
            session.execute(changed)
        assert find_rule(service, ben, "broadcast") == state


def test_a_question_is_asked_three_times_a_day_at_most(service: Service, cleo: Person) -> None:
    now = service.clock.now()
    for number in range(confirmations.ANSWERS_PER_DAY):
        with service.database.write() as session:
            subscriptions.ask(session, contact_id=cleo.id, list="interest", now=now)
        assert find_rule(service, cleo, "confirmation") == ""
        with service.database.write() as session:
            edition = service.editions.freeze_current(session, "confirm/interest", "confirmation", now=now)
            outbox.put(
                session, key=f"confirmation/{number}", kind="confirmation", list="interest",
                contact_id=cleo.id, edition_id=edition, now=now,
            )  # fmt: skip
    assert find_rule(service, cleo, "confirmation") == "brake"


def test_an_invitation_needs_an_open_call_and_comes_once(
    service: Service, clock: StoppedClock, ana: Person
) -> None:
    assert find_rule(service, ana, "invitation", list="organizers") == "no call"
    planner = calls.opened(service.settings, service.database, clock)
    planner.plan()
    assert find_rule(service, ana, "invitation", list="organizers") == ""
    planner.fill()
    assert find_rule(service, ana, "invitation", list="organizers") == "invited"


@pytest.mark.parametrize("state", ["done", "goal", "left", "stopped", "paused"])
def test_letters_that_rest_say_why(service: Service, ben: Person, state: str) -> None:
    from mailer.sources.journeys import Journey

    fill(service)
    with service.database.write() as session:
        session.execute(Journey.__table__.update().values(state=state))  # type: ignore[attr-defined]
    assert find_rule(service, ben, "sequence") == f"journey {state}"
