"""`mailer list import` imports people with proof of their consent, and prints the result of every row."""

from pathlib import Path

import pytest
from sqlalchemy import func, select

from lists import subscriptions
from lists.audit import AuditEntry
from lists.contacts import Contact
from lists.imports import ListImport
from lists.tables.staged_rows import BATCH_ROWS
from mailer.outbox import stats
from mailer.service import Service
from mailer.tryout import postoffice
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
    result = mailer(*words(file))
    assert result.status == 0
    assert (
        "2  added" in result.out
        and "1  had left and stay so" in result.out
        and "1  already there" in result.out
    )
    assert "asks to confirm" in result.out
    service.jobs.tick()
    service.deliver_until_empty()
    with service.database.read() as session:
        recipients = [message.to for message in postoffice.list_messages(session, limit=10)]
        assert subscriptions.count_by_state(session) == {
            ("interest", "pending"): 2,
            ("interest", "confirmed"): 1,
            ("interest", "left"): 1,
        }
    assert sorted(set(recipients) - {ben.email}) == ["dora@example.org", "eli@example.org"]
    assert cleo.email not in recipients


def test_vouched_people_are_asked_nothing(service: Service, mailer: Mailer, file: Path) -> None:
    result = mailer(*words(file, "--confirmed"))
    assert "You have vouched" in result.out
    service.jobs.get("fill-confirmation").run()
    with service.database.read() as session:
        assert stats.count_by_kind_and_state(session) == {}
        assert session.scalars(select(AuditEntry.subject)).all() == ["2 to interest, confirmed"]


def test_a_dry_run_changes_nothing(service: Service, mailer: Mailer, file: Path) -> None:
    result = mailer(*words(file, "--dry-run"))
    assert result.status == 0
    assert "2  would be added" in result.out and "Nothing was changed" in result.out
    assert people(service) == 0


def test_one_wrong_row_stops_all_and_is_named(service: Service, mailer: Mailer, file: Path) -> None:
    with file.open("a", encoding="utf-8") as text:
        text.write("fay at example.org,,,\n")
    dry_run = mailer(*words(file, "--dry-run"))
    assert (dry_run.status, dry_run.refusal.partition(",")[0]) == (2, "One row cannot be used")
    result = mailer(*words(file))
    assert result.status == 2
    assert "4" in result.out and "fay at example.org" in result.out
    assert result.refusal.startswith("One row cannot be used, so nothing was imported.")
    assert people(service) == 0


def test_scripts_read_every_row(mailer: Mailer, file: Path) -> None:
    report = mailer(*words(file, "--json")).json
    assert report["imported"] is True and report["counts"]["added"] == 2
    assert report["rows"][0] == {"line": 2, "email": "dora@example.org", "outcome": "added", "why": ""}


def test_evidence_that_says_nothing_is_refused(service: Service, mailer: Mailer, file: Path) -> None:
    result = mailer("list", "import", file, "--list", "interest", "--consent", "  ", "--confirmed")
    assert (result.status, "Say where these people agreed" in result.refusal) == (2, True)
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
    result = mailer(*words(tmp_path / "x.csv", "--dry-run"))
    assert "Read as windows-1252 (not UTF-8; it makes these letters of the file: ñ)" in result.out
    assert "cells parted by semicolon, double quotes" in result.out
    report = mailer(*words(tmp_path / "x.csv", "--dry-run", "--json", "--encoding", "latin-1")).json
    assert (report["encoding"], report["separator"]) == ("latin-1", "semicolon")
    assert "is not an encoding" in mailer(*words(tmp_path / "x.csv", "--encoding", "x")).refusal


def test_columns_of_others_are_shown_and_can_be_corrected(
    service: Service, mailer: Mailer, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text("Contacto,Nombre,Fax\ndora@example.org,Dora,1\n", "utf-8")
    arguments = words(tmp_path / "x.csv", "--show-mapping", "--json", "--map", "Contacto=email")
    assert mailer(*arguments).json == [
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
    file = Path(__file__).parents[3] / "lists" / "tables" / "exports" / "action_network.csv"
    result = mailer(*words(file))
    assert "This is an export of Action Network." in result.out
    assert "1  added" in result.out and "1  already there" in result.out and "3  passed over" in result.out
    counts = mailer(*words(file, "--json")).json["counts"]
    assert (counts["added"], counts["already"], counts["declined"]) == (0, 2, 3)
    assert people(service) == 2


def test_refused_rows_go_to_a_file_to_be_corrected_and_imported_again(
    service: Service, mailer: Mailer, tmp_path: Path
) -> None:
    file, refused, rest = tmp_path / "x.csv", tmp_path / "refused.csv", tmp_path / "rest.csv"
    text = "Correo,Nombre,Fax\ndora@example.org,Dora,1\nfay at example.org,=Fay(1),2\nGil,Gil,3,4\n"
    file.write_text(text, "utf-8")
    result = mailer(*words(file, "--refused", refused))
    assert result.refusal == (
        "2 rows cannot be used, so nothing was imported."
        f" Correct them and import them again; {refused} holds them."
    )
    assert (people(service), refused.stat().st_mode & 0o777) == (0, 0o600)
    lines = refused.read_text("utf-8-sig").splitlines()
    assert lines[0] == "Correo,Nombre,Fax,refused: line,refused: why"
    assert lines[1].startswith("fay at example.org,'=Fay(1),2,3,")
    assert lines[2].startswith("Gil,Gil,3,4,") and lines[2].endswith(",4")
    assert "is there already" in mailer(*words(file, "--refused", refused)).refusal
    assert "--refused FILE" in mailer(*words(file, "--leave-out-refused")).refusal
    result = mailer(*words(file, "--refused", rest, "--leave-out-refused"))
    assert (result.status, people(service)) == (0, 1)
    assert f"Correct them and import them again; {rest} holds them.\n" in result.out
    rest.write_text(rest.read_text("utf-8").replace("fay at", "fay@").replace("@ ex", "@ex"), "utf-8")
    again = tmp_path / "again.csv"
    result = mailer(*words(rest, "--refused", again, "--leave-out-refused"))
    assert (result.status, people(service)) == (0, 2)
    assert again.read_text("utf-8-sig").splitlines()[0] == lines[0]
    with service.database.read() as session:
        assert "=Fay(1)" in session.scalars(select(Contact.name)).all()


def test_one_row_that_cannot_be_used_is_told_in_the_singular(mailer: Mailer, tmp_path: Path) -> None:
    file, refused = tmp_path / "x.csv", tmp_path / "refused.csv"
    file.write_text("email\nfay at example.org\n", "utf-8")
    sentence = "One row cannot be used, so nothing was imported. Correct it and import it again; "
    assert mailer(*words(file)).refusal == f"{sentence}--refused FILE writes it to a file."
    assert mailer(*words(file, "--refused", refused)).refusal == f"{sentence}{refused} holds it."


def test_the_same_file_twice_changes_nothing(service: Service, mailer: Mailer, file: Path) -> None:
    mailer(*words(file))
    with service.database.read() as session:
        before = session.execute(select(Contact.email, Contact.version)).all()
    report = mailer(*words(file, "--json")).json
    assert report["counts"] == dict.fromkeys(report["counts"], 0) | {"already": 2}
    with service.database.read() as session:
        assert session.execute(select(Contact.email, Contact.version)).all() == before
        assert session.scalar(select(func.count(ListImport.id))) == 1


def test_an_interrupted_import_goes_on_or_is_taken_back(
    service: Service, mailer: Mailer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "many.csv"
    file.write_text("email\n" + "".join(f"p{number}@example.org\n" for number in range(700)), "utf-8")
    arguments = words(file, "--confirmed")

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(service.clock, "sleep", interrupt)
        assert mailer(*arguments).refusal == "Stopped."
    assert people(service) == BATCH_ROWS
    assert mailer("list", "--json").json[0]["confirmed"] == 0
    assert "mailer list undo" in mailer(*words(file)).refusal
    assert "Taken back" in mailer("list", "undo").out
    assert people(service) == 0
    assert mailer("list", "undo").refusal.startswith("There is no unfinished import.")
    with monkeypatch.context() as patch:
        patch.setattr(service.clock, "sleep", interrupt)
        mailer(*arguments)
    assert mailer(*arguments, "--json").json["counts"]["added"] == 700
    assert mailer("list", "--json").json[0]["confirmed"] == 700
