"""`mailer list import` brings people in with proof of their consent, and says what becomes of every row."""

from pathlib import Path

import pytest
from sqlalchemy import func, select

from lists import subscriptions
from lists.audit import AuditEntry
from lists.contacts import Contact
from mailer import outbox, postoffice
from mailer.service import Service
from tests import commands
from tests.commands import Mailer
from tests.people import Person


@pytest.fixture
def mailer(service: Service) -> Mailer:
    return commands.mailer(service)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    path.write_text(
        "email,name,language,zip\ndora@example.org,Dora,es,85003\neli@example.org,Eli,,\n", "utf-8"
    )
    return path


def words(file: Path, *more: str, list_name: str = "interest") -> list[str]:
    return ["list", "import", str(file), "--list", list_name, "--consent", "sheet of October 4", *more]


def people(service: Service) -> int:
    with service.database.read() as session:
        return session.scalar(select(func.count(Contact.id))) or 0


def test_people_who_are_asked_get_one_mail_and_cleo_none(
    service: Service, mailer: Mailer, file: Path, ben: Person, cleo: Person
) -> None:
    with file.open("a", encoding="utf-8") as text:
        text.write(f"{cleo.email},Cleo,,\n{ben.email},Ben,,\n")
    ran = mailer(*words(file))
    assert ran.status == 0
    assert "2  added" in ran.out and "1  had left and stay so" in ran.out and "1  already there" in ran.out
    assert "asks to confirm" in ran.out
    service.jobs.tick()
    service.deliver_until_empty()
    with service.database.read() as session:
        got = [message.to for message in postoffice.messages(session, limit=10)]
        assert subscriptions.counts(session) == {
            ("interest", "pending"): 2,
            ("interest", "confirmed"): 1,
            ("interest", "left"): 1,
        }
    assert sorted(set(got) - {ben.email}) == ["dora@example.org", "eli@example.org"]
    assert cleo.email not in got


def test_vouched_people_are_asked_nothing(service: Service, mailer: Mailer, file: Path) -> None:
    ran = mailer(*words(file, "--confirmed"))
    assert "You have vouched" in ran.out
    service.jobs.named("fill-confirmation").run()
    with service.database.read() as session:
        assert outbox.counts(session) == {}
        assert session.scalars(select(AuditEntry.subject)).all() == ["2 to interest, confirmed"]


def test_a_dry_run_changes_nothing(service: Service, mailer: Mailer, file: Path) -> None:
    ran = mailer(*words(file, "--dry-run"))
    assert ran.status == 0
    assert "2  would be added" in ran.out and "Nothing was changed" in ran.out
    assert people(service) == 0


def test_one_wrong_row_stops_all_and_is_named(service: Service, mailer: Mailer, file: Path) -> None:
    with file.open("a", encoding="utf-8") as text:
        text.write("fay at example.org,,,\n")
    ran = mailer(*words(file))
    assert ran.status == 2
    assert "4" in ran.out and "fay at example.org" in ran.out
    assert ran.refusal.startswith("One row cannot be used, so nothing was imported.")
    assert people(service) == 0


def test_scripts_read_every_row(mailer: Mailer, file: Path) -> None:
    told = mailer(*words(file, "--json")).json
    assert told["imported"] is True and told["counts"]["added"] == 2
    assert told["rows"][0] == {"line": 2, "email": "dora@example.org", "outcome": "added", "why": ""}


def test_evidence_that_says_nothing_is_refused(service: Service, mailer: Mailer, file: Path) -> None:
    ran = mailer("list", "import", file, "--list", "interest", "--consent", "  ", "--confirmed")
    assert (ran.status, "Say where these people agreed" in ran.refusal) == (2, True)
    assert people(service) == 0


def test_organizers_are_not_asked_by_a_file(mailer: Mailer, file: Path) -> None:
    assert "staff approve them" in mailer(*words(file, list_name="organizers")).refusal
    assert mailer(*words(file, "--confirmed", list_name="organizers")).status == 0


def test_a_file_that_is_not_there_or_not_text_is_told(mailer: Mailer, tmp_path: Path) -> None:
    assert "There is no file" in mailer(*words(tmp_path / "none.csv")).refusal
    assert "cannot be read" in mailer(*words(tmp_path)).refusal
    (tmp_path / "x.csv").write_bytes(b"PK\3\4\0\0m\0")
    assert "not a CSV file" in mailer(*words(tmp_path / "x.csv")).refusal


def test_an_old_encoding_is_found_out_and_said(mailer: Mailer, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("name;email\r\nDoña Dora;dora@example.org\r\n".encode("cp1252"))
    ran = mailer(*words(tmp_path / "x.csv", "--dry-run"))
    assert "Read as windows-1252 (not UTF-8; it makes these letters of the file: ñ)" in ran.out
    assert "cells parted by semicolon, double quotes" in ran.out
    told = mailer(*words(tmp_path / "x.csv", "--dry-run", "--json", "--encoding", "latin-1")).json
    assert (told["encoding"], told["separator"]) == ("latin-1", "semicolon")
    assert "is not an encoding" in mailer(*words(tmp_path / "x.csv", "--encoding", "x")).refusal


def test_columns_of_others_are_shown_and_can_be_corrected(
    service: Service, mailer: Mailer, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text("Contacto,Nombre,Fax\ndora@example.org,Dora,1\n", "utf-8")
    asked = words(tmp_path / "x.csv", "--show-mapping", "--json", "--map", "Contacto=email")
    assert mailer(*asked).json == [
        {"column": "Contacto", "field": "the address"},
        {"column": "Nombre", "field": "the name"},
        {"column": "Fax", "field": ""},
    ]
    assert people(service) == 0
    assert "--map" in mailer(*words(tmp_path / "x.csv")).refusal
    assert "Write --map like this" in mailer(*words(tmp_path / "x.csv", "--map", "Contacto")).refusal
    assert "“Contacto” is the address" in mailer(*words(tmp_path / "x.csv", "--map", "Contacto=email")).out
    assert people(service) == 1


def test_an_export_of_another_tool_brings_nobody_who_left_there(
    service: Service, mailer: Mailer, ben: Person
) -> None:
    file = Path(__file__).parents[1] / "lists" / "exports" / "action_network.csv"
    ran = mailer(*words(file))
    assert "This is an export of Action Network." in ran.out
    assert "1  added" in ran.out and "1  already there" in ran.out and "3  passed over" in ran.out
    again = mailer(*words(file, "--json")).json["counts"]
    assert (again["added"], again["already"], again["declined"]) == (0, 2, 3)
    assert people(service) == 2
