"""Campaign: one proof in a folder of its own, with its people, its processes, its sink, and what is expected.

Everything is done by real processes: `mailer db create`, `mailer broadcast send`, `mailer serve`, `mailer
work`. Only the people are inserted into the database directly, because a hundred thousand sign-ups would take
an hour.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import delete, func, text, update
from sqlalchemy import select as find
from sqlalchemy.orm import Session

from lists import addresses
from lists.clock import Clock
from lists.contacts import Contact
from lists.subscriptions import SubscriptionChange
from mailer import service
from mailer.events import events
from mailer.outbox import due_rows
from mailer.outbox.attempts import Attempt
from mailer.outbox.outbox import OutboxRow
from mailer.reasons import Reason
from mailer.service import Service
from mailer.settings import loading
from mailer.settings.loading import Settings
from mailer.sources.confirmations import SignupRequest
from mailer.web.public import opt_out
from tests import crowd, people
from tests.crash.forge import Forge, Victim
from tests.crash.machine import MachineClock
from tests.crash.points import Point
from tests.crash.tape import Tape
from tests.people import Person

PATIENCE_SECONDS = 120.0
LOOK_SECONDS = 0.005
CONNECTIONS = 10
WAIT_SECONDS = 0.04
SHARE = 50  # one of so many waits for a confirmation, and one of so many is an organizer
SMALLEST_SHARE = 100
AT_ONCE = 5_000
LONG_AGO = timedelta(days=30)
DIED = Reason.WORKER_DIED  # the reason of a row that a kill, and nothing else, made unknown

NOTHING: Mapping[str, str] = {}

UPDATE = """---
subject: A small update
---
{{ greeting }}

The county board has set a date.

[See the campaign]({{ home_url }})
"""


@dataclass(kw_only=True)
class Kill:
    """One SIGKILL: at which point, when by the machine's monotonic time, and how many processes it ended.

    `unknown` is the number of messages that it made unknown; `timed` says that no other process was sending,
    and that another worker ran or was started at once; `anew`, that only mail over a new connection shows
    that sending continues.
    """

    point: str
    at: float
    processes: int = 1
    timed: bool = False
    anew: bool = True
    unknown: int = 0


@dataclass(kw_only=True)
class Campaign:
    """`expected` is the number of messages that each address must get; all others must get none.

    `log_file` receives the output of its processes.
    """

    home: Path
    log_file: Path
    url: str
    environ: Mapping[str, str]
    sink: subprocess.Popen[bytes]
    tape: Tape
    expected: Counter[str] = field(default_factory=Counter)
    kills: list[Kill] = field(default_factory=list)
    cleo: Person | None = None
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    forges: list[Forge] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)
    elsewhere: list[Path] = field(default_factory=list)  # data folders of workers on other machines
    stranded: list[str] = field(default_factory=list)
    _service: Service | None = None
    _unknown: int = 0

    @property
    def service(self) -> Service:
        """The service with the settings of the processes, to read its database."""
        if self._service is None:
            self._service = service.build(self.settings, clock=self.clock)
        return self._service

    @property
    def settings(self) -> Settings:
        """The settings of its processes."""
        return loading.load(self.environ)

    @property
    def embedded(self) -> bool:
        """Whether the database is a file, which one worker at a time delivers from."""
        return self.url.startswith("sqlite")

    def limit(self, relay: str, domain: str) -> None:
        """Limit the rate at the relay and to a recipient's domain; before anything starts."""
        limits = {
            "MAILER_SMTP_URL": f"{self.environ['MAILER_SMTP_URL']}&rate={relay}",
            "MAILER_DOMAIN_LIMITS": f"*={domain}",
        }
        self.environ = {**self.environ, **limits}

    # Processes

    def start(self, *words: str, home: Path | None = None) -> subprocess.Popen[bytes]:
        """Start `mailer` with these words, in another data folder where one is named."""
        with self.log_file.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "mailer", *words],
                env={**self.environ, **({"MAILER_HOME": str(home)} if home else {})},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        self.running = [each for each in self.running if each.poll() is None] + [process]
        return process

    def run(self, *words: str) -> int:
        """Run `mailer` with these words to its end; returns its exit status."""
        process = self.start(*words)
        self.until(lambda: process.poll() is not None, what=f"the end of mailer {' '.join(words)}")
        assert process.returncode is not None
        return process.returncode

    def victim(self, point: Point | None, *words: str) -> Victim:
        """Start `mailer` with these words, to be killed at this point, or at any moment."""
        free_forge = next((forge for forge in self.forges if forge.is_free), None)
        if free_forge is None:
            free_forge = Forge(self.environ, log=self.log_file)
            self.forges.append(free_forge)
        return free_forge.fork(point, *words)

    def die(self, victim: Victim) -> None:
        """Wait until a victim was killed at its point, and note the kill; fails if it never gets there."""
        self.until(lambda: victim.status is not None, what=f"“{victim.name}” is never passed")
        at = time.monotonic()
        assert victim.status == -signal.SIGKILL, (
            f"“{victim.name}” is never passed, it ended with {victim.status}\n{self.log()}"
        )
        self.note(Kill(point=victim.name, at=at))

    def kill(self, point: str, *pids: int, timed: bool = True) -> None:
        """Kill running processes, as `kill -9` does, and note the kill."""
        at = time.monotonic()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.note(Kill(point=point, at=at, processes=len(pids), timed=timed))

    def note(self, kill: Kill) -> None:
        """Note a kill; messages that became unknown before it belong to the previous one."""
        self.account()
        self.kills.append(kill)

    def account(self) -> None:
        """Attribute the messages that became unknown since the last call to the last kill."""
        if self.expected:
            with self.service.database.read() as session:
                unknown = session.scalar(find(func.count()).where(Attempt.reason == DIED)) or 0
            if self.kills:
                self.kills[-1].unknown += unknown - self._unknown
            self._unknown = unknown

    def until(self, condition: Callable[[], object], *, what: str) -> None:
        """Wait for a condition, up to PATIENCE_SECONDS."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"in vain: {what}\n{self.log()}")
            time.sleep(LOOK_SECONDS)

    def log(self) -> str:
        """Return the last lines of the log of the processes."""
        return "\n".join(self.log_file.read_text("utf-8", "replace").splitlines()[-40:])

    def sending(self, since: float) -> bool:
        """Tell whether a worker that connected after this moment has sent a message."""
        return self.tape.first_after(since) is not None

    def close(self) -> None:
        """End the processes that still run, and close the database."""
        for process in self.running:
            if process.poll() is None:
                process.kill()
                process.wait()
        for forge in self.forges:
            forge.close()
        if self._service is not None:
            self._service.close()

    # The outbox, to decide when to continue; never to count

    def waiting(self) -> int:
        """Return how many rows are not settled yet."""
        with self.service.database.read() as session:
            return due_rows.count_waiting(session, now=self.service.clock.now())

    def let_one_expire(self) -> str:
        """Expire one waiting message of the update; returns its reader."""
        assert self.cleo is not None
        with self.service.database.write() as session:
            statement = find(OutboxRow.id, Contact.email).join(Contact, Contact.id == OutboxRow.contact_id)
            is_waiting = (OutboxRow.state == "queued") & (OutboxRow.kind == "broadcast")
            row = session.execute(
                statement.where(is_waiting, Contact.id != self.cleo.id).order_by(OutboxRow.id.desc()).limit(1)
            ).one()
            expiry = update(OutboxRow).where(OutboxRow.id == row.id)
            session.execute(expiry.values(expires_at=self.service.clock.now()))
        return row.email

    def sign_up(self, number: int) -> list[str]:
        """Sign so many new people up, as the page does; each must get one confirmation.

        Returns their addresses.
        """
        instance, now = self.service, self.service.clock.now()
        emails = [f"joiner{len(self.expected)}.{each}@example.org" for each in range(number)]
        with instance.database.write() as session:
            for email in emails:
                address = addresses.parse(email, pepper=instance.keys.pepper)
                signup = SignupRequest(
                    address=address, list="interest", language="en", wording="Yes", page="/join"
                )
                instance.confirmations.record_signup(session, signup, now=now)
        self.expected.update(emails)
        return emails

    def unknown(self) -> list[tuple[int, str]]:
        """Return the messages that wait for staff, and their readers."""
        with self.service.database.read() as session:
            result = session.execute(
                find(OutboxRow.id, Contact.email)
                .join(Contact, Contact.id == OutboxRow.contact_id)
                .where(OutboxRow.state == "unknown")
            )
            return [(row.id, row.email) for row in result]


def populate(campaign: Campaign, number: int) -> None:
    """Add so many people: most read the interest list, some are unconfirmed, some are organizers."""
    instance = campaign.service
    now = instance.clock.now()
    long_ago = now - LONG_AGO
    share = max(number // SHARE, SMALLEST_SHARE)
    for first in range(0, number - 2 * share, AT_ONCE):
        with instance.database.write() as session:
            count = min(AT_ONCE, number - 2 * share - first)
            crowd.add(session, count, list="interest", now=long_ago, first=first)
            if not campaign.embedded:
                session.execute(text("ANALYZE contacts"))  # else each query reads the whole table
    with instance.database.write() as session:
        ben = people.ben(session, now=long_ago)
        campaign.cleo = people.add(
            session, name="Cleo", email="cleo@left.example.org", language="en", zip="90012", list="interest",
            now=long_ago,
        )  # fmt: skip
        session.execute(delete(SubscriptionChange))  # their welcome sequence is over
        crowd.add(session, share, list="interest", now=now, first=number, confirmed=False)
        crowd.add(session, share, list="organizers", now=now, first=2 * number)
        ana = people.ana(session, now=now)
        session.execute(update(Contact).values(zone=_zone_at_noon(now)))
        _plan_a_call(instance, session, now)
    campaign.expected.update([ben.email, *crowd.addresses(number - 2 * share)])  # the update
    campaign.expected.update(crowd.addresses(share, first=number))  # a confirmation
    for organizer in (ana.email, *crowd.addresses(share, first=2 * number)):
        campaign.expected[organizer] += 2  # an invitation, and the first step of the welcome


def populate_readers(campaign: Campaign, number: int) -> None:
    """Add so many people who read the interest list, and Cleo; only an update is due to them."""
    long_ago = campaign.clock.now() - LONG_AGO
    for first in range(0, number, AT_ONCE):
        with campaign.service.database.write() as session:
            crowd.add(session, min(AT_ONCE, number - first), list="interest", now=long_ago, first=first)
    with campaign.service.database.write() as session:
        campaign.cleo = people.add(
            session, name="Cleo", email="cleo@left.example.org", language="en", zip="90012", list="interest",
            now=long_ago,
        )  # fmt: skip
        opt_out.leave(session, contact_id=campaign.cleo.id, page="/u", now=long_ago)
        session.execute(delete(SubscriptionChange))  # their welcome sequence is over
    campaign.expected.update(crowd.addresses(number))


def _plan_a_call(instance: Service, session: Session, now: datetime) -> None:
    call = events.create(
        session,
        title={"en": "A call", "es": "Una llamada"},
        starts=f"{now + timedelta(days=30):%Y-%m-%d} 18:00",
        zone="America/New_York",
        minutes=60,
        join_url="https://meet.example.org/call",
        audience="organizers",
        now=now,
        actor="staff",
    )
    instance.invitations.invite(session, call.id, now=now, actor="staff")


def _zone_at_noon(now: datetime) -> str:
    """Return a zone where it is noon now, because a step of a sequence is sent only in its window."""
    east = 12 - now.astimezone(UTC).hour
    return f"Etc/GMT{-east:+d}" if east else "Etc/GMT"  # the sign of these names is inverted


def free_port() -> int:
    """Return a port that no program uses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def open_campaign(
    folder: Path,
    *,
    url: str,
    home: Path | None = None,
    wait_seconds: float = WAIT_SECONDS,
    machine: MachineClock | None = None,
    host: str = "127.0.0.1",
    settings: Mapping[str, str] = NOTHING,
) -> Iterator[Campaign]:
    """Yield a campaign in this folder, with a sink; processes that still run at the end are ended.

    Its data folder is `home`; the sink's file is beside it. The sink waits up to `wait_seconds` before it
    writes a message into it, and again before it answers, and listens on `host`. All its processes use the
    clock of `machine`; `settings` are variables of their environment.
    """
    home = home or folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    (folder / "update.md").write_text(UPDATE)
    tape_file, log = folder / "taken", folder / "log"
    tape_file.touch()
    with ExitStack() as running:
        command = [sys.executable, "-m", "tests.crash.sink", tape_file, str(wait_seconds), host]
        sink = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        running.callback(sink.communicate, b"")
        assert sink.stdout is not None
        port = int(sink.stdout.readline())
        environ = {
            **os.environ,
            "MAILER_HOME": str(home),
            "MAILER_DATABASE_URL": url,
            "MAILER_SMTP_URL": f"smtp://{host}:{port}?tls=none",
            "MAILER_CONNECTIONS": str(CONNECTIONS),
            "MAILER_POSTAL_ADDRESS": "1 Main Street, New York, NY 10001",
            "MAILER_FROM_ADDRESS": "campaign@example.org",
            "MAILER_SENDING_DOMAINS": "example.org",
            "MAILER_RESOURCES__TOOLKIT__EN": "https://example.org/toolkit",
            "PORT": str(free_port()),
            **(machine.environ if machine else {}),
            **settings,
        }
        running_campaign = Campaign(
            home=home,
            log_file=log,
            url=url,
            environ=environ,
            sink=sink,
            tape=Tape(tape_file),
            clock=machine or Clock(),
        )
        running.callback(running_campaign.close)
        yield running_campaign
