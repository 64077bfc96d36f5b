"""A name that no file can have is refused in a sentence, by every command that takes a file."""

import pytest

from mailer.service import Service
from tests import commands
from tests.commands import Mailer

COMMANDS = [
    "list export people FILE",
    "list import FILE --list interest --consent sheet",
    "list import /dev/null --list interest --consent sheet --refused FILE",
    "list sheet FILE --congregation Mark",
    "db backup FILE",
    "db backup copy --passphrase-file FILE",
    "db merge FILE",
    "db restore FILE",
    "resource add toolkit --language en --file FILE",
    "broadcast send --audience interest --file FILE",
]


@pytest.fixture
def mailer(service: Service) -> Mailer:
    return commands.mailer(service)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_name_that_is_too_long_is_refused(mailer: Mailer, command: str) -> None:
    ran = mailer(*("x" * 300 if word == "FILE" else word for word in command.split()))
    assert ran.status == 2
    assert "cannot be used: File name too long. Please give another name." in ran.refusal
    assert "x" * 61 not in ran.refusal


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_name_with_a_zero_octet_is_refused(mailer: Mailer) -> None:
    assert "holds a zero octet" in mailer("list", "export", "people", "a\0b").refusal
