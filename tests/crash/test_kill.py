"""kill -9 of the delivery process and of its parent in the middle of 10,000 deliveries.

Nobody is lost and nobody is mailed twice; at most one message per connection and kill is `unknown`. Counted
from what the server took, not from our own tables.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Row, delete, select

from lists.clock import Clock
from lists.contacts import Contact
from lists.db import Database
from lists.subscriptions import SubscriptionChange
from mailer import broadcasts, migrations, service, settings, templates
from mailer.outbox import OutboxRow, counts
from mailer.service import Service
from tests import crowd, people
from tests.peers.counting import Counting, counting

READERS = 10_000
PATIENCE_SECONDS = 60.0
KILLS = 2

UPDATE = """---
subject: A small update
---
{{ greeting }}

The county board has set a date.

[See the campaign]({{ home_url }})
"""


def environ(home: Path, *, url: str, peer: Counting, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "MAILER_HOME": str(home),
        "MAILER_DATABASE_URL": url,
        "MAILER_SMTP_URL": f"smtp://127.0.0.1:{peer.port}?tls=none",
        "MAILER_POSTAL_ADDRESS": "1 Main Street, New York, NY 10001",
        "MAILER_FROM_ADDRESS": "campaign@example.org",
        "MAILER_SENDING_DOMAINS": "example.org",
        "PORT": str(port),
    }


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def populate(built: Service) -> int:
    """Add Ana, Ben, Cleo and thousands of readers of the interest list, and a broadcast for all of them."""
    now = Clock().now()
    with built.database.write() as session:
        people.ana(session, now=now)
        people.ben(session, now=now)
        people.cleo(session, now=now)
        crowd.add(session, READERS, list="interest", now=now)
        session.execute(delete(SubscriptionChange))  # no follow-up beside the broadcast, so that it counts
        template = templates.Template(
            name="broadcast", sources={"en": templates.parse(UPDATE, path="update.md")}
        )
        edition = built.editions.freeze(session, template, "broadcast", now=now)
        broadcast = broadcasts.create(
            session,
            subject="A small update",
            audience="interest",
            edition_id=edition.id,
            now=now,
            actor="test",
        )
    return broadcast.id


@contextmanager
def serving(env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "mailer", "serve"], env=env, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def until(condition: Callable[[], bool], *, what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.02)


def child_of(parent: int) -> int | None:
    """The delivery process; a thread of its parent may have started it."""
    found = [path.read_text().split() for path in Path(f"/proc/{parent}/task").glob("*/children")]
    return next((int(child) for children in found for child in children), None)


@pytest.mark.timeout(240)
def test_nobody_is_lost_when_the_child_and_the_parent_are_killed_in_the_middle(
    database_url: str, tmp_path: Path
) -> None:
    with counting() as peer:
        env = environ(tmp_path, url=database_url, peer=peer, port=free_port())
        migrations.upgrade(Database(database_url))
        built = service.build(settings.load(env))
        broadcast_id = populate(built)
        with serving(env) as parent:
            until(lambda: peer.total > READERS // 10, what="the first messages")
            child = child_of(parent.pid)
            assert child is not None
            os.kill(child, signal.SIGKILL)
            until(lambda: child_of(parent.pid) not in (None, child), what="a new child")
            before = peer.total
            until(lambda: peer.total > before + READERS // 5, what="messages after the child's death")
            orphan = child_of(parent.pid)
            parent.kill()
            parent.wait()
            until(lambda: not Path(f"/proc/{orphan}").exists(), what="the orphan to drain and go")
        assert peer.total < READERS, "the parent was killed too late for this test to say anything"
        with serving(env) as again:
            until(lambda: _settled(built, broadcast_id), what="everything settled")
        assert again.returncode == 0
        outcome = {row.email: row.state for row in _ledger(built, broadcast_id)}
        unknown = {who for who, state in outcome.items() if state == "unknown"}
        assert set(outcome) == crowd.addresses(READERS) | {"ben@vecinos.example.org"}
        assert set(outcome.values()) <= {"sent", "unknown"}, "somebody is lost"
        assert {who for who, state in outcome.items() if state == "sent"} <= set(peer.taken)
        assert len(unknown) <= KILLS * built.settings.connections
        assert max(peer.taken.values()) == 1, "somebody is mailed twice"
        built.close()


def _ledger(built: Service, broadcast_id: int) -> Sequence[Row[str, str]]:
    with built.database.read() as session:
        return session.execute(
            select(Contact.email, OutboxRow.state)
            .join(Contact, Contact.id == OutboxRow.contact_id)
            .where(OutboxRow.kind == "broadcast", OutboxRow.ref == broadcast_id)
        ).all()


def _settled(built: Service, broadcast_id: int) -> bool:
    with built.database.read() as session:
        found = counts(session, kind="broadcast", ref=broadcast_id)
    return sum(found.values()) == READERS + 1 and {state for _, state in found} <= {"sent", "unknown"}
