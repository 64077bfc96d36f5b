"""Staff fill the slots by commands, list their versions and waiting messages, and retire versions."""

import os
from pathlib import Path

import pytest

from mailer.policy import RESOURCES
from mailer.service import Service
from tests import commands
from tests.commands import Mailer

KIT = "https://example.org/kit"


@pytest.fixture
def mailer(service: Service) -> Mailer:
    return commands.mailer(service)


@pytest.fixture
def pdf(tmp_path: Path) -> Path:
    path = tmp_path / "my draft.pdf"
    path.write_bytes(b"%PDF-1.7\n")
    return path


def test_a_link_stands_at_once_and_is_shown(service: Service, mailer: Mailer) -> None:
    words = ("--language", "en", "--link", KIT, "--note", "Third edition")
    printed = mailer("resource", "add", "toolkit", *words).out
    assert f"Version 1 stands in toolkit now, in English: {service.links.home}/r/toolkit?lang=en" in printed
    assert "broadcast" not in printed
    by_slot = {row["slot"]: row for row in mailer("resource", "list", "--json").json["versions"]}
    assert list(by_slot) == list(RESOURCES)
    assert (by_slot["toolkit"]["state"], by_slot["toolkit"]["leads_to"]) == ("current", KIT)
    assert by_slot["guide"] == {"slot": "guide", "state": "empty"}
    shown = mailer("resource", "show", 1)
    assert "Third edition" in shown.out and KIT in shown.out


def test_a_newer_version_says_how_to_tell_people_about_it(mailer: Mailer, pdf: Path) -> None:
    add = ("resource", "add", "toolkit", "--language")
    mailer(*add, "en", "--link", KIT)
    printed = mailer(*add, "en", "--file", pdf).out
    assert "mailer broadcast send --file news.md --audience interest --dry-run" in printed
    assert "{{ toolkit_url }}" in printed
    versions = mailer("resource", "list", "--all", "--json").json["versions"]
    assert [(row["number"], row["state"]) for row in versions if row["slot"] == "toolkit"] == [
        (2, "current"),
        (1, "replaced"),
    ]


def test_a_file_is_kept_and_its_name_is_not(service: Service, mailer: Mailer, pdf: Path) -> None:
    row = mailer("resource", "add", "guide", "--language", "es", "--file", pdf, "--json").json
    assert (row["kind"], row["size"], row["leads_to"]) == ("pdf", 9, "a file of 9 octets")
    assert "draft" not in str(row)
    (service.settings.home / "resources" / row["file"]).unlink()
    assert "a file that is missing" in mailer("resource", "show", 1).out


def test_retiring_says_what_stands_there_then(mailer: Mailer) -> None:
    for number in (1, 2):
        mailer("resource", "add", "pledge", "--language", "en", "--link", f"{KIT}/{number}")
    assert "In pledge stands, in English: version 1." in mailer("resource", "retire", 2).out
    assert "pledge is empty now" in mailer("resource", "retire", 1).out
    repeated = mailer("resource", "retire", 1)
    assert (repeated.status, "was retired on" in repeated.refusal) == (2, True)
    assert mailer("resource", "retire", 9).refusal.startswith("There is no version 9.")


def test_a_retired_file_is_deleted_by_its_job_and_a_needed_one_is_not(
    service: Service, mailer: Mailer, pdf: Path
) -> None:
    file_name = mailer("resource", "add", "guide", "--language", "en", "--file", pdf, "--json").json["file"]
    path = service.settings.home / "resources" / file_name
    os.utime(path, (0, 0))
    mailer("jobs", "run", "clear-resources")
    assert path.exists()
    mailer("resource", "retire", 1)
    mailer("jobs", "run", "clear-resources")
    assert not path.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        ("toolkit", "--language", "en"),
        ("toolkit", "--language", "en", "--link", KIT, "--file", "x.pdf"),
        ("toolkit", "--language", "fr", "--link", KIT),
        ("toolkit", "--link", KIT),
        ("kit", "--language", "en", "--link", KIT),
        ("toolkit", "--language", "en", "--link", "ftp://example.org"),
        ("toolkit", "--language", "en", "--file", "nowhere.pdf"),
        ("allies", "--language", "en", "--link", KIT),
        ("toolkit", "--language", "en", "--link", KIT, "--date", "tomorrow"),
    ],
    ids=str,
)
def test_bad_words_change_nothing_and_say_what_to_do(mailer: Mailer, wrong: tuple[str, ...]) -> None:
    result = mailer("resource", "add", *wrong)
    assert result.status == 2
    assert result.refusal
    versions = mailer("resource", "list", "--all", "--json").json["versions"]
    assert {row["state"] for row in versions} == {"empty"}
