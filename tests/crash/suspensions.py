"""Suspensions: the whole machine sleeps for an hour in the middle of sending, and wakes.

Every process of the service stands still, and PostgreSQL's where it is used; the mail server, on another
machine, drops its connections. Then the wall clock and CLOCK_BOOTTIME are an hour ahead, CLOCK_MONOTONIC is
not, and the processes go on one after the other.
"""

import random
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from tests.crash import chance, freezes, machine, proof, scenes, verdict
from tests.crash.campaign import WAIT_SECONDS, Kill, campaign, populate_readers
from tests.crash.freezes import SENDING_SECONDS, Tell
from tests.crash.machine import MachineClock
from tests.crash.verdict import Verdict

LENGTHS = (timedelta(minutes=59), timedelta(minutes=61))  # what is late by an hour may be dropped
SLEEP_SECONDS = 0.3  # how long an hour takes
AFTER_SECONDS = 6.0  # of sending, after which the rescue has looked


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
) -> Verdict:
    """Suspend the machine so many times; `database_pids` are the processes of PostgreSQL."""
    dice = random.Random(seed)
    with campaign(folder, url=url, wait_seconds=WAIT_SECONDS, machine=clock) as made:
        scenes.make_tables(made)
        populate_readers(made, people)
        scenes.announce(made)
        readers = list(made.expected)
        with freezes.working(made) as pids:
            since = time.monotonic()
            for number in range(times):
                freezes.supply(made, readers)
                made.sign_up(chance.SIGN_UPS)
                made.until(lambda: made.tape.taken_after(since), what="a message before a suspension")  # noqa: B023
                time.sleep(dice.uniform(0.05, SENDING_SECONDS))
                workers = len(pids())
                everybody = [pid for each in made.running for pid in machine.tree(each.pid)]
                machine.stop(everybody + database_pids())
                made.sink.send_signal(signal.SIGUSR2)
                clock.step(LENGTHS[number % len(LENGTHS)])
                time.sleep(SLEEP_SECONDS)
                machine.go_on(database_pids())
                machine.wake(everybody, dice=dice)
                since = time.monotonic()
                held = freezes.claimed(made)
                made.note(
                    Kill(point="suspended for an hour", at=since, processes=workers, timed=True, anew=False)
                )
                tell(f"suspension {number + 1} of {times}: {held} messages were claimed")
                time.sleep(AFTER_SECONDS)
            made.sign_up(chance.SIGN_UPS)
            made.until(lambda: made.tape.taken_after(since), what="a message after the last suspension")
            proof.until_settled(made)
        proof.finish(made)
        return verdict.reach(made)
