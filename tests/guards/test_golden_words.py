"""What scripts and monitors read of eb00ebd they read today: commands, JSON keys, exit statuses, figures."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect
from structlog.testing import capture_logs

from tests import golden
from tests.golden import Installation

TOKEN = "golden-metrics-token-0123456789"
LABELS = re.compile(r'="[^"]*"')
LATER = """---
subject:
  en: Later news
  es: Noticias de luego
---
<!-- en -->
{{ greeting }}

Later news.

<!-- es -->
{{ greeting }}

Noticias de luego.
"""


@pytest.fixture
def nowhere(
    monkeypatch: pytest.MonkeyPatch, kind: str, golden_url: str, tmp_path: Path
) -> Iterator[Installation]:
    """The installation, with a mail server that does not answer, and files to give to commands."""
    golden.furnish(tmp_path, kind)
    away = {"MAILER_SMTP_URL": "smtp://127.0.0.1:9"}
    for name, value in {"MAILER_HOME": str(tmp_path), "MAILER_DATABASE_URL": golden_url, **away}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "update.md").write_text(LATER, "utf-8")
    (tmp_path / "here.csv").write_text("email\nlater@import.example.org\n")
    with capture_logs():  # a command's answer goes to the output alone
        opened = golden.opened(tmp_path, golden_url, **away)
        yield opened
        opened.service.close()


def missing(then: Any, now: Any, place: str = "") -> list[str]:
    """Name the keys that were there and are not any more; more keys harm nobody."""
    if not isinstance(then, dict):
        return []
    if isinstance(now, list):
        rows = [each for each in now if isinstance(each, dict)]
        return [
            f"{place}[].{key}"
            for key, inner in then.items()
            if not any(key in row and not missing(inner, row[key]) for row in rows)
        ]
    if not isinstance(now, dict):
        return [place]
    return [f"{place}.{key}" for key in then if key not in now] + [
        found
        for key, inner in then.items()
        if key in now
        for found in missing(inner, now[key], f"{place}.{key}")
    ]


def test_commands_answer_scripts_as_they_did(nowhere: Installation, tmp_path: Path) -> None:
    wrong = {}
    for each in golden.told("words.json")["commands"]:
        words = [re.sub(r"\{(.*)\}", rf"{tmp_path}/\1", word) for word in each["line"].split()]
        ran = nowhere.mailer(*words)
        if ran.status != each["status"]:
            wrong[each["line"]] = [f"status {ran.status}: {ran.refusal}"]
        elif each["keys"] is not None and (gone := missing(each["keys"], ran.json)):
            wrong[each["line"]] = gone
    assert not wrong


def test_figures_have_the_names_and_labels_they_had(installation: Installation) -> None:
    figures = installation.visitor.get("/metrics", {"authorization": f"Bearer {TOKEN}"}).text
    lines = [LABELS.sub("", line) for line in figures.splitlines() if line[0] != "#"]
    names = {re.sub(r" .*", "", line) for line in lines}
    assert set(golden.told("words.json")["metrics"]) <= names
    health = json.loads(installation.visitor.get("/health").text)
    assert not missing(golden.told("words.json")["health"], health)


def test_tables_have_the_names_they_had(golden_url: str) -> None:
    engine = create_engine(golden_url)
    names = set(inspect(engine).get_table_names())
    engine.dispose()
    assert set(golden.told("words.json")["schema"]) <= names


def test_every_setting_of_then_is_read_as_it_was(nowhere: Installation) -> None:
    now = {row["key"]: row["value"] for row in nowhere.run("config", "show", "--json").json}
    then = golden.told("words.json")["settings"]
    assert {key: now.get(key) for key in then} == then


def test_hashes_of_addresses_are_what_they_were(installation: Installation) -> None:
    """Whoever was forgotten is not written to again, and the file of departures goes on."""
    fred, jane = "fred@neighbors.example.org", "jane@neighbors.example.org"
    known = (installation.home / "departures").read_text("ascii")
    (digest,) = [
        bytes(row["email_digest"]).hex()
        for row in golden.rows(installation.url, "contacts")
        if row["email"] == jane
    ]
    assert installation.visitor.join("/join", email=fred).status_code == 200
    installation.deliver()
    assert fred not in {golden.address_of(letter) for letter in installation.letters()}
    installation.run("contact", "forget", jane, "--yes")
    now = (installation.home / "departures").read_text("ascii")
    assert now.startswith(known)
    assert ("forgotten", digest) in {tuple(line.split()[:4:3]) for line in now.splitlines()}


def test_an_import_that_was_interrupted_goes_on_with_the_same_command(installation: Installation) -> None:
    consent = "signed the sheet at St. Mark on October 18, 2026"
    words = ("--list", "interest", "--consent", consent, "--confirmed")
    installation.run("list", "import", installation.home / "arriving.csv", *words)
    for number in (1, 2):
        assert installation.lists(f"arriving-{number}@import.example.org") == {"interest": "confirmed"}
