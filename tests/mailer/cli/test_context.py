"""Commands as processes of their own: on the right database, and on the output only the result."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailer.service import Service
from mailer.settings import key_check
from mailer.settings.loading import secret_folder
from mailer.tryout import time_machine
from tests.guards import source

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "MAILER_HOME": str(tmp_path), **settings}
        command = [sys.executable, "-m", "mailer", *words]
        return subprocess.run(
            command, cwd=source.ROOT, env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture
def earnest() -> Iterator[dict[str, str]]:
    """The settings of real mail, with a relay that does not answer."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield {
            "MAILER_SMTP_URL": f"smtp://127.0.0.1:{listener.getsockname()[1]}?tls=none",
            "MAILER_POSTAL_ADDRESS": "1 Example Street, Anytown, NY",
            "MAILER_FROM_ADDRESS": "news@example.org",
            "MAILER_SENDING_DOMAINS": "example.org",
        }


def test_a_database_that_is_not_there_yet_is_told_with_what_to_do(run: Run, tmp_path: Path) -> None:
    result = run("list")
    assert (result.returncode, result.stdout) == (2, "")
    assert f"{tmp_path} holds no data" in result.stderr and "mailer db create" in result.stderr


def test_scripts_read_the_answer_and_nothing_else(run: Run, earnest: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("email\ndora@example.org\n", "utf-8")
    assert run("db", "create").returncode == 0
    words = ("list", "import", str(file), "--list", "interest", "--consent", "sheet of October 4", "--json")
    assert json.loads(run(*words, **earnest).stdout)["imported"] is True
    result = run("deliver", "--until-empty", "--json", **earnest)
    assert result.returncode == 75
    assert json.loads(result.stdout)["waiting"] == 1
    assert "relay unreachable" in result.stderr and "dora" not in result.stderr


def test_a_tryouts_future_is_no_place_for_real_mail(
    service: Service, run: Run, earnest: dict[str, str]
) -> None:
    with service.database.write() as session:
        key_check.note(session, service.keys, secret_folder(service.settings))
        later = service.clock.now().replace(year=2027)
        time_machine.move_clock_to(session, later, real=service.clock.real())
    result = run("list", MAILER_DATABASE_URL=service.settings.database_url, **earnest)
    assert (result.returncode, "used in a try-out" in result.stderr) == (2, True)
