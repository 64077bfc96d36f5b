"""`mailer list` counts people and prints who may not be written to."""

from pathlib import Path

import pytest

from lists import subscriptions, suppressions
from mailer.service import Service
from tests import commands
from tests.commands import Mailer
from tests.people import Person


@pytest.fixture
def mailer(service: Service, ana: Person, ben: Person, cleo: Person) -> Mailer:
    return commands.mailer(service)


def test_every_list_is_counted_by_state(mailer: Mailer) -> None:
    assert mailer("list", "--json").json == [
        {"list": "interest", "confirmed": 1, "pending": 0, "left": 1},
        {"list": "organizers", "confirmed": 1, "pending": 0, "left": 0},
    ]
    assert "interest" in mailer("list").out


def test_one_list_tells_who_would_get_an_update_and_why_cleo_would_not(mailer: Mailer) -> None:
    printed = mailer("list", "show", "interest").out
    assert "An update sent now would reach 1: 1 in Spanish." in printed
    assert "1  would not get it: This person left the list." in printed
    report = mailer("list", "show", "interest", "--json").json
    assert (report["readers"], report["languages"], report["left_out"]) == (1, {"es": 1}, {"left": 1})
    assert "people" not in report


def test_people_are_named_only_when_asked_for(mailer: Mailer, ben: Person, cleo: Person) -> None:
    assert ben.email not in mailer("list", "show", "interest").out
    result = mailer("list", "show", "interest", "--people")
    assert ben.email in result.out and cleo.email in result.out
    people = mailer("list", "show", "interest", "--people", "--limit", "1", "--json").json["people"]
    assert [person["email"] for person in people] == [cleo.email]


def test_the_suppressed_and_the_paused_are_counted_apart(
    service: Service, mailer: Mailer, ana: Person, ben: Person
) -> None:
    with service.database.write() as session:
        suppressions.add(session, ben.address.digest, reason="bounce", now=service.clock.now())
        subscriptions.pause(session, contact_id=ana.id, until=service.clock.now().replace(year=2027))
    assert mailer("list", "show", "interest", "--json").json["left_out"] == {"left": 1, "suppressed": 1}
    assert mailer("list", "show", "organizers", "--json").json["left_out"] == {"paused": 1}


def test_an_unknown_list_is_told_with_the_known_ones(mailer: Mailer) -> None:
    result = mailer("list", "show", "friends")
    assert (result.status, result.refusal) == (
        2,
        "There is no list called “friends”. The lists are: interest, organizers.",
    )


def add_list(mailer: Mailer, name: str = "clergy") -> None:
    words = ("--title", "Clergy circle", "--title-es", "Círculo del clero")
    about = ("--about", "One letter a month.", "--about-es", "Una carta al mes.")
    result = mailer("list", "add", name, *words, *about)
    assert result.status == 0, result.refusal
    assert f"/join/{name}" in result.out
    assert (
        "on a list of" in result.out
        and "One letter a month." in result.out
        and "Una carta al mes." in result.out
    )


def test_a_list_is_added_and_shown_with_its_words(mailer: Mailer) -> None:
    add_list(mailer)
    assert mailer("list", "--json").json[-1] == {"list": "clergy", "confirmed": 0, "pending": 0, "left": 0}
    assert "Círculo del clero" in mailer("list", "show", "clergy").out
    row = mailer("list", "show", "clergy", "--json").json["words"]
    assert (row["title"], row["letter"], row["closed_at"]) == ("Clergy circle", "the shared letter", None)
    assert mailer("list", "show", "interest", "--json").json["words"] == {}


def test_people_come_onto_an_added_list_by_a_file_and_get_its_updates(
    mailer: Mailer, ben: Person, tmp_path: Path
) -> None:
    add_list(mailer)
    file, update = tmp_path / "people.csv", tmp_path / "update.md"
    file.write_text(f"email\n{ben.email}\n")
    update.write_text("---\nsubject: To the circle\n---\nWe meet on Sunday.\n")
    consent = ("--consent", "signed the sheet of October 4", "--confirmed")
    assert mailer("list", "import", file, "--list", "clergy", *consent).status == 0
    report = mailer("broadcast", "send", "--file", update, "--audience", "clergy", "--yes", "--json").json
    assert (report["readers"], report["put"]) == (1, 1)
    export_file = tmp_path / "clergy.csv"
    assert mailer("list", "export", "people", export_file, "--list", "clergy").status == 0
    assert ben.email in export_file.read_text(encoding="utf-8-sig")


def test_nobody_is_brought_onto_a_closed_list(mailer: Mailer, ben: Person, tmp_path: Path) -> None:
    add_list(mailer)
    assert mailer("list", "close", "clergy").status == 0
    file = tmp_path / "people.csv"
    file.write_text(f"email\n{ben.email}\n")
    result = mailer("list", "import", file, "--list", "clergy", "--consent", "signed the sheet of October 4")
    assert "The list clergy is closed." in result.refusal
    assert mailer("list", "reopen", "clergy").status == 0
    accepted = mailer(
        "list", "import", file, "--list", "clergy", "--consent", "signed the sheet of October 4"
    )
    assert accepted.status == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("broadcast", "send", "--file", "FILE", "--audience", "friends"), "no list called “friends”"),
        (("list", "import", "FILE", "--list", "friends", "--consent", "a sheet of paper"), "no list called"),
        (("list", "export", "people", "NEW", "--list", "friends"), "no list called “friends”"),
        (("list", "reword", "interest", "--title", "News"), "built in"),
        (("list", "reword", "friends", "--title", "News"), "no list called “friends”"),
    ],
)
def test_a_list_that_is_not_there_is_told_everywhere(
    mailer: Mailer, tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    file = tmp_path / "file"
    file.write_text("---\nsubject: Hello\n---\nWe meet on Sunday.\n")
    paths = {"FILE": file, "NEW": tmp_path / "new.csv"}
    result = mailer(*(paths.get(word, word) for word in words))
    assert (result.status, sentence in result.refusal) == (2, True), result.refusal
    assert not (tmp_path / "new.csv").exists()


def test_a_letter_without_the_link_to_confirm_is_refused(mailer: Mailer, tmp_path: Path) -> None:
    file = tmp_path / "letter.md"
    text = "---\nsubject:\n  en: Hello\n  es: Hola\n---\n<!-- en -->\n{en}\n<!-- es -->\n{es}\n"
    add_list(mailer)
    file.write_text(text.format(en="[Yes]({{ confirm_url }})", es="Sí."))
    result = mailer("list", "reword", "clergy", "--letter", file)
    assert "the Spanish text needs a link to {{ confirm_url }}" in result.refusal
    file.write_text("---\nsubject: Hello\n---\n[Yes]({{ confirm_url }})\n")
    assert "The letter has no Spanish text" in mailer("list", "reword", "clergy", "--letter", file).refusal
    assert mailer("list", "show", "clergy", "--json").json["words"]["letter"] == "the shared letter"
