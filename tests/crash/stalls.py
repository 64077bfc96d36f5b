"""Stalls: ten recipients whose mail server never answers, while others join and an update is sent.

No other recipient may wait for them: each confirmation must reach the mail server within two seconds, and
all others get the update.
"""

import signal
import time
from pathlib import Path

from sqlalchemy import select

from lists.contacts import Contact
from tests.crash import proof, report, scenes
from tests.crash.campaign import WAIT_SECONDS, Campaign, open_campaign, populate_readers
from tests.crash.freezes import Tell
from tests.crash.report import Note, ProofReport

MOMENTS = ("rcpt", "data", "dot")  # after which the server does not answer any more
CONFIRMATION_SECONDS = 2.0
UPDATE_SECONDS = 60.0
JOIN_EVERY_SECONDS = 1.0


def prove(
    folder: Path,
    *,
    url: str,
    people: int,
    stalled: int,
    moment: str,
    seconds: float,
    within: float = CONFIRMATION_SECONDS,
    tell: Tell = print,
) -> ProofReport:
    """Let so many recipients stall at one moment of their conversations, and watch for so many seconds.

    Each confirmation must arrive `within` so many seconds.
    """
    with open_campaign(folder, url=url, wait_seconds=WAIT_SECONDS) as campaign:
        scenes.make_tables(campaign)
        populate_readers(campaign, people)
        silent = _silence(campaign, stalled, moment)
        with scenes.serving(campaign):
            scenes.announce(campaign)
            began = time.monotonic()
            joined_at = _join_meanwhile(campaign, seconds)
            received_at = {record.recipient: record.at for record in reversed(campaign.tape.read())}
            campaign.sink.send_signal(signal.SIGUSR1)
        never = began + 3600.0
        waits = [received_at.get(email, never) - at for email, at in joined_at.items()]
        others = [email for email in campaign.expected if email not in silent and email not in joined_at]
        duration = max(received_at.get(email, never) - began for email in others)
        tell(
            f"{stalled} recipients stalled at {moment.upper()}: {len(joined_at)} joined,"
            f" worst {max(waits):.2f} s"
        )
        proof.finish(campaign)
        return report.reach(
            campaign,
            Note(what="a confirmation during the stall", measured=max(waits), most=within),
            Note(what="the update to everybody else", measured=duration, most=UPDATE_SECONDS),
        )


def _silence(campaign: Campaign, number: int, moment: str) -> set[str]:
    """Let the mail server of the first readers never answer; returns their addresses."""
    with campaign.service.database.write() as session:
        contacts = session.scalars(select(Contact).order_by(Contact.id).limit(number)).all()
        for contact in contacts:
            del campaign.expected[contact.email]
            contact.email = contact.email_key = f"stalled-{moment}-{contact.id}@silent.example.org"
            campaign.expected[contact.email] += 1
        return {contact.email for contact in contacts}


def _join_meanwhile(campaign: Campaign, seconds: float) -> dict[str, float]:
    """Let a person join each second; returns when each did."""
    joined_at: dict[str, float] = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        joined_at |= dict.fromkeys(campaign.sign_up(1), time.monotonic())
        time.sleep(JOIN_EVERY_SECONDS)
    time.sleep(CONFIRMATION_SECONDS)
    return joined_at
