"""`mailer list export` writes people, subscriptions and consents, and audits the export."""

import csv
from pathlib import Path

import pytest
from sqlalchemy import select, update

from lists import imports
from lists.audit import AuditEntry
from lists.contacts import Contact
from lists.subscriptions import Subscription
from mailer.service import Service
from tests import commands
from tests.commands import Mailer
from tests.people import Person


@pytest.fixture
def mailer(service: Service, ana: Person, ben: Person, cleo: Person) -> Mailer:
    return commands.mailer(service)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [*csv.DictReader(file)]


def test_people_come_out_with_what_is_known_and_nothing_that_runs(
    service: Service, mailer: Mailer, ben: Person, tmp_path: Path
) -> None:
    with service.database.write() as session:
        session.execute(update(Contact).where(Contact.id == ben.id).values(name='=HYPERLINK("x")'))
    result = mailer("list", "export", "people", tmp_path / "people.csv")
    assert "Wrote 3 rows" in result.out
    by_email = {row["email"]: row for row in rows(tmp_path / "people.csv")}
    assert by_email[ben.email]["name"] == '\'=HYPERLINK("x")'
    assert (by_email[ben.email]["zip"], by_email[ben.email]["us state"]) == ("85003", "AZ")
    assert (tmp_path / "people.csv").stat().st_mode & 0o777 == 0o600


def test_only_one_list_is_written_when_asked_for(
    mailer: Mailer, ana: Person, ben: Person, cleo: Person, tmp_path: Path
) -> None:
    mailer("list", "export", "people", tmp_path / "p.csv", "--list", "interest")
    assert [row["email"] for row in rows(tmp_path / "p.csv")] == [ben.email, cleo.email]
    for what in ("people", "subscriptions", "consents"):
        assert (
            " the list interest" in mailer("list", "export", what, tmp_path / what, "--list", "interest").out
        )
        assert " any list" in mailer("list", "export", what, tmp_path / f"all-{what}").out
    report = mailer("list", "export", "consents", tmp_path / "c.csv", "--list", "organizers", "--json").json
    assert report == {"what": "consents", "rows": 2, "file": str(tmp_path / "c.csv")}
    assert {row["email"] for row in rows(tmp_path / "c.csv")} == {ana.email}


def test_an_exported_list_comes_back_without_cleo(
    service: Service, mailer: Mailer, ben: Person, cleo: Person, tmp_path: Path
) -> None:
    file = tmp_path / "s.csv"
    mailer("list", "export", "subscriptions", file, "--list", "interest", "--plain")
    assert {row["email"]: row["status"] for row in rows(file)} == {ben.email: "confirmed", cleo.email: "left"}
    assert not file.read_bytes().startswith(b"\xef\xbb\xbf")
    counts = mailer("list", "import", file, "--list", "interest", "--consent", "exported", "--json").json[
        "counts"
    ]
    assert (counts["already"], counts["declined"], counts["added"]) == (1, 1, 0)


def test_who_exported_how_many_is_noted_and_a_file_is_not_written_over(
    service: Service, mailer: Mailer, tmp_path: Path
) -> None:
    mailer("list", "export", "people", tmp_path / "p.csv")
    assert "is there already" in mailer("list", "export", "people", tmp_path / "p.csv").refusal
    with service.database.read() as session:
        entries = session.execute(
            select(AuditEntry.actor, AuditEntry.subject).where(AuditEntry.action == "export")
        )
        assert entries.all() == [("command line", "3 people")]


def test_whom_an_unfinished_import_brought_is_not_exported(
    service: Service, mailer: Mailer, ben: Person, tmp_path: Path
) -> None:
    with service.database.write() as session:
        list_import = imports.begin(session, list="interest", fingerprint=b"x", now=service.clock.now())
        session.execute(
            update(Subscription).where(Subscription.contact_id == ben.id).values(arrival_id=list_import.id)
        )
    mailer("list", "export", "subscriptions", tmp_path / "s.csv")
    assert ben.email not in {row["email"] for row in rows(tmp_path / "s.csv")}
