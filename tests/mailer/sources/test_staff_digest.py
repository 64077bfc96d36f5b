"""Staff digest: tasks that wait for staff, in sentences without names, mailed at limited intervals."""

import quopri
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import delete, insert, select

from lists import suppressions
from lists.contacts import Contact
from lists.directory import Listing
from lists.tables import export_rows
from mailer import service as composition
from mailer.coordination import send_hold, signup_throttle, suspensions
from mailer.library import law_cards
from mailer.outbox.outbox import OutboxRow
from mailer.people import eligibility
from mailer.policy import DIGEST_FIELDS
from mailer.reasons import Reason
from mailer.service import Service
from mailer.settings.model import Settings
from mailer.sources import staff_digest
from mailer.sources.staff_digest import CHECKS
from tests.clocks import StoppedClock
from tests.people import Person
from tests.relays import REFUSED, World, confirmation, deliver

STAFF = "office@example.org"
CARD = {"en": "A made-up rule.", "es": "Una regla inventada."}


@pytest.fixture
def installation(settings: Settings, service: Service, clock: StoppedClock) -> Iterator[Service]:
    """The same service with an address of staff."""
    service_with_staff = composition.build(settings.model_copy(update={"staff_address": STAFF}), clock=clock)
    yield service_with_staff
    service_with_staff.close()


def apply(service: Service, person: Person) -> None:
    """Add an application of a congregation that waits for staff."""
    with service.database.write() as session:
        row = {"contact_id": person.id, "state": "waiting", "organization": "St. Mark", "name": "Ana"}
        session.execute(insert(Listing), [row | {"asked_at": service.clock.now()}])


def decide(service: Service) -> None:
    """Remove every application, as if staff had decided about it."""
    with service.database.write() as session:
        session.execute(delete(Listing))


def list_names(service: Service) -> list[str]:
    with service.database.read() as session:
        return [item.name for item in staff_digest.list_items(session, now=service.clock.now())]


def list_sentences(service: Service, language: str = "en") -> list[str]:
    with service.database.read() as session:
        items = staff_digest.list_items(session, now=service.clock.now())
    return [item.sentence[language] for item in items]


def send_digest(service: Service, world: World) -> list[str]:
    """Run the job and the delivery; returns the recipients of new messages."""
    before = len(world.arrived)
    service.jobs.get("fill-notice").run()
    deliver(service, world)
    return world.arrived[before:]


def decode_last_message(world: World) -> str:
    return quopri.decodestring(world.letters[-1]).decode("utf-8", "replace")


def test_nothing_waits_in_an_installation_where_all_is_done(
    installation: Service, world: World, ana: Person, ben: Person, cleo: Person
) -> None:
    assert (list_names(installation), send_digest(installation, world)) == ([], [])


def test_each_thing_that_waits_is_counted_and_goes_when_it_is_done(
    installation: Service, clock: StoppedClock, ana: Person, ben: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signup_throttle, "SIGNUPS_PER_NETWORK", 0)
    now = clock.now()
    for person in (ana, ben):
        apply(installation, person)
        confirmation(installation, person)
    with installation.database.write() as session:
        send_hold.begin(session, backup_at=now - timedelta(days=1), run="a", now=now)
        suspensions.begin_by_staff(session, "domain/strict.example", real=now)
        law_cards.add(session, state="NY", text=CARD, source="https://example.org/", checked_on="",
                  checked_by="us", now=now, actor="staff")  # fmt: skip
        signup_throttle.admit_signup(session, b"n" * 16, now=now)
        one, other = session.scalars(select(OutboxRow).order_by(OutboxRow.id))
        one.state, one.reason, one.detail = "held", Reason.MISSING_LINK, "toolkit_url"
        other.state = "unknown"
    assert list_names(installation) == [
        "restore",
        "pauses",
        "resources",
        "unknown",
        "applications",
        "sign_ups",
    ]
    assert "2 congregations or organizations wait to be approved for the map." in list_sentences(installation)
    assert "Un correo espera un recurso que nadie ha dado." in list_sentences(installation, "es")
    decide(installation)
    clock.advance(days=75)
    assert list_names(installation) == ["restore", "pauses", "resources", "unknown"]
    clock.advance(days=1)
    assert list_names(installation)[-1] == "expiring"
    clock.advance(days=14)
    assert list_names(installation)[-1] == "expiring"  # on its ninetieth day it is still shown
    clock.advance(days=1)
    assert list_names(installation)[-1] == "expired"


def test_staff_are_mailed_what_waits_and_what_to_type_and_nobody_is_named(
    installation: Service, world: World, ana: Person, ben: Person, cleo: Person
) -> None:
    apply(installation, ana)
    assert send_digest(installation, world) == [STAFF]
    mail = decode_last_message(world)
    assert "One congregation or organization waits to be approved for the map." in mail
    assert "mailer organizer list" in mail and "resource" not in mail
    assert not [word for word in ("Ana", "St. Mark", ana.email, "Ben", "Cleo", cleo.email) if word in mail]


def test_the_same_list_is_told_once_a_week_and_a_changed_one_the_next_day(
    installation: Service, world: World, clock: StoppedClock, ana: Person, ben: Person
) -> None:
    apply(installation, ana)
    assert send_digest(installation, world) == [STAFF]
    apply(installation, ben)
    clock.advance(days=1, microseconds=-1)
    assert send_digest(installation, world) == []
    clock.advance(microseconds=1)
    assert send_digest(installation, world) == [STAFF]
    clock.advance(days=7, microseconds=-1)
    assert send_digest(installation, world) == []
    clock.advance(microseconds=1)
    assert send_digest(installation, world) == [STAFF]
    clock.advance(days=1)
    decide(installation)
    apply(installation, ana)
    apply(installation, ben)  # as many as before, and others
    assert send_digest(installation, world) == [STAFF]


def test_what_is_done_before_the_mail_leaves_is_not_told(
    installation: Service, world: World, ana: Person
) -> None:
    apply(installation, ana)
    installation.jobs.get("fill-notice").run()
    decide(installation)
    deliver(installation, world)
    (row,) = list_messages(installation)
    assert (row.state, row.reason, world.arrived) == ("cancelled", Reason.NOTHING_WAITS, [])


def test_a_mail_that_was_refused_is_tried_again_the_next_day(
    installation: Service, world: World, clock: StoppedClock, ana: Person
) -> None:
    apply(installation, ana)
    world.answer = lambda _: REFUSED
    assert send_digest(installation, world) == []
    world.answer = World(clock).answer
    assert send_digest(installation, world) == []
    clock.advance(days=1)
    assert send_digest(installation, world) == [STAFF]


def test_without_an_address_nobody_is_mailed_and_the_job_still_runs(
    service: Service, world: World, clock: StoppedClock, ana: Person
) -> None:
    apply(service, ana)
    assert (list_names(service), send_digest(service, world)) == (["applications"], [])
    assert list_messages(service) == []


def test_an_address_that_must_not_be_written_to_is_not(
    installation: Service, world: World, ana: Person
) -> None:
    apply(installation, ana)
    assert installation.staff_digest.staff is not None
    with installation.database.write() as session:
        suppressions.add(
            session, installation.staff_digest.staff.digest, reason="forgotten", now=installation.clock.now()
        )
    assert send_digest(installation, world) == []
    assert list_emails(installation) == {ana.email}
    with installation.database.read() as session:
        assert installation.staff_digest.next_due(session, now=installation.clock.now()) is None


def test_the_address_of_staff_is_on_no_list_and_in_no_export(
    installation: Service, world: World, ana: Person, cleo: Person
) -> None:
    apply(installation, ana)
    assert send_digest(installation, world) == [STAFF]
    with installation.database.read() as session:
        for kind in export_rows.KINDS:
            assert STAFF not in {cell for row in export_rows.read_rows(session, kind) for cell in row}
        staff = session.scalars(select(Contact).where(Contact.email == STAFF)).one()
        answers = eligibility.check_all(
            session, staff, schedules=installation.schedules, relays=[], now=installation.clock.now()
        )
    assert {answer.rule for answer in answers if answer.list} == {"never joined"}
    assert "notice" not in {answer.kind for answer in answers}


def test_an_address_that_is_no_longer_the_staffs_is_forgotten_unless_a_person_has_it(
    installation: Service, world: World, ana: Person
) -> None:
    apply(installation, ana)
    assert send_digest(installation, world) == [STAFF]
    digest = replace(installation.staff_digest, staff=ana.address)
    fill(installation, digest)
    assert list_emails(installation) == {ana.email}
    fill(installation, replace(installation.staff_digest, staff=None))
    assert list_emails(installation) == {ana.email}
    assert [row.contact_id for row in list_messages(installation)] == [ana.id]


def test_a_person_of_staff_who_reads_spanish_is_told_in_spanish(
    installation: Service, world: World, ben: Person
) -> None:
    apply(installation, ben)
    fill(installation, replace(installation.staff_digest, staff=ben.address))
    deliver(installation, world)
    assert world.arrived == [ben.email]
    assert "espera su aprobación para el mapa. → mailer organizer list" in decode_last_message(world)


def test_the_time_machine_knows_when_staff_are_told_next(
    installation: Service, world: World, clock: StoppedClock, ana: Person
) -> None:
    def due() -> object:
        with installation.database.read() as session:
            return installation.staff_digest.next_due(session, now=clock.now())

    assert due() is None
    apply(installation, ana)
    assert due() == clock.now()
    first = clock.now()
    send_digest(installation, world)
    assert due() == first + staff_digest.REPEAT_INTERVAL


def test_in_a_try_out_the_time_machine_tells_staff_each_week(
    installation: Service, world: World, clock: StoppedClock, ana: Person
) -> None:
    apply(installation, ana)
    installation.time_machine(drain=lambda: deliver(installation, world)).advance(timedelta(days=15))
    assert world.arrived.count(STAFF) == 3


def test_every_notice_has_its_field_and_both_languages() -> None:
    assert {f"waits_{check.name}" for check in CHECKS} == DIGEST_FIELDS
    for check in CHECKS:
        for wording in (check.singular, check.plural or check.singular):
            assert set(wording) == {"en", "es"} and wording["en"] != wording["es"]
        assert all("{number}" in sentence for sentence in check.plural.values())


def test_an_address_that_cannot_be_written_to_is_a_mistake_of_the_settings(settings: Settings) -> None:
    with pytest.raises(ValueError, match="an email address that staff read"):
        Settings(home=settings.home, staff_address="office")


def fill(service: Service, source: staff_digest.StaffDigest) -> None:
    with service.database.write() as session:
        source.fill(session, now=service.clock.now(), limit=10)


def list_emails(service: Service) -> set[str]:
    with service.database.read() as session:
        return set(session.scalars(select(Contact.email)))


def list_messages(service: Service) -> list[OutboxRow]:
    with service.database.read() as session:
        return list(session.scalars(select(OutboxRow).where(OutboxRow.kind == "notice")))
