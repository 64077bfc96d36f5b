"""Golden words: commands, JSON keys, exit statuses and metrics of eb00ebd are the same today."""

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
def offline_installation(
    monkeypatch: pytest.MonkeyPatch, kind: str, golden_url: str, tmp_path: Path
) -> Iterator[Installation]:
    """The installation, with a mail server that does not answer, and files for commands."""
    golden.furnish(tmp_path, kind)
    unreachable = {"MAILER_SMTP_URL": "smtp://127.0.0.1:9"}
    for name, value in {
        "MAILER_HOME": str(tmp_path),
        "MAILER_DATABASE_URL": golden_url,
        **unreachable,
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "update.md").write_text(LATER, "utf-8")
    (tmp_path / "here.csv").write_text("email\nlater@import.example.org\n")
    with capture_logs():  # the answer of a command goes only to the output
        running = golden.opened(tmp_path, golden_url, **unreachable)
        yield running
        running.service.close()


# Keys that were sentences and are codes now, by decision 101.
RENAMED_KEYS = {"This contact is invited already.": "already_invited"}


def find_missing(old: Any, new: Any, path: str = "") -> list[str]:
    """Return the keys that existed and do not any more; additional keys are allowed."""
    if not isinstance(old, dict):
        return []
    if isinstance(new, list):
        rows = [row_item for row_item in new if isinstance(row_item, dict)]
        return [
            f"{path}[].{key}"
            for key, inner_keys in old.items()
            if not any(key in row and not find_missing(inner_keys, row[key]) for row in rows)
        ]
    if not isinstance(new, dict):
        return [path]
    return [f"{path}.{key}" for key in old if RENAMED_KEYS.get(key, key) not in new] + [
        missing_key
        for key, inner_keys in old.items()
        if key in new
        for missing_key in find_missing(inner_keys, new[key], f"{path}.{key}")
    ]


def test_commands_give_scripts_the_same_answers(offline_installation: Installation, tmp_path: Path) -> None:
    differences = {}
    for command in golden.told("words.json")["commands"]:
        words = [re.sub(r"\{(.*)\}", rf"{tmp_path}/\1", word) for word in command["line"].split()]
        result = offline_installation.mailer(*words)
        if result.status != command["status"]:
            differences[command["line"]] = [f"status {result.status}: {result.refusal}"]
        elif command["keys"] is not None and (missing_keys := find_missing(command["keys"], result.json)):
            differences[command["line"]] = missing_keys
    assert not differences


def test_metrics_have_the_same_names_and_labels(installation: Installation) -> None:
    metrics = installation.visitor.get("/metrics", {"authorization": f"Bearer {TOKEN}"}).text
    lines = [LABELS.sub("", line) for line in metrics.splitlines() if line[0] != "#"]
    names = {re.sub(r" .*", "", line) for line in lines}
    assert set(golden.told("words.json")["metrics"]) <= names
    health = json.loads(installation.visitor.get("/health").text)
    assert not find_missing(golden.told("words.json")["health"], health)


def test_tables_have_the_same_names(golden_url: str) -> None:
    engine = create_engine(golden_url)
    names = set(inspect(engine).get_table_names())
    engine.dispose()
    assert set(golden.told("words.json")["schema"]) <= names


def test_every_old_setting_has_the_same_value(offline_installation: Installation) -> None:
    settings = {row["key"]: row["value"] for row in offline_installation.run("config", "show", "--json").json}
    old_settings = golden.told("words.json")["settings"]
    assert {key: settings.get(key) for key in old_settings} == old_settings


def test_hashes_of_addresses_are_the_same(installation: Installation) -> None:
    """An erased person is not written to again, and the departures file is continued."""
    fred, jane = "fred@neighbors.example.org", "jane@neighbors.example.org"
    old_departures = (installation.home / "departures").read_text("ascii")
    (digest,) = [
        bytes(row["email_digest"]).hex()
        for row in golden.rows(installation.url, "contacts")
        if row["email"] == jane
    ]
    assert installation.visitor.join("/join", email=fred).status_code == 200
    installation.deliver()
    assert fred not in {golden.address_of(message) for message in installation.letters()}
    installation.run("contact", "forget", jane, "--yes")
    departures = (installation.home / "departures").read_text("ascii")
    assert departures.startswith(old_departures)
    assert ("forgotten", digest) in {tuple(line.split()[:4:3]) for line in departures.splitlines()}


def test_an_interrupted_import_is_resumed_by_the_same_command(installation: Installation) -> None:
    consent = "signed the sheet at St. Mark on October 18, 2026"
    words = ("--list", "interest", "--consent", consent, "--confirmed")
    installation.run("list", "import", installation.home / "arriving.csv", *words)
    for number in (1, 2):
        assert installation.lists(f"arriving-{number}@import.example.org") == {"interest": "confirmed"}
