"""Commands as processes of their own: on the right database, and on the output nothing but the answer."""

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
    """The settings of real mail, with a server that nobody answers for."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield {
            "MAILER_SMTP_URL": f"smtp://127.0.0.1:{taken.getsockname()[1]}?tls=none",
            "MAILER_POSTAL_ADDRESS": "1 Example Street, Anytown, NY",
            "MAILER_FROM_ADDRESS": "news@example.org",
            "MAILER_SENDING_DOMAINS": "example.org",
        }


def test_a_database_that_is_not_there_yet_is_told_with_what_to_do(run: Run, tmp_path: Path) -> None:
    ran = run("list")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert f"{tmp_path} holds no data" in ran.stderr and "mailer db create" in ran.stderr


def test_scripts_read_the_answer_and_nothing_else(run: Run, earnest: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("email\ndora@example.org\n", "utf-8")
    assert run("db", "create").returncode == 0
    words = ("list", "import", str(file), "--list", "interest", "--consent", "sheet of October 4", "--json")
    assert json.loads(run(*words, **earnest).stdout)["imported"] is True
    ran = run("deliver", "--until-empty", "--json", **earnest)
    assert ran.returncode == 75
    assert json.loads(ran.stdout)["waiting"] == 1
    assert "relay unreachable" in ran.stderr and "dora" not in ran.stderr


def test_a_tryouts_future_is_no_place_for_real_mail(
    service: Service, run: Run, earnest: dict[str, str]
) -> None:
    with service.database.write() as session:
        key_check.note(session, service.keys, secret_folder(service.settings))
        later = service.clock.now().replace(year=2027)
        time_machine.move_clock_to(session, later, real=service.clock.real())
    ran = run("list", MAILER_DATABASE_URL=service.settings.database_url, **earnest)
    assert (ran.returncode, "used in a try-out" in ran.stderr) == (2, True)
