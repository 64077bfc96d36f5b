"""A service of its own in a temporary folder, with the requested number of people on the interest list."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from sqlalchemy import text

from lists.db import EPOCH, MICROSECOND
from mailer import service
from mailer.processes import bootstrap
from mailer.service import Service
from mailer.settings.loading import Settings
from mailer.sources import broadcasts
from mailer.templates import templates
from mailer.templates.templates import Template

ZONES = ("America/New_York", "America/Chicago", "America/Denver", "America/Phoenix", "America/Los_Angeles")

PEOPLE = """
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < :people)
INSERT INTO contacts (id, email, email_key, email_digest, name, language, zip, city, county, state, zone,
                      organization, tradition, role, created_at, version)
SELECT n, 'neighbor' || n || '@example.org', 'neighbor' || n || '@example.org', randomblob(16),
       'Neighbor ' || n, CASE n % 3 WHEN 0 THEN 'es' ELSE 'en' END, '85003', 'Phoenix', 'Maricopa', 'AZ',
       CASE n % 5 WHEN 0 THEN :a WHEN 1 THEN :b WHEN 2 THEN :c WHEN 3 THEN :d ELSE :e END,
       '', '', '', :now, 1
FROM number
"""
SUBSCRIPTIONS = """
INSERT INTO subscriptions (contact_id, list, state, round, asked_at, confirmed_at)
SELECT id, 'interest', 'confirmed', 0, :now, :now FROM contacts
"""
JOURNEYS = """
INSERT INTO journeys (contact_id, sequence, step, zone, due_at, state, started_at)
SELECT id, :sequence, :step, zone, :due, 'waiting', :now FROM contacts WHERE id % :steps = :place
"""
UPDATE = """---
subject: An update from the campaign
---
{{{{ greeting }}}}

{paragraphs}

[Read what changed]({{{{ home_url }}}})
"""
PARAGRAPH = (
    "{{ name }}, this week three more congregations sat down with their county officials and asked them not"
    " to honor every hold request."
)


@contextmanager
def installation(*, people: int, smtp_port: int = 0) -> Iterator[Service]:
    """Yield a service on SQLite with `people` confirmed on the interest list."""
    with tempfile.TemporaryDirectory(prefix="mailer-bench-") as folder:
        values: dict[str, object] = {"home": Path(folder)}
        if smtp_port:
            values |= {
                "smtp_url": f"smtp://127.0.0.1:{smtp_port}?tls=none",
                "from_address": "campaign@lists.example",
                "sending_domains": ("lists.example",),
                "postal_address": "123 Example Street, Anytown, NY 00000",
            }
        settings = Settings.model_validate(values)
        bootstrap.create(settings)
        instance = service.build(settings)
        try:
            populate(instance, people)
            yield instance
        finally:
            instance.close()


def micros(moment: datetime) -> int:
    """Return a time as the database stores it."""
    return (moment - EPOCH) // MICROSECOND


def populate(installation: Service, people: int) -> None:
    """Add so many people to the interest list, confirmed now."""
    now = micros(installation.clock.now())
    with installation.database.write() as session:
        zones = dict(zip("abcde", ZONES, strict=True))
        session.execute(text(PEOPLE), {"people": people, "now": now, **zones})
        session.execute(text(SUBSCRIPTIONS), {"now": now})


def broadcast(installation: Service, *, paragraphs: int) -> int:
    """Create an update to the interest list, not filled yet; returns its number."""
    body = UPDATE.format(paragraphs="\n\n".join([PARAGRAPH] * paragraphs))
    template = Template(name="bench", sources=templates.parse_update(body, path="bench.md"))
    now = installation.clock.now()
    with installation.database.write() as session:
        edition = installation.editions.freeze(session, template, "broadcast", now=now)
        update = broadcasts.create(
            session, subject="Bench", audience="interest", edition_id=edition.id, now=now, actor="bench"
        )
        return update.id
