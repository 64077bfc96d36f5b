"""The golden installation, written by the code of eb00ebd, opened by today's code on both databases.

tests/fixtures/eb00ebd/README.md describes it. These tests compare with files and not with names of the code,
so that renaming the code cannot rename them, too; the code is reached by commands, pages and bytes.
"""

import email.policy
import gzip
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from email.message import EmailMessage
from email.parser import BytesHeaderParser, BytesParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import create_engine, event, text

from mailer import service as composition
from mailer.service import Service
from mailer.settings import loading
from tests import commands, relays
from tests.clocks import START, StoppedClock
from tests.commands import Mailer, Ran
from tests.loops import run
from tests.mailer.web.visitor import Response, Visitor
from tests.relays import World

FOLDER = Path(__file__).parent / "fixtures" / "eb00ebd"
HOST = "lists.campaign.example.org"
URL = f"https://{HOST}"
RELAY = "relay-a.example.org:587"
BOOT = b"00000000-0000-4000-8000-000000eb00eb"  # a boot id that no machine ever had
ALLOCATED = 1 << 20  # octets allocated for a journal that a worker has begun, written or not
FIRST_HOURS = (timedelta(0), timedelta(minutes=10), timedelta(minutes=40), timedelta(hours=6))
WEEK = (*FIRST_HOURS, *(timedelta(days=day, hours=6) for day in range(1, 7)), timedelta(days=7))
GIVEN_AT = timedelta(days=2, hours=6)  # when staff add the resource that mails wait for
MAX_ROUNDS = 10

Row = Mapping[str, Any]


def told(name: str) -> Any:
    """Return the contents of a golden file."""
    return json.loads((FOLDER / name).read_text("utf-8"))


def load(url: str) -> None:
    """Fill an empty database with the rows of the installation of eb00ebd, by SQL alone."""
    kind = "sqlite" if url.startswith("sqlite") else "postgresql"
    script = gzip.decompress((FOLDER / kind / "database.sql.gz").read_bytes()).decode()
    if kind == "sqlite":
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            connection.executescript(script)
        return
    engine = create_engine(url)
    raw = engine.raw_connection()
    raw.driver_connection.execute(script)  # several statements at once, which only the driver itself accepts
    raw.commit()
    raw.close()
    engine.dispose()


def rows(url: str, table: str, *, columns: Iterable[str] = ()) -> Sequence[Row]:
    """Return every row of a table, in any order."""
    column_list = ", ".join(f'"{name}"' for name in columns) or "*"
    engine = create_engine(url)
    with engine.connect() as connection:
        records = connection.execute(text(f'SELECT {column_list} FROM "{table}"')).mappings().all()
    engine.dispose()
    return [{name: _plain(value) for name, value in row.items()} for row in records]


def _plain(value: Any) -> Any:
    """Return a value as in both databases: JSON as objects, truth as a number, octets as bytes."""
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and value[:1] in ("{", "["):
        return json.loads(value)
    return value


def count(url: str, tables: Iterable[str]) -> dict[str, int]:
    """Return how many rows each of these tables has."""
    return {table: len(rows(url, table)) for table in tables}


def furnish(home: Path, kind: str, *, boot: bytes = BOOT) -> None:
    """Make the data folder of the fixture; journals with this boot, and as long as they were allocated."""
    shutil.copytree(FOLDER / "home", home, dirs_exist_ok=True)
    shutil.copytree(FOLDER / kind / "journals", home / "journals")
    for path in home.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    home.chmod(0o700)
    for path in (home / "journals").iterdir():
        path.write_bytes(path.read_bytes().replace(BOOT, boot))
        if path.suffix == ".journal":
            os.truncate(path, ALLOCATED)


@dataclass(kw_only=True)
class Installation:
    """The installation at work: its service, on a clock at the time of the fixture."""

    home: Path
    url: str
    clock: StoppedClock
    world: World
    service: Service
    mailer: Mailer
    visitor: Visitor
    _read: list[EmailMessage] = field(default_factory=list)

    def run(self, *words: object, status: int = 0) -> Ran:
        """Run a command that must end with this status."""
        ran = self.mailer(*words)
        assert ran.status == status, (words, ran)
        return ran

    def get(self, url: str) -> Response:
        """Open a link."""
        return self.visitor.get(url.removeprefix(URL) or "/")

    def post(self, url: str, form: dict[str, str]) -> Response:
        """Press a button of the page of a link."""
        return self.visitor.post(urlsplit(url.removeprefix(URL)).path, form)

    def person(self, address: str) -> Any:
        """Return all data of a contact."""
        return self.run("contact", "export", address).json

    def lists(self, address: str) -> dict[str, str]:
        """Return a contact's state on each list."""
        return {each["list"]: each["state"] for each in self.person(address)["subscriptions"]}

    def messages(self) -> Mapping[int, Row]:
        """Return every message by its number."""
        return {row["id"]: row for row in self.run("outbox", "list", "--limit", 10_000, "--json").json}

    def settle(self) -> None:
        """Run all jobs and deliveries that are due now."""
        for _ in range(MAX_ROUNDS):
            rows = self.service.jobs.tick()
            self.deliver()
            if not rows:
                return
        raise AssertionError("there is always something to do")

    def deliver(self, *, worker: str = "golden.2.00000002") -> None:
        """Deliver what is due by the relay of the settings that is not suspended."""
        pools = [relays.make_pool(self.world, name=RELAY, connections=4)]
        domains = self.service.settings.domain_limits
        delivery = relays.worker(self.service, self.world, pools=pools, domains=domains, name=worker)
        run(self.clock, delivery.run(until_empty=True))
        delivery.journal.close(is_settled=True)

    def live(self, offsets: Sequence[timedelta] = WEEK) -> None:
        """Let a week pass in which staff only add the resource that mails wait for."""
        for offset in offsets:
            self.clock.set(max(START + offset, self.clock.now()))
            if offset == GIVEN_AT:
                link = "https://campaign.example.org/p"
                self.run("resource", "add", "powerpoint", "--language", "en", "--link", link)
            self.settle()

    def readers(self) -> dict[str, list[str]]:
        """Send an update to every list; returns its recipients, by list."""
        reached = {}
        for name in sorted(each["list"] for each in self.run("list", "--json").json):
            file = self.home / "everybody.md"
            file.write_text(f"---\nsubject: To the list {name}\n---\nNews for everybody.\n", "utf-8")
            self.mailer("broadcast", "send", "--file", file, "--audience", name, "--yes")
        self.settle()
        for message in self.letters():
            name = str(message["Subject"]).partition("To the list ")[2]
            if name:
                reached.setdefault(name, []).append(address_of(message))
        return {name: sorted(addresses) for name, addresses in reached.items()}

    def letters(self) -> Sequence[EmailMessage]:
        """Return the messages that arrived, in order."""
        self._read += [read(message) for message in self.world.letters[len(self._read) :]]
        return self._read


def opened(home: Path, url: str, **more: str) -> Installation:
    """Build the service on a folder, a database and more of an environment; the caller closes it."""
    environ = {"MAILER_HOME": str(home), "MAILER_DATABASE_URL": url, **more}
    clock = StoppedClock()
    service = composition.build(loading.load(environ), clock=clock)
    if service.database.dialect == "sqlite":
        quick = "PRAGMA synchronous=OFF"  # no machine loses its power in these tests
        event.listen(service.database.engine, "connect", lambda connection, _: connection.execute(quick))
    return Installation(
        home=home,
        url=url,
        clock=clock,
        world=World(clock),
        service=service,
        mailer=commands.mailer(service),
        visitor=Visitor(service, clock, host=HOST),
    )


def read(message: bytes) -> EmailMessage:
    """Parse a message as a mail program would; without a calendar only the headers, for speed."""
    has_calendar = b"text/calendar" in message
    parser = BytesParser if has_calendar else BytesHeaderParser
    parsed = parser(policy=email.policy.default).parsebytes(message)
    assert isinstance(parsed, EmailMessage)
    return parsed


def row_of(message: EmailMessage) -> int:
    """Return the number of the row of a message, from its Message-ID."""
    return int(str(message["Message-ID"])[1:].partition(".")[0])


def address_of(message: EmailMessage) -> str:
    """Return the recipient of a message."""
    return str(message["To"].addresses[0].addr_spec)


def uid_of(message: EmailMessage) -> str:
    """Return the UID of the calendar entry in a message, "" where it has none."""
    for part in message.walk():
        if part.get_content_type() == "text/calendar":
            unfolded = re.sub(r"\r?\n ", "", str(part.get_content()))
            match = re.search(r"^UID:(.*?)\r?$", unfolded, re.MULTILINE)
            return match[1] if match else ""
    return ""


def command(environ: Mapping[str, str], *words: object) -> Ran:
    """Run a command as a shell does, with its folder and its database from the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        return commands.mailer(None)(*words)


def upgrade(url: str, home: Path) -> None:
    """Upgrade a database by the command."""
    ran = command({"MAILER_HOME": str(home), "MAILER_DATABASE_URL": url}, "db", "upgrade")
    assert (ran.status, ran.refusal) == (0, ""), ran


def change(url: str, statement: str) -> None:
    """Change rows by hand, before the service opens the database."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def keys(url: str) -> Mapping[int, str]:
    """Return the key of each message, with a placeholder for its reader's number."""
    records = rows(url, "outbox", columns=("id", "key"))
    return {row["id"]: re.sub(r"/contact/\d+(?=/|$)", "/contact/{contact}", row["key"]) for row in records}
