"""Law cards: shown for 90 days after a check, with a warning to staff before they expire."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from lists.errors import BadInput, Conflict, NotFound
from mailer.library import law_cards
from mailer.monitoring import health
from mailer.service import Service
from tests import commands
from tests.clocks import StoppedClock
from tests.commands import Mailer
from tests.mailer.web.visitor import Visitor, words

CARD: dict[str, Any] = {
    "state": "NY",
    "text": {"en": "A made-up rule.", "es": "Una regla inventada."},
    "source": "https://law.example.org/ny",
    "checked_on": "",
    "checked_by": "the tests",
}


def add(service: Service, **changed: Any) -> int:
    with service.database.write() as session:
        return law_cards.add(session, **(CARD | changed), now=service.clock.now(), actor="staff").id


def check(service: Service, number: int, **changed: Any) -> None:
    values = {"checked_on": "", "checked_by": "the tests"} | changed
    with service.database.write() as session:
        law_cards.record_check(session, number, **values, now=service.clock.now(), actor="staff")


def list_shown(service: Service) -> list[int]:
    with service.database.read() as session:
        return [card.id for card in law_cards.list_valid(session, now=service.clock.now())]


def list_warnings(service: Service) -> list[tuple[object, object]]:
    with capture_logs() as logs:
        service.jobs.get("watch-facts").run()
    assert {entry["event"] for entry in logs} <= {"a card on present law must be checked"}
    return [(entry["card"], entry["days"]) for entry in logs]


def level(service: Service) -> str:
    findings = health.run_checks(service.database, service.clock, home=service.settings.home)
    return next(finding.level for finding in findings if finding.name == "facts")


def test_a_card_is_shown_for_90_days_and_then_left_out_by_itself(
    service: Service, clock: StoppedClock
) -> None:
    number = add(service)
    clock.advance(days=90)
    assert (list_shown(service), level(service)) == ([number], "ok")
    clock.advance(days=1)
    assert (list_shown(service), level(service)) == ([], "notice")
    check(service, number)
    assert (list_shown(service), level(service)) == ([number], "ok")


def test_staff_are_told_two_weeks_before_each_day_and_until_it_is_checked_or_retired(
    service: Service, clock: StoppedClock
) -> None:
    first, second = add(service), add(service, state="federal")
    clock.advance(days=75)
    assert list_warnings(service) == []
    check(service, second)
    clock.advance(days=1)
    assert list_warnings(service) == [(first, 14)]
    clock.advance(days=20)
    assert list_warnings(service) == [(first, -6)]
    with service.database.write() as session:
        law_cards.retire(session, first, now=clock.now(), actor="staff")
    assert (list_warnings(service), level(service), list_shown(service)) == ([], "ok", [second])


def test_federal_law_comes_first_and_the_days_count_from_the_check(
    service: Service, clock: StoppedClock
) -> None:
    first, second = add(service, state="ny"), add(service, state="Federal", checked_on="2026-07-23")
    assert list_shown(service) == [second, first]
    with service.database.read() as session:
        assert [card.days_remaining(clock.now()) for card in law_cards.list_cards(session)] == [1, 90]


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "XX"},
        {"state": ""},
        {"state": "New York"},
        {"text": {"en": "Only English."}},
        {"text": {"en": "", "es": "Solo español."}},
        {"text": {"en": "a\nb", "es": "a"}},
        {"text": {"en": "a" * 401, "es": "a"}},
        {"source": "http://law.example.org"},
        {"source": ""},
        {"checked_by": " "},
        {"checked_by": "Ana \u202e"},
        {"checked_on": "2026-10-21"},
        {"checked_on": "2026-07-21"},
        {"checked_on": "yesterday"},
    ],
    ids=str,
)
def test_a_card_that_nobody_could_trust_is_refused(service: Service, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"[.]$"):
        add(service, **wrong)
    assert list_shown(service) == []


def test_a_check_mends_what_has_changed_and_never_goes_back(service: Service, clock: StoppedClock) -> None:
    number = add(service)
    clock.advance(days=10)
    check(service, number, text={"en": "Another rule.", "es": ""}, source="https://law.example.org/new")
    with service.database.read() as session:
        card = law_cards.get(session, number)
        assert card.text == {"en": "Another rule.", "es": "Una regla inventada."}
        assert (card.source, card.checked_on) == ("https://law.example.org/new", "2026-10-30")
    with pytest.raises(BadInput, match="later than that already"):
        check(service, number, checked_on="2026-10-29")
    with service.database.write() as session:
        law_cards.retire(session, number, now=clock.now(), actor="staff")
    with pytest.raises(Conflict, match="was retired on"):
        check(service, number)
    with pytest.raises(NotFound, match="There is no card 99"):
        check(service, 99)


def test_the_page_shows_the_cards_of_each_state_with_source_and_check(
    service: Service, visitor: Visitor, clock: StoppedClock
) -> None:
    assert "What the law says" not in words(visitor.get("/resources"))
    add(service, text={"en": "A rule <script>.", "es": "Una regla."})
    add(service, state="federal")
    english, spanish = (words(visitor.get(f"/resources?lang={language}")) for language in ("en", "es"))
    assert english.index("United States") < english.index("New York")
    assert "A rule <script>." in english and "<script" not in visitor.get("/resources").text
    assert "Checked on October 20, 2026 by the tests. Source: law.example.org" in english
    assert "Nueva York" in spanish and "Una regla." in spanish
    assert "not legal advice" in english
    clock.advance(days=91)
    assert "New York" not in words(visitor.get("/resources"))


def test_the_repository_ships_no_card(service: Service, mailer: Mailer) -> None:
    assert mailer("law-card", "list", "--all", "--json").json == []


@pytest.fixture
def mailer(service: Service) -> Mailer:
    return commands.mailer(service)


def test_cards_are_kept_by_hand(mailer: Mailer, clock: StoppedClock) -> None:
    card = ("--text", "A made-up rule.", "--text-es", "Una regla.", "--source", "https://law.example.org/")
    assert (
        "Card 1 is shown for 90 days more."
        in mailer("law-card", "add", "NY", *card, "--by", "legal team").out
    )
    clock.advance(days=91)
    (row,) = mailer("law-card", "list", "--json").json
    assert (row["state"], row["shown"], row["days_left"]) == ("NY", False, -1)
    ninety = ("--on", "2026-10-21")
    assert "Card 1 is shown for today only." not in mailer("law-card", "list").out
    assert "today only" in mailer("law-card", "check", 1, "--by", "legal team", *ninety).out
    assert "nobody sees it" in mailer("law-card", "retire", 1).out
    assert mailer("law-card", "list").out.strip() == "There is no card."
    run = mailer("law-card", "add", "Mars", *card, "--by", "legal team")
    assert (run.status, "is no state" in run.refusal) == (2, True)
