"""`mailer list import` imports no person of whom the file says, or may say, that they want no mail."""

from pathlib import Path

import pytest
from sqlalchemy import select

from lists.contacts import Contact
from mailer.service import Service
from tests import commands
from tests.commands import Mailer
from tests.people import Person

CASES = Path(__file__).parents[3] / "lists" / "tables" / "cases"
OPTIONS = ("--list", "interest", "--consent", "sheet of October 4", "--confirmed")


@pytest.fixture
def mailer(service: Service) -> Mailer:
    return commands.mailer(service)


def list_addresses(service: Service) -> list[str]:
    with service.database.read() as session:
        return sorted(session.scalars(select(Contact.email)))


@pytest.mark.parametrize(
    ("case", "added", "sentence"),
    [
        ("unsubscribed_email_audience_export_es.csv", [], "left there. They are all passed over."),
        ("cleaned_email_audience_export_renamed_field.csv", [], "takes no mail there. They are all"),
        ("ghost-members-export.csv", ["on@example.org"], "left there, by the column “subscribed_to_emails”"),
        ("civicrm-export-optout.csv", ["in@example.org"], "by the column “No Bulk Emails (User Opt Out)”"),
        (
            "agree-checkbox-spanish-sheet.csv",
            ["a@example.org"],
            "did not tick that they agree, by the column",
        ),
    ],
)
def test_who_refused_elsewhere_is_passed_over_and_the_column_is_named(
    service: Service, mailer: Mailer, case: str, added: list[str], sentence: str
) -> None:
    result = mailer("list", "import", CASES / case, *OPTIONS)
    assert (result.status, list_addresses(service)) == (0, added)
    assert sentence in result.out
    assert ("so nobody is added" in result.out) is (not added)


def test_a_column_that_is_not_understood_changes_nothing_until_it_is_named(
    service: Service, mailer: Mailer, tmp_path: Path, cleo: Person
) -> None:
    file = tmp_path / "people.csv"
    file.write_text(f"email,Wants news?\ndora@example.org,Y\neli@example.org,N\n{cleo.email},Y\n", "utf-8")
    result = mailer("list", "import", file, *OPTIONS)
    assert (result.status, list_addresses(service)) == (2, [cleo.email])
    assert "“Y” (2×), “N” (1×)" in result.refusal and '--map "Wants news?=agreed"' in result.refusal
    report = mailer("list", "import", file, *OPTIONS, "--show-mapping", "--json").json
    assert report[1]["field"] == "not understood; it may say who wants no mail"
    result = mailer("list", "import", file, *OPTIONS, "--map", "Wants news?=agreed")
    assert (result.status, list_addresses(service)) == (0, [cleo.email, "dora@example.org"])
    assert "1  had left and stay so" in result.out
    report = mailer("list", "import", file, *OPTIONS, "--map", "Wants news?=agreed", "--json").json
    why = {"why": "did not tick that they agree", "column": "Wants news?", "number": 1}
    assert report["passed_over"] == [why]


def test_an_answer_that_is_no_yes_and_no_no_refuses_its_row_until_it_is_declared(
    service: Service, mailer: Mailer, tmp_path: Path
) -> None:
    file = tmp_path / "form.csv"
    text = "I would like the monthly letter"
    file.write_text(f"email,agree\ndora@example.org,{text}\neli@example.org,\n", "utf-8")
    result = mailer("list", "import", file, *OPTIONS)
    assert (result.status, list_addresses(service)) == (2, [])
    assert f'--yes-means "{text}"' in result.out
    assert "is no yes" in mailer("list", "import", file, *OPTIONS, "--yes-means", "No").refusal
    result = mailer("list", "import", file, *OPTIONS, "--yes-means", text.upper())
    assert (result.status, list_addresses(service)) == (0, ["dora@example.org"])


def test_a_file_whose_name_says_that_they_left_is_refused(
    service: Service, mailer: Mailer, tmp_path: Path
) -> None:
    for name in ("suppression_unsubscribes.csv", "bajas.csv", "unsubscribed.txt"):
        (tmp_path / name).write_text("email\ndora@example.org\n", "utf-8")
        result = mailer("list", "import", tmp_path / name, *OPTIONS)
        assert (result.status, list_addresses(service)) == (2, [])
        assert "give the file another name" in result.refusal
