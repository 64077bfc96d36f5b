"""Parameter types: a number that no database can hold, and a name that no file can have, are refused."""

import pytest

from mailer.service import Service
from tests import commands
from tests.commands import Mailer
from tests.people import Person

FILE_COMMANDS = [
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


@pytest.mark.parametrize(
    "number", ["9223372036854775808", "1" + "0" * 22, "-1" + "0" * 22, "9" * 5000], ids=len
)
@pytest.mark.parametrize("command", ["organizer approve", "outbox show", "law-card retire", "list undo"])
def test_a_number_beyond_64_bits_is_refused(mailer: Mailer, command: str, number: str) -> None:
    ran = mailer(*command.split(), "--", number)
    assert ran.status == 2
    assert "larger than any number here" in ran.refusal or "is not a valid integer" in ran.refusal


@pytest.mark.parametrize("number", [0, -1, 2**63 - 1])
def test_a_number_that_nothing_has_is_not_found(mailer: Mailer, number: int) -> None:
    refusal = mailer("organizer", "approve", "--", number).refusal
    assert refusal.startswith(f"There is no application number {number}.")


@pytest.mark.parametrize("limit", [0, 10**22])
def test_a_limit_that_nobody_can_mean_is_refused(mailer: Mailer, limit: int) -> None:
    ran = mailer("outbox", "list", "--limit", limit)
    assert (ran.status, "is not in the range" in ran.refusal) == (2, True)


@pytest.mark.parametrize("seen", [2**31, 10**22])
def test_a_version_that_no_contact_has_is_refused(mailer: Mailer, ben: Person, seen: int) -> None:
    assert mailer("contact", "set", ben.email, "name=Ben", "--seen", seen).status == 2


@pytest.mark.parametrize("seen", ["9" * 5000 + ".1", "1." + "9" * 11], ids=len)
def test_a_pair_of_versions_too_large_is_refused(mailer: Mailer, ana: Person, ben: Person, seen: str) -> None:
    ran = mailer("contact", "merge", ben.email, ana.email, "--yes", "--seen", seen)
    assert "is like 3.1" in ran.refusal


def test_the_largest_version_is_compared_and_refused(mailer: Mailer, ben: Person) -> None:
    ran = mailer("contact", "set", ben.email, "name=Ben", "--seen", 2**31 - 1)
    assert (ran.status, "changed" in ran.refusal) == (2, True)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("command", FILE_COMMANDS)
def test_a_name_that_is_too_long_is_refused(mailer: Mailer, command: str) -> None:
    ran = mailer(*("x" * 300 if word == "FILE" else word for word in command.split()))
    assert ran.status == 2
    assert "cannot be used: File name too long. Please give another name." in ran.refusal
    assert "x" * 61 not in ran.refusal


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_name_with_a_zero_octet_is_refused(mailer: Mailer) -> None:
    assert "holds a zero octet" in mailer("list", "export", "people", "a\0b").refusal
