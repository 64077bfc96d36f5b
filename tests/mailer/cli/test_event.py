"""A call is planned, previewed, and its list invited once, by hand."""

import pytest

from mailer.outbox import stats
from mailer.service import Service
from mailer.sources import invitations
from tests import commands, people
from tests.commands import Mailer
from tests.people import Person

CALL = {
    "--title": "December call",
    "--title-es": "Llamada de diciembre",
    "--starts": "2026-12-08 20:00",
    "--zone": "America/New_York",
    "--minutes": "60",
    "--join-url": "https://example.org/call",
    "--audience": "interest",
}


def create(**changed: str) -> list[str]:
    words = {**CALL, **{f"--{name.replace('_', '-')}": value for name, value in changed.items()}}
    return ["event", "create", *(word for pair in words.items() for word in pair)]


@pytest.fixture
def mailer(service: Service, ana: Person, ben: Person, cleo: Person) -> Mailer:
    return commands.mailer(service)


def test_a_call_is_planned_and_nobody_is_invited_yet(service: Service, mailer: Mailer) -> None:
    printed = mailer(*create()).out
    assert "Call 1 is planned: Tuesday, December 8, 8:00 pm Eastern (2026)." in printed
    assert "Spanish title" not in printed
    assert mailer("event", "list", "--json").json[0]["invited"] == 0
    shown = mailer("event", "show", 1)
    assert "Llamada de diciembre" in shown.out and "Nobody is invited yet." in shown.out
    report = mailer("event", "show", 1, "--json").json
    assert (report["starts_at"], report["local"]) == (
        "2026-12-09T01:00:00+00:00",
        "2026-12-08T20:00:00-05:00",
    )
    service.jobs.tick()
    with service.database.read() as session:
        assert stats.count_by_kind_and_state(session, kind="invitation") == {}


def test_a_look_shows_the_words_and_the_count_and_changes_nothing(service: Service, mailer: Mailer) -> None:
    mailer(*create())
    printed = mailer("event", "invite", 1, "--dry-run").out
    for part in (
        "Invitation: December call",
        "Llamada de diciembre",
        "Hello Alex,",
        "1 person is to be invited now.",
        "1  in Spanish",
        "1  not: This person left the list.",
        "Nothing was sent.",
    ):
        assert part in printed
    report = mailer("event", "invite", 1, "--dry-run", "--json").json
    assert (report["languages"], report["left_out"]) == ({"es": 1}, {"left": 1})
    assert mailer("event", "show", 1, "--json").json["invited_at"] is None


def test_ben_is_invited_once_and_cleo_never(
    service: Service, mailer: Mailer, ben: Person, cleo: Person
) -> None:
    mailer(*create())
    printed = mailer("event", "invite", 1).out
    assert "1 person is invited by now." in printed
    assert mailer("event", "invite", 1, "--json").json["invited"] == 1
    mailer("deliver")
    mails = mailer("postoffice", "list", "--json").json
    assert [mail["to"] for mail in mails if "Llamada" in mail["subject"]] == [ben.email]
    assert cleo.email not in {mail["to"] for mail in mails}
    (invitation,) = [mail for mail in mails if "Llamada" in mail["subject"]]
    assert "METHOD:REQUEST" in mailer("postoffice", "show", invitation["id"], "--json").json["calendar"]
    shown = mailer("event", "show", 1, "--json").json
    assert shown["invitations"] == {"sent": 1}
    with service.database.write() as session:
        invitations.record_answer(
            session, event_id=1, contact_id=ben.id, answer="yes", now=service.clock.now()
        )
    assert mailer("event", "list", "--json").json[0]["yes"] == 1
    assert "1  yes" in mailer("event", "show", 1).out


def test_who_joins_later_is_invited_too(service: Service, mailer: Mailer) -> None:
    mailer(*create())
    mailer("event", "invite", 1)
    with service.database.write() as session:
        people.add(
            session,
            name="Dora",
            email="dora@example.org",
            language="en",
            zip="10027",
            list="interest",
            now=service.clock.now(),
        )
    service.jobs.tick()
    assert mailer("event", "list", "--json").json[0]["invited"] == 2


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"starts": "tomorrow"}, "write year-month-day and hour:minute"),
        ({"starts": "2020-12-08 20:00"}, "in the past"),
        ({"zone": "Eastern"}, "no time zone called “Eastern”"),
        ({"minutes": "0"}, "minutes"),
        ({"join_url": "javascript:alert(1)"}, ""),
        ({"title": "A call\r\nBcc: x@example.org"}, "line break"),
    ],
)
def test_what_cannot_be_meant_is_refused(mailer: Mailer, changed: dict[str, str], sentence: str) -> None:
    result = mailer(*create(**changed))
    assert result.status == 2
    assert sentence in result.refusal
    assert mailer("event", "list").out == "No call is planned.\n"


def test_a_missing_spanish_title_is_noted(mailer: Mailer) -> None:
    assert "it has no Spanish title" in mailer(*create(title_es="")).out


def test_nobody_is_invited_to_a_call_that_is_over_or_not_there(mailer: Mailer) -> None:
    assert "no event number 9" in mailer("event", "invite", 9).refusal
    mailer(*create(starts="2026-10-20 12:00"))
    mailer("postoffice", "advance", "--days", 1)
    for more in ([], ["--dry-run"]):
        result = mailer("event", "invite", 1, *more)
        assert (result.status, "over" in result.refusal) == (2, True)
