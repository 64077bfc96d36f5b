"""`mailer config` prints the settings correctly and no secrets."""

import json
from pathlib import Path

import pytest

from mailer import cli
from mailer.processes import bootstrap
from mailer.settings.loading import Settings


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILER_HOME", str(tmp_path))
    bootstrap.create(Settings(home=tmp_path))


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["config", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_good_settings_are_said_to_be_good(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check") == 0
    printed = capsys.readouterr().out
    assert "The settings are good. Pages are at http://127.0.0.1:8000" in printed
    assert "try-out" in printed


def test_every_mistake_is_a_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "x")
    monkeypatch.setenv("MAILER_DEFAULT_ZONE", "Nowhere")
    assert run("check") == 2
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_show_hides_secrets(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILER_DATABASE_URL", "postgresql+psycopg://mailer:hidden@db.example.org/mailer")
    assert run("show") == 0
    assert run("show", "--json") == 0
    shown = capsys.readouterr().out
    assert "hidden" not in shown
    assert {"key", "value", "place", "what"} == set(json.loads(shown[shown.index("[") :])[0])
