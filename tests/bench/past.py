"""What lies behind the people of an installation: evidence of their consent, and the mail they were sent."""

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
# Contacts stand first in a CROSS JOIN, which SQLite keeps in this order: they are walked once.
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
INSERT INTO outbox (key, kind, list, contact_id, edition_id, ref, priority, state, why, queued_at, due_at,
                    expires_at, attempt, tries, sent_at)
SELECT 'past/' || :one_in || '/' || n || '/contact/' || id, :kind, 'interest', id, :edition, 0, :priority,
       'sent', '', :now, :now, :now, 1, 1, :now
FROM contacts CROSS JOIN number WHERE contacts.id % :one_in = 0
"""
ATTEMPTS = """
INSERT INTO attempts (outbox_id, attempt, at, address, relay, outcome, code, reply)
SELECT outbox.id, 1, :now, contacts.email, 'relay.example.org:587', 'sent', 250, '2.0.0 Ok: queued as 4bXkQ2'
FROM outbox JOIN contacts ON contacts.id = outbox.contact_id WHERE outbox.id > :last
"""


def give(installation: Service, *, consents: int, messages: int, one_in: int = 1) -> None:
    """Let one in so many people have said yes, and been sent a message, each so many times."""
    now = installation.clock.now()
    with installation.database.write() as session:
        who = {"one_in": one_in, "now": micros(now)}
        session.execute(text(CONSENTS), {**who, "each": consents, "wording": WORDING})
        last = session.scalar(select(func.max(OutboxRow.id))) or 0
        edition = installation.editions.get_current_id(session, KIND, KIND, now=now)
        what = {"kind": KIND, "edition": edition, "priority": POLICY[KIND].priority}
        session.execute(text(MESSAGES), {**who, **what, "each": messages})
        session.execute(text(ATTEMPTS), {"now": micros(now), "last": last})
    installation.database.truncate_wal()  # or whoever does so next pays for all of this
