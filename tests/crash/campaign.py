"""A campaign in a folder of its own: its people, its processes, its sink, and what is expected of it.

Everything is done as people do it, by real processes: `mailer db create`, `mailer broadcast send`, `mailer
serve`, `mailer work`. Only the people are put into the database from here, because a hundred thousand of them
would take an hour to sign up.
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
from mailer.outbox import outbox
from mailer.outbox.attempts import Attempt
from mailer.outbox.outbox import OutboxRow
from mailer.service import Service
from mailer.settings import loading
from mailer.settings.loading import Settings
from mailer.sources.confirmations import SignupRequest
from mailer.web.public import leaving
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
DIED = "its worker died at the last byte"  # why a row became unknown by a kill, and by nothing else

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

    `unknown` is how many messages nobody was sure about afterwards; `timed` says that nobody else was
    sending, and that another worker was there or was started at once; `anew`, that only mail over a new
    connection shows that it goes on.
    """

    point: str
    at: float
    processes: int = 1
    timed: bool = False
    anew: bool = True
    unknown: int = 0


@dataclass(kw_only=True)
class Campaign:
    """`expected` says how many messages each address must get; everybody else must get none.

    `log_file` is where its processes write what they have to say.
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
    _built: Service | None = None
    _unknown: int = 0

    @property
    def built(self) -> Service:
        """The same service as the processes have, to look at its database."""
        if self._built is None:
            self._built = service.build(self.settings, clock=self.clock)
        return self._built

    @property
    def settings(self) -> Settings:
        """The settings of its processes."""
        return loading.load(self.environ)

    @property
    def embedded(self) -> bool:
        """Whether the database is a file, which one worker at a time delivers from."""
        return self.url.startswith("sqlite")

    def limit(self, relay: str, domain: str) -> None:
        """Let no more messages begin than this at the relay and to a recipient's domain; before it starts."""
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
        free = next((forge for forge in self.forges if forge.is_free), None)
        if free is None:
            free = Forge(self.environ, log=self.log_file)
            self.forges.append(free)
        return free.fork(point, *words)

    def die(self, victim: Victim) -> None:
        """Wait until a victim was killed at its point, and write that down; else nothing ever passed it."""
        self.until(lambda: victim.status is not None, what=f"“{victim.name}” is never passed")
        at = time.monotonic()
        assert victim.status == -signal.SIGKILL, (
            f"“{victim.name}” is never passed, it ended with {victim.status}\n{self.log()}"
        )
        self.note(Kill(point=victim.name, at=at))

    def kill(self, point: str, *pids: int, timed: bool = True) -> None:
        """Kill running processes, as `kill -9` does, and write that down."""
        at = time.monotonic()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.note(Kill(point=point, at=at, processes=len(pids), timed=timed))

    def note(self, kill: Kill) -> None:
        """Write a kill down; what became unknown since the last one belongs to that."""
        self.account()
        self.kills.append(kill)

    def account(self) -> None:
        """Put what became unknown since the last look down to the last kill."""
        if self.expected:
            with self.built.database.read() as session:
                unknown = session.scalar(find(func.count()).where(Attempt.reply == DIED)) or 0
            if self.kills:
                self.kills[-1].unknown += unknown - self._unknown
            self._unknown = unknown

    def until(self, condition: Callable[[], object], *, what: str) -> None:
        """Wait for something, but not for ever."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"in vain: {what}\n{self.log()}")
            time.sleep(LOOK_SECONDS)

    def log(self) -> str:
        """The last words of the processes."""
        return "\n".join(self.log_file.read_text("utf-8", "replace").splitlines()[-40:])

    def sending(self, since: float) -> bool:
        """Tell whether a worker that connected after this moment has handed something over."""
        return self.tape.first_after(since) is not None

    def close(self) -> None:
        """End what still runs, and let go of the database."""
        for process in self.running:
            if process.poll() is None:
                process.kill()
                process.wait()
        for forge in self.forges:
            forge.close()
        if self._built is not None:
            self._built.close()

    # The ledger, to know when to go on; never to count

    def waiting(self) -> int:
        """How many rows are not settled yet."""
        with self.built.database.read() as session:
            return outbox.count_waiting(session, now=self.built.clock.now())

    def let_one_expire(self) -> str:
        """Make it too late for one waiting message of the update; returns its reader."""
        assert self.cleo is not None
        with self.built.database.write() as session:
            last = find(OutboxRow.id, Contact.email).join(Contact, Contact.id == OutboxRow.contact_id)
            waits = (OutboxRow.state == "queued") & (OutboxRow.kind == "broadcast")
            row = session.execute(
                last.where(waits, Contact.id != self.cleo.id).order_by(OutboxRow.id.desc()).limit(1)
            ).one()
            late = update(OutboxRow).where(OutboxRow.id == row.id)
            session.execute(late.values(expires_at=self.built.clock.now()))
        return row.email

    def sign_up(self, number: int) -> list[str]:
        """Let so many new people ask to join, as the page does; each must get one confirmation.

        Returns their addresses.
        """
        built, now = self.built, self.built.clock.now()
        emails = [f"joiner{len(self.expected)}.{each}@example.org" for each in range(number)]
        with built.database.write() as session:
            for email in emails:
                address = addresses.parse(email, pepper=built.keys.pepper)
                asked = SignupRequest(
                    address=address, list="interest", language="en", wording="Yes", page="/join"
                )
                built.confirmations.record_signup(session, asked, now=now)
        self.expected.update(emails)
        return emails

    def unknown(self) -> list[tuple[int, str]]:
        """Which messages wait for staff, and their readers."""
        with self.built.database.read() as session:
            found = session.execute(
                find(OutboxRow.id, Contact.email)
                .join(Contact, Contact.id == OutboxRow.contact_id)
                .where(OutboxRow.state == "unknown")
            )
            return [(row.id, row.email) for row in found]


def populate(campaign: Campaign, number: int) -> None:
    """Add so many people: most read the interest list, some were asked and wait, some are organizers."""
    built = campaign.built
    now = built.clock.now()
    long_ago = now - LONG_AGO
    share = max(number // SHARE, SMALLEST_SHARE)
    for first in range(0, number - 2 * share, AT_ONCE):
        with built.database.write() as session:
            some = min(AT_ONCE, number - 2 * share - first)
            crowd.add(session, some, list="interest", now=long_ago, first=first)
            if not campaign.embedded:
                session.execute(text("ANALYZE contacts"))  # else it looks through all of them each time
    with built.database.write() as session:
        ben = people.ben(session, now=long_ago)
        campaign.cleo = people.add(
            session, name="Cleo", email="cleo@left.example.org", language="en", zip="90012", list="interest",
            now=long_ago,
        )  # fmt: skip
        session.execute(delete(SubscriptionChange))  # their welcome is long over
        crowd.add(session, share, list="interest", now=now, first=number, confirmed=False)
        crowd.add(session, share, list="organizers", now=now, first=2 * number)
        ana = people.ana(session, now=now)
        session.execute(update(Contact).values(zone=_zone_at_noon(now)))
        _plan_a_call(built, session, now)
    campaign.expected.update([ben.email, *crowd.addresses(number - 2 * share)])  # the update
    campaign.expected.update(crowd.addresses(share, first=number))  # a confirmation
    for organizer in (ana.email, *crowd.addresses(share, first=2 * number)):
        campaign.expected[organizer] += 2  # an invitation, and the first letter of the welcome


def populate_readers(campaign: Campaign, number: int) -> None:
    """Add so many people who read the interest list, and Cleo; nothing but an update is due to them."""
    long_ago = campaign.clock.now() - LONG_AGO
    for first in range(0, number, AT_ONCE):
        with campaign.built.database.write() as session:
            crowd.add(session, min(AT_ONCE, number - first), list="interest", now=long_ago, first=first)
    with campaign.built.database.write() as session:
        campaign.cleo = people.add(
            session, name="Cleo", email="cleo@left.example.org", language="en", zip="90012", list="interest",
            now=long_ago,
        )  # fmt: skip
        leaving.leave(session, contact_id=campaign.cleo.id, page="/u", now=long_ago)
        session.execute(delete(SubscriptionChange))  # their welcome is long over
    campaign.expected.update(crowd.addresses(number))


def _plan_a_call(built: Service, session: Session, now: datetime) -> None:
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
    built.invitations.invite(session, call.id, now=now, actor="staff")


def _zone_at_noon(now: datetime) -> str:
    """A zone where the day is bright, whenever this runs, because a letter leaves in its window only."""
    east = 12 - now.astimezone(UTC).hour
    return f"Etc/GMT{-east:+d}" if east else "Etc/GMT"  # the sign of these names is the other way round


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def campaign(
    folder: Path,
    *,
    url: str,
    home: Path | None = None,
    wait_seconds: float = WAIT_SECONDS,
    machine: MachineClock | None = None,
    host: str = "127.0.0.1",
    settings: Mapping[str, str] = NOTHING,
) -> Iterator[Campaign]:
    """A campaign in this folder, with a sink; whatever still runs at the end is ended.

    Its data folder is `home`; what the sink writes down stands beside it. The sink waits up to `wait_seconds`
    before it writes a message down, and again before it answers, and listens on `host`. All its processes
    live by the clock of `machine`; `settings` are variables of their environment.
    """
    home = home or folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    (folder / "update.md").write_text(UPDATE)
    written, log = folder / "taken", folder / "log"
    written.touch()
    with ExitStack() as running:
        command = [sys.executable, "-m", "tests.crash.sink", written, str(wait_seconds), host]
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
        made = Campaign(
            home=home,
            log_file=log,
            url=url,
            environ=environ,
            sink=sink,
            tape=Tape(written),
            clock=machine or Clock(),
        )
        running.callback(made.close)
        yield made
