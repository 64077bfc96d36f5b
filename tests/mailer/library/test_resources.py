"""Resources: a slot has the newest version of a language, else the link in the settings, else nothing."""

import quopri
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from lists.audit import AuditEntry
from lists.db import Database
from lists.errors import BadInput, Conflict, NotFound
from mailer import service as composition
from mailer.library import resources
from mailer.library.resources import CurrentVersion
from mailer.monitoring import health
from mailer.outbox import stats
from mailer.policy import RESOURCES
from mailer.reasons import Reason
from mailer.service import Service
from mailer.settings.loading import Settings
from mailer.sources import broadcasts
from mailer.templates import templates
from mailer.templates.templates import Template
from tests.clocks import StoppedClock
from tests.desk import WITH_LINK
from tests.mailer.test_service import earnest
from tests.people import Person
from tests.relays import World, deliver

KIT = "https://example.org/kit.pdf"


@pytest.fixture
def real(settings: Settings, database: Database, clock: StoppedClock) -> Iterator[Service]:
    """A service for real mail, with one English link to the guide in its settings, and no other."""
    guide = {"en": "https://example.org/guide", "es": ""}
    service = composition.build(earnest(settings, resources={"guide": guide}), clock=clock)
    yield service
    service.close()


def add(service: Service, slot: str = "toolkit", link: str = KIT, language: str = "en", **more: str) -> int:
    with service.database.write() as session:
        return resources.add(
            session, slot, language=language, link=link, now=service.clock.now(), actor="staff", **more
        ).id


def retire(service: Service, number: int) -> None:
    with service.database.write() as session:
        resources.retire(session, number, now=service.clock.now(), actor="staff")


def list_offered(service: Service, slot: str, language: str) -> list[tuple[str, str]]:
    with service.database.read() as session:
        versions = service.editions.library.list_for_language(session, language)[slot]
    return [(version.link, version.language) for version in versions]


def list_empty_fields(service: Service) -> frozenset[str]:
    with service.database.read() as session:
        return service.editions.library.list_empty_fields(session)


def get_note(service: Service, slot: str, language: str) -> str:
    with service.database.read() as session:
        in_other = {"en": " (en inglés)", "es": " (in Spanish)"}
        notes = service.editions.library.build_language_notes(session, in_other={language: in_other})
        return notes[language][f"{slot}_note"]


def count_held(service: Service) -> dict[str, int]:
    with service.database.read() as session:
        return stats.count_held_for(session, Reason.MISSING_LINK)


def states(service: Service) -> dict[tuple[str, str], int]:
    with service.database.read() as session:
        return stats.count_by_kind_and_state(session)


def tick(service: Service, *names: str) -> None:
    for name in names:
        service.jobs.get(name).run()


def test_in_a_try_out_no_slot_is_absent_and_in_earnest_what_nobody_gave_is(
    service: Service, real: Service
) -> None:
    assert list_empty_fields(service) == frozenset()
    assert list_empty_fields(real) == {f"{name}_url" for name in RESOURCES if name != "guide"}
    add(real)
    assert "toolkit_url" not in list_empty_fields(real)


def test_the_newest_version_of_a_language_stands_and_the_one_before_returns_when_it_is_retired(
    real: Service,
) -> None:
    assert list_offered(real, "guide", "en") == [("https://example.org/guide", "en")]
    first, second = (add(real, "guide", f"https://example.org/{number}") for number in (1, 2))
    assert list_offered(real, "guide", "en") == [("https://example.org/2", "en")]
    retire(real, second)
    assert list_offered(real, "guide", "en") == [("https://example.org/1", "en")]
    retire(real, first)
    assert list_offered(real, "guide", "en") == [("https://example.org/guide", "en")]
    with pytest.raises(Conflict, match="was retired on"):
        retire(real, first)
    with pytest.raises(NotFound, match="There is no version 99"):
        retire(real, 99)


def test_a_reader_gets_the_own_language_where_there_is_one_and_is_told_where_there_is_not(
    real: Service,
) -> None:
    add(real)
    assert list_offered(real, "toolkit", "es") == [(KIT, "en")]
    assert get_note(real, "toolkit", "es") == " (en inglés)"
    assert get_note(real, "toolkit", "en") == get_note(real, "webinar", "es") == ""
    add(real, link="https://example.org/materiales.pdf", language="es")
    assert list_offered(real, "toolkit", "es") == [("https://example.org/materiales.pdf", "es")]
    assert list_offered(real, "toolkit", "en") == [(KIT, "en")]
    assert get_note(real, "toolkit", "es") == ""


def test_allies_stand_beside_each_other_by_their_titles(real: Service) -> None:
    add(real, "allies", "https://one.example.org/", title="One")
    add(real, "allies", "https://two.example.org/", title="Two")
    add(real, "allies", "https://one.example.org/new", title="One")
    add(real, "allies", "https://one.example.org/es", language="es", title="One")
    both = [("https://one.example.org/new", "en"), ("https://two.example.org/", "en")]
    assert sorted(list_offered(real, "allies", "en")) == both
    assert sorted(list_offered(real, "allies", "es")) == [("https://one.example.org/es", "es"), both[1]]
    assert get_note(real, "allies", "es") == ""  # the page has a note for each


@pytest.mark.parametrize(
    "wrong",
    [
        {"slot": "tool kit"},
        {"language": "fr"},
        {"link": ""},
        {"link": "http://example.org/kit"},
        {"link": "javascript:alert(1)"},
        {"link": "https://example.org/a\r\nBcc: x@example.org"},
        {"link": "https://example.org/a b"},
        {"link": "https://ann:word@example.org/"},
        {"link": "https://@example.org/"},
        {"link": "https://example.org:99999/"},
        {"link": "https://\u0435xample.org/"},
        {"link": "https://example.org/\u202egnp.exe"},
        {"link": "https://[::1/"},
        {"link": "https://localhost/"},
        {"link": "https://example.org/" + "a" * 1_000},
        {"title": "Kit\r\nBcc: x@example.org"},
        {"title": "Kit \u202efdp"},
        {"title": "k" * 121},
        {"note": "n" * 301},
        {"dated": "12/24/2025"},
        {"dated": "2026-02-30"},
        {"dated": "2026-12-31"},
        {"dated": "0001-01-01"},
        {"slot": "allies"},
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(real: Service, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"[.]$"):
        add(real, **wrong)
    with real.database.read() as session:
        assert resources.list_versions(session) == []


def test_there_is_an_end_to_the_versions_that_are_kept(
    real: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "MAX_VERSIONS", 1)
    first = add(real)
    with pytest.raises(Conflict, match="Retire old ones"):
        add(real)
    retire(real, first)
    add(real)


def test_a_version_says_when_it_is_from_and_who_gave_it_stands_in_the_audit(
    real: Service, clock: StoppedClock
) -> None:
    number = add(real, note="With a new chapter.", dated="2026-05-01")
    today = add(real)
    with real.database.read() as session:
        (version,) = real.editions.library.list_for_language(session, "en")["toolkit"]
        assert version == CurrentVersion(
            slot="toolkit", language="en", link=KIT, dated=clock.now().date().isoformat(), number=today
        )
        assert resources.list_versions(session, "toolkit")[1].dated == "2026-05-01"
        assert [(entry.action, entry.subject) for entry in session.scalars(select(AuditEntry))] == [
            ("resource add", f"resource {number}"),
            ("resource add", f"resource {today}"),
        ]


# What mails do


def _queue_update(service: Service, text: str = WITH_LINK) -> None:
    """Queue an update with a link to the toolkit for the interest list."""
    template = Template(name="broadcast", sources=templates.parse_update(text, path="update.md"))
    with service.database.write() as session:
        now = service.clock.now()
        edition = service.editions.freeze(session, template, "broadcast", now=now)
        broadcast = broadcasts.create(
            session, subject="x", audience="interest", edition_id=edition.id, now=now, actor="staff"
        )
        service.broadcasts.fill_batch(session, broadcast, now=now, limit=100)


def test_a_mail_leads_to_the_address_that_never_changes(
    real: Service, world: World, ben: Person, cleo: Person
) -> None:
    add(real)
    _queue_update(real)
    deliver(real, world)
    assert world.arrived == [ben.email]
    message = world.letters[0].replace(b"=\r\n", b"").replace(b"=3D", b"=")
    assert b"https://mail.example.org/r/toolkit?lang=en" in message
    assert b"example.org/kit.pdf" not in message


def test_what_leads_to_an_empty_slot_is_held_whatever_sends_it_and_leaves_once_it_is_filled(
    real: Service, world: World, clock: StoppedClock, ben: Person, cleo: Person
) -> None:
    _queue_update(real)
    tick(real, "fill-sequence")
    deliver(real, world)
    assert world.begun == []
    assert count_held(real) == {"toolkit_url": 1, "toolkit_url, webinar_url": 1}
    tick(real, "release-held")
    add(real)
    tick(real, "release-held")
    assert count_held(real) == {"toolkit_url, webinar_url": 1}
    add(real, "webinar", "https://example.org/film")
    tick(real, "release-held")
    assert count_held(real) == {}
    deliver(real, world)
    assert sorted(world.arrived) == [ben.email, ben.email]
    assert any("(en inglés)".encode() in quopri.decodestring(message) for message in world.letters)


def test_what_was_put_before_its_slot_was_emptied_is_held_at_the_last_moment(
    real: Service, world: World, ben: Person, cleo: Person
) -> None:
    number = add(real)
    _queue_update(real)
    retire(real, number)
    deliver(real, world)
    assert (world.begun, count_held(real)) == ([], {"toolkit_url": 1})
    newer = add(real)
    tick(real, "release-held")
    deliver(real, world)
    assert world.arrived == [ben.email]
    assert newer != number


def test_staff_are_told_when_mails_wait_for_a_resource(
    real: Service, world: World, ben: Person, cleo: Person
) -> None:
    def read_level() -> str:
        findings = health.run_checks(real.database, real.clock, home=real.settings.home)
        return next(finding.level for finding in findings if finding.name == "resources")

    _queue_update(real)
    assert read_level() == "ok"
    deliver(real, world)
    assert read_level() == "trouble"
    with capture_logs() as logs:
        tick(real, "watch-resources")
    (entry,) = logs
    assert entry["event"] == "mails wait for a resource that nobody has given"
    assert (entry["fields"], entry["messages"]) == ("toolkit_url", 1)
    add(real)
    tick(real, "release-held")
    assert read_level() == "ok"
    assert states(real) == {("broadcast", "queued"): 1}


def test_a_new_version_makes_no_new_editions_and_another_language_does(
    real: Service, clock: StoppedClock
) -> None:
    def edition() -> int:
        with real.database.write() as session:
            return real.editions.freeze_current(session, "welcome/toolkit", "sequence", now=clock.now())

    empty = edition()
    add(real)
    english = edition()
    add(real, link="https://example.org/newer")
    assert edition() == english != empty
    add(real, language="es")
    assert edition() != english
