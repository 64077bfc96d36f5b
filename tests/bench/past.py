"""The history of the people of an installation: evidence of their consent, and the mail they were sent."""

from sqlalchemy import func, select, text

from mailer.outbox.outbox import OutboxRow
from mailer.policy import POLICY
from mailer.service import Service
from tests.bench.installation import micros

KIND = "already"
WORDING = (
    "Yes, write to me about the campaign. I can leave with one click at any time, and my address is given to"
    " nobody else."
)
# Contacts stand first in a CROSS JOIN, whose order SQLite keeps: they are read once.
NUMBERS = """
WITH RECURSIVE number(n) AS (
    SELECT 1 WHERE :each > 0 UNION ALL SELECT n + 1 FROM number WHERE n < :each
)
"""
CONSENTS = f"""{NUMBERS}
INSERT INTO consents (contact_id, list, action, wording, page, language, at)
SELECT id, 'interest', 'confirmed', :wording, '/join', language, :now
FROM contacts CROSS JOIN number WHERE contacts.id % :one_in = 0
"""
MESSAGES = f"""{NUMBERS}
INSERT INTO outbox (key, kind, list, contact_id, edition_id, ref, priority, state, queued_at, due_at,
                    expires_at, attempt, tries, sent_at)
SELECT 'past/' || :one_in || '/' || n || '/contact/' || id, :kind, 'interest', id, :edition, 0, :priority,
       'sent', :now, :now, :now, 1, 1, :now
FROM contacts CROSS JOIN number WHERE contacts.id % :one_in = 0
"""
ATTEMPTS = """
INSERT INTO attempts (outbox_id, attempt, at, address, relay, outcome, code, reply)
SELECT outbox.id, 1, :now, contacts.email, 'relay.example.org:587', 'sent', 250, '2.0.0 Ok: queued as 4bXkQ2'
FROM outbox JOIN contacts ON contacts.id = outbox.contact_id WHERE outbox.id > :last
"""


def give(installation: Service, *, consents: int, messages: int, one_in: int = 1) -> None:
    """Give one in so many people so many consents, and so many sent messages."""
    now = installation.clock.now()
    with installation.database.write() as session:
        person_values = {"one_in": one_in, "now": micros(now)}
        session.execute(text(CONSENTS), {**person_values, "each": consents, "wording": WORDING})
        last = session.scalar(select(func.max(OutboxRow.id))) or 0
        edition = installation.editions.freeze_current(session, KIND, KIND, now=now)
        message_values = {"kind": KIND, "edition": edition, "priority": POLICY[KIND].priority}
        session.execute(text(MESSAGES), {**person_values, **message_values, "each": messages})
        session.execute(text(ATTEMPTS), {"now": micros(now), "last": last})
    installation.database.truncate_wal()  # or the next checkpoint would include all of this
