"""Suspensions: the whole machine is suspended for an hour in the middle of sending, and resumes.

Every process of the service is stopped, and PostgreSQL's where it is used; the mail server, on another
machine, drops its connections. Then the wall clock and CLOCK_BOOTTIME are an hour ahead, CLOCK_MONOTONIC is
not, and the processes continue one after the other.
"""

import random
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from tests.crash import chance, freezes, machine, proof, report, scenes
from tests.crash.campaign import WAIT_SECONDS, Kill, open_campaign, populate_readers
from tests.crash.freezes import SENDING_SECONDS, Tell
from tests.crash.machine import MachineClock
from tests.crash.report import ProofReport

LENGTHS = (timedelta(minutes=59), timedelta(minutes=61))  # messages an hour late may be dropped
SLEEP_SECONDS = 0.3  # how long an hour takes
AFTER_SECONDS = 6.0  # of sending, after which the rescue job has run


def prove(
    folder: Path,
    *,
    url: str,
    people: int,
    times: int,
    clock: MachineClock,
    database_pids: Callable[[], list[int]] = list,
    seed: int = 1,
    tell: Tell = print,
) -> ProofReport:
    """Suspend the machine so many times; `database_pids` are the processes of PostgreSQL."""
    dice = random.Random(seed)
    with open_campaign(folder, url=url, wait_seconds=WAIT_SECONDS, machine=clock) as campaign:
        scenes.make_tables(campaign)
        populate_readers(campaign, people)
        scenes.announce(campaign)
        readers = list(campaign.expected)
        with freezes.working(campaign) as pids:
            since = time.monotonic()
            for number in range(times):
                freezes.supply(campaign, readers)
                campaign.sign_up(chance.SIGN_UPS)
                campaign.until(
                    lambda: campaign.tape.has_message_after(since),  # noqa: B023
                    what="a message before a suspension",
                )
                time.sleep(dice.uniform(0.05, SENDING_SECONDS))
                workers = len(pids())
                process_ids = [pid for each in campaign.running for pid in machine.tree(each.pid)]
                machine.stop(process_ids + database_pids())
                campaign.sink.send_signal(signal.SIGUSR2)
                clock.step(LENGTHS[number % len(LENGTHS)])
                time.sleep(SLEEP_SECONDS)
                machine.go_on(database_pids())
                machine.wake(process_ids, dice=dice)
                since = time.monotonic()
                claimed_count = freezes.claimed(campaign)
                campaign.note(
                    Kill(point="suspended for an hour", at=since, processes=workers, timed=True, anew=False)
                )
                tell(f"suspension {number + 1} of {times}: {claimed_count} messages were claimed")
                time.sleep(AFTER_SECONDS)
            campaign.sign_up(chance.SIGN_UPS)
            campaign.until(
                lambda: campaign.tape.has_message_after(since), what="a message after the last suspension"
            )
            proof.until_settled(campaign)
        proof.finish(campaign)
        return report.reach(campaign)
