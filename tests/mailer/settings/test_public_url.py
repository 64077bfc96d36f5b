"""All machines mail the same links: by others no reader could leave."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lists.db import Database
from mailer import cli
from mailer.processes import bootstrap
from mailer.settings import public_url
from mailer.settings.loading import load

URL, OTHER_URL = "https://mail.example.org", "https://lists.example.org"
SMTP = {
    "MAILER_SMTP_URL": "smtp://127.0.0.1:2?tls=none",
    "MAILER_POSTAL_ADDRESS": "1 Main Street",
    "MAILER_FROM_ADDRESS": "campaign@example.org",
    "MAILER_SENDING_DOMAINS": "example.org",
}
Run = Callable[..., Result]


@pytest.fixture
def run(empty_database: Database, tmp_path: Path) -> Run:
    """Run a command on a machine whose links lead to `url`, on a database that was first served at URL."""
    base = {"MAILER_HOME": str(tmp_path), "MAILER_DATABASE_URL": empty_database.url}
    bootstrap.start(load({**base, **SMTP, "MAILER_PUBLIC_URL": URL}))

    def run(*words: str, url: str = "", mail: bool = True) -> Result:
        environ = {**base, **(SMTP if mail else {}), "MAILER_PUBLIC_URL": url}
        return CliRunner().invoke(cli.root, words, env=environ, standalone_mode=False)

    return run


@pytest.mark.parametrize("words", ["work", "status", "deliver", "serve", "config check"])
@pytest.mark.parametrize(("url", "mail"), [("", True), ("", False), (OTHER_URL, True)])
def test_a_machine_with_another_public_url_is_refused_and_told_the_right_one(
    run: Run, words: str, url: str, mail: bool
) -> None:
    ran = run(*words.split(), url=url, mail=mail)
    assert f'write public_url = "{URL}" into mailer.toml' in str(ran.exception)
    assert "settings are good" not in ran.output
    assert run("status", url=URL).exception is None


def test_a_public_url_changes_when_somebody_says_so(run: Run, empty_database: Database) -> None:
    assert run("config", "accept-url", url=OTHER_URL).exception is not None  # without a confirmation
    assert run("status", url=URL).exception is None
    printed = run("config", "accept-url", "--yes", url=OTHER_URL).output
    assert f"begin with {URL}. Keep that address leading here" in printed
    assert run("status", url=OTHER_URL).exception is None
    assert "accept-url" in str(run("status", url=URL).exception)
    assert "Nothing has changed" in run("config", "accept-url", url=OTHER_URL).output
    with empty_database.read() as session:
        assert public_url.find(session) == OTHER_URL


def test_a_try_out_may_change_its_port(empty_database: Database, tmp_path: Path) -> None:
    base = {"MAILER_HOME": str(tmp_path), "MAILER_DATABASE_URL": empty_database.url}
    for port in ("8000", "8001"):
        bootstrap.start(load({**base, "PORT": port}))
    with empty_database.read() as session:
        assert public_url.find(session) == ""


def test_settings_whose_links_nobody_else_can_open_are_told_of(
    empty_database: Database, tmp_path: Path
) -> None:
    base = {"MAILER_HOME": str(tmp_path), "MAILER_DATABASE_URL": empty_database.url, **SMTP}
    bootstrap.start(load(base))
    printed = CliRunner().invoke(cli.root, ["config", "check"], env=base, standalone_mode=False).output
    assert "Links in mail lead to this machine only" in printed
