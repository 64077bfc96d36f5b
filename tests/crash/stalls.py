"""Stalls: ten recipients whose mail server never answers, while others join and an update is on its way.

Nobody else may wait for them: each confirmation must reach the mail server within two seconds, and everybody
else gets the update.
"""

import signal
import time
from pathlib import Path

from sqlalchemy import select

from lists.contacts import Contact
from tests.crash import proof, scenes, verdict
from tests.crash.campaign import WAIT_SECONDS, Campaign, campaign, populate_readers
from tests.crash.freezes import Tell
from tests.crash.verdict import Note, Verdict

MOMENTS = ("rcpt", "data", "dot")  # after which the server says nothing any more
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
) -> Verdict:
    """Let so many recipients stall at one moment of their conversations, and watch for so many seconds.

    `within` so many seconds each confirmation must be there.
    """
    with campaign(folder, url=url, wait_seconds=WAIT_SECONDS) as made:
        scenes.make_tables(made)
        populate_readers(made, people)
        silent = _silence(made, stalled, moment)
        with scenes.serving(made):
            scenes.announce(made)
            began = time.monotonic()
            asked = _join_meanwhile(made, seconds)
            got = {taken.recipient: taken.at for taken in reversed(made.tape.read())}
            made.sink.send_signal(signal.SIGUSR1)
        never = began + 3600.0
        waits = [got.get(email, never) - at for email, at in asked.items()]
        others = [email for email in made.expected if email not in silent and email not in asked]
        took = max(got.get(email, never) - began for email in others)
        tell(
            f"{stalled} recipients stalled at {moment.upper()}: {len(asked)} joined, worst {max(waits):.2f} s"
        )
        proof.finish(made)
        return verdict.reach(
            made,
            Note(what="a confirmation during the stall", measured=max(waits), most=within),
            Note(what="the update to everybody else", measured=took, most=UPDATE_SECONDS),
        )


def _silence(made: Campaign, number: int, moment: str) -> set[str]:
    """Let the mail server of the first readers never answer; returns their addresses."""
    with made.built.database.write() as session:
        first = session.scalars(select(Contact).order_by(Contact.id).limit(number)).all()
        for contact in first:
            del made.expected[contact.email]
            contact.email = contact.email_key = f"stalled-{moment}-{contact.id}@silent.example.org"
            made.expected[contact.email] += 1
        return {contact.email for contact in first}


def _join_meanwhile(made: Campaign, seconds: float) -> dict[str, float]:
    """Let somebody join each second; returns when each did."""
    asked: dict[str, float] = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        asked |= dict.fromkeys(made.sign_up(1), time.monotonic())
        time.sleep(JOIN_EVERY_SECONDS)
    time.sleep(CONFIRMATION_SECONDS)
    return asked
