"""What staff store about a person beside the lists: fields with types, tags and notes, also in files."""

import csv
from pathlib import Path

import pytest
from sqlalchemy import func, select

from lists import contacts, fields, tags
from lists.audit import AuditEntry
from lists.db import Base
from mailer.people import merging
from mailer.service import Service
from tests import commands
from tests.clocks import StoppedClock
from tests.commands import Mailer
from tests.people import Person

CONSENT = ("--list", "interest", "--consent", "the sheet of October 4")
CUSTOM_TABLES = ("field_values", "tags", "notes")


@pytest.fixture
def mailer(service: Service) -> Mailer:
    run = commands.mailer(service)
    run("field", "add", "host", "--type", "yes/no", "--title", "Can host")
    run(
        "field",
        "add",
        "region",
        "--type",
        "choice",
        "--title",
        "Region",
        "--choice",
        "north",
        "--choice",
        "sur",
    )
    return run


def rows(service: Service) -> dict[str, int]:
    with service.database.read() as session:
        tables = {name: Base.metadata.tables[name] for name in CUSTOM_TABLES}
        return {
            name: session.scalar(select(func.count()).select_from(tables[name])) or 0
            for name in CUSTOM_TABLES
        }


def test_a_person_is_changed_with_a_version_check_and_an_audit_that_names_no_value(
    service: Service, mailer: Mailer, ben: Person
) -> None:
    result = mailer(
        "contact", "set", ben.email, "name=Benito", "zip=10027", "region=NORTH", "host=si", "--json"
    )
    assert result.json == {"email": ben.email, "version": 2}
    refused = mailer("contact", "set", ben.email, "name=Benjamín", "host=no", "--seen", 1)
    assert (refused.status, "Somebody else has changed this" in refused.refusal) == (2, True)
    facts = mailer("contact", "show", ben.email, "--json").json
    assert (facts["contact"]["name"], facts["contact"]["city"]) == ("Benito", "New York")
    assert {row["field"]: row["value"] for row in facts["field_values"]} == {"host": "yes", "region": "north"}
    mailer("contact", "set", ben.email, "host=")
    with service.database.read() as session:
        assert fields.find_values(session, ben.id) == {"region": "north"}
        subjects = session.scalars(select(AuditEntry.subject).where(AuditEntry.action == "contact change"))
        assert subjects.all() == [f"contact {ben.id}: name, zip, region, host", f"contact {ben.id}: host"]


@pytest.mark.parametrize(
    ("pair", "why"),
    [
        ("host=perhaps", "Can host: “perhaps” is neither yes nor no."),
        ("region=east", "These are: north, sur."),
        ("zip=00000", "is not known"),
        ("language=fr", "Write en or es."),
        (
            "email=new@example.org",
            "A new address must be confirmed: “mailer contact change-address OLD NEW”.",
        ),
        ("discreet=no", "There is no field called “discreet” that can be set."),
        ("region", "Write them like this: name=Ana."),
        ("name=A\nB", "line break"),
    ],
)
def test_what_cannot_be_set_says_what_can(
    service: Service, mailer: Mailer, ben: Person, pair: str, why: str
) -> None:
    result = mailer("contact", "set", ben.email, "name=Benito", pair)
    assert (result.status, why in result.refusal) == (2, True)
    with service.database.read() as session:
        assert contacts.get(session, ben.id).name == "Ben"


def test_tags_find_people_and_notes_are_told_to_staff_and_to_the_person(
    service: Service, mailer: Mailer, clock: StoppedClock, ben: Person, cleo: Person
) -> None:
    assert mailer("contact", "tag", ben.email, "Choir", "guest speaker").out == "Done.\n"
    assert [row["email"] for row in mailer("contact", "tagged", "choir", "--json").json] == [ben.email]
    assert "has no tag host" in mailer("contact", "untag", ben.email, "choir", "host").refusal
    mailer("contact", "untag", ben.email, "choir")
    assert mailer("contact", "tagged", "choir").out == "Nobody has this tag.\n"
    assert "longer than 2,000" in mailer("contact", "note", ben.email, "x" * 2_001).refusal
    assert "the person may read it" in mailer("contact", "note", ben.email, "Will host on May 3.").out
    for facts in (
        mailer("contact", "export", ben.email).json,
        mailer("contact", "show", ben.email, "--json").json,
    ):
        assert [row["text"] for row in facts["notes"]] == ["Will host on May 3."]
        assert [row["tag"] for row in facts["tags"]] == ["guest-speaker"]
    assert "Will host on May 3." in mailer("contact", "show", ben.email).out
    clock.advance(days=91)
    assert mailer("jobs", "run", "forget-notes").out == "Done: one row moved.\n"
    assert rows(service) == {"field_values": 0, "tags": 1, "notes": 0}


def test_values_of_a_retired_field_go_after_ninety_days(
    service: Service, mailer: Mailer, clock: StoppedClock, ben: Person
) -> None:
    mailer("contact", "set", ben.email, "host=yes", "region=sur")
    assert "90 days" in mailer("field", "retire", "host").out
    assert "There is no field called “host”" in mailer("contact", "set", ben.email, "host=no").refusal
    clock.advance(days=89)
    mailer("jobs", "run", "forget-retired")
    assert rows(service)["field_values"] == 2
    clock.advance(days=2)
    mailer("jobs", "run", "forget-retired")
    with service.database.read() as session:
        assert fields.find_values(session, ben.id) == {"region": "sur"}
    listed = mailer("field", "list", "--json").json
    assert [(row["name"], row["retired_at"] is None) for row in listed] == [("host", False), ("region", True)]
    assert "north, sur" in mailer("field", "list").out


def test_fields_and_tags_go_out_shielded_and_come_in_by_name(
    service: Service, mailer: Mailer, tmp_path: Path, ben: Person, ana: Person
) -> None:
    mailer("field", "add", "word", "--title", "A word")
    mailer("contact", "set", ben.email, "word==HYPERLINK(1)", "host=yes")
    mailer("contact", "tag", ben.email, "choir", "host")
    out = tmp_path / "out.csv"
    mailer("list", "export", "subscriptions", out, "--plain", "--list", "interest")
    with out.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["word"], row["host"], row["region"], row["tags"]) == (
        "'=HYPERLINK(1)",
        "yes",
        "",
        "choir, host",
    )
    mailer("contact", "forget", ben.email, "--yes")
    assert rows(service) == dict.fromkeys(CUSTOM_TABLES, 0)
    people = tmp_path / "people.csv"
    people.write_text(out.read_text("utf-8").replace(ben.email, "dora@example.org"), "utf-8")
    people.write_text(
        people.read_text("utf-8") + f"{ana.email},,en,,interest,confirmed,,,,,no,north,x,other\n", "utf-8"
    )
    result = mailer("list", "import", people, *CONSENT, "--map", "tags=tags")
    assert (result.status, result.refusal) == (0, "")
    assert "“host” is the field host" in result.out
    with service.database.read() as session:
        (dora,) = tags.list_contacts(session, "choir", limit=9)
        assert (dora.email, fields.find_values(session, dora.id)) == (
            "dora@example.org",
            {"word": "=HYPERLINK(1)", "host": "yes"},
        )
        assert fields.find_values(session, ana.id) == {}  # stored data of existing contacts stays
        assert tags.list_for_contact(session, ana.id) == []


def test_a_row_with_a_value_of_another_type_is_refused_with_its_line(
    service: Service, mailer: Mailer, tmp_path: Path
) -> None:
    people = tmp_path / "people.csv"
    people.write_text("email,Anfitrión\ndora@example.org,sí\nemil@example.org,quizás\n", "utf-8")
    result = mailer("list", "import", people, *CONSENT, "--map", "Anfitrión=host", "--json")
    assert (result.status, "cannot be used" in result.refusal) == (2, True)
    (wrong,) = [row for row in result.json["rows"] if row["outcome"] == "wrong"]
    assert (wrong["line"], wrong["why"]) == (3, "Can host: “quizás” is neither yes nor no.")
    assert (
        "nothing a column can be" in mailer("list", "import", people, *CONSENT, "--map", "email=none").refusal
    )
    assert rows(service) == dict.fromkeys(CUSTOM_TABLES, 0)


def test_a_merge_fills_fields_and_unites_tags_and_notes(
    service: Service, mailer: Mailer, ana: Person, ben: Person
) -> None:
    mailer("contact", "set", ana.email, "region=north")
    mailer("contact", "set", ben.email, "region=sur", "host=yes")
    mailer("contact", "tag", ana.email, "choir")
    mailer("contact", "tag", ben.email, "choir", "speaker")
    mailer("contact", "note", ben.email, "Called.")
    preview = mailer("contact", "merge", ana.email, ben.email, "--json").json
    becomes = {row["what"]: row["becomes"] for row in preview["details"]}
    assert (becomes["region"], becomes["host"], becomes["tags"]) == ("north", "yes", "choir speaker")
    with service.database.write() as session:
        versions = (preview["seen"].partition(".")[0], preview["seen"].partition(".")[2])
        numbers = (int(versions[0]), int(versions[1]))
        merging.merge(session, ana.id, ben.id, versions=numbers, now=service.clock.now(), actor="staff")
        assert fields.find_values(session, ana.id) == {"region": "north", "host": "yes"}
        assert tags.list_for_contact(session, ana.id) == ["choir", "speaker"]
    assert rows(service) == {"field_values": 2, "tags": 2, "notes": 1}
