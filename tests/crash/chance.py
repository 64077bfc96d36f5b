"""Chance: kills at random of the child, of the parent, of both at once, and of one of several workers."""

import random
import time
from pathlib import Path

from mailer.processes.work import LOCK
from tests.crash import scenes
from tests.crash.campaign import Campaign
from tests.crash.forge import Victim

SENDING_SECONDS = 0.15  # the longest that sending goes on between two kills
HASTE = 0.1  # the share of kills that do not wait until sending has begun again
STARTING_SECONDS = 1.5  # and then fall somewhere into the start
WORKERS = 3
SIGN_UPS = 8  # sign-ups between two kills: their unknown confirmations are sent again
IN_A_ROW = 8


def serving(campaign: Campaign, kills: int, *, chance: random.Random) -> None:
    """Kill `mailer serve`, its delivery process, or both, again and again."""
    server = campaign.start("serve")
    since = time.monotonic()
    for _ in range(kills):
        _go_on(campaign, since, chance, alone=True)
        victim = chance.choice(["the child", "the parent", "both"])
        child = child_of(server.pid)
        pids = [server.pid] if victim == "the parent" else []
        pids += [child] if child is not None and victim == "the child" else []
        pids = pids or [server.pid, *([child] if child is not None else [])]
        since = time.monotonic()
        campaign.kill(f"at random: {victim}", *pids)
        if server.pid in pids:
            server.wait()
            server = campaign.start("serve")
    _let_it_send(campaign, since, chance, alone=True)  # after the last kill, too, before it is stopped
    server.terminate()
    server.wait()


def hammering(campaign: Campaign, kills: int) -> None:
    """Kill each delivery process of one `mailer serve` at its start, then wait until mail is sent."""
    server = campaign.start("serve")
    child = None
    for left in reversed(range(kills)):
        campaign.until(lambda: child_of(server.pid) not in (None, child), what="a new delivery process")  # noqa: B023
        child = child_of(server.pid)
        assert child is not None
        campaign.sign_up(SIGN_UPS)
        since = time.monotonic()
        campaign.kill("in a row: the child, at its start", child, timed=not left)
    campaign.until(lambda: campaign.sending(since), what="a message after many kills")
    server.terminate()
    server.wait()


def working(campaign: Campaign, kills: int, *, chance: random.Random, number: int = WORKERS) -> None:
    """Kill one of several `mailer work`: the one that delivers, or any where all of them deliver."""
    workers = [campaign.victim(None, *scenes.WORK) for _ in range(number)]
    since = time.monotonic()
    for _ in range(kills):
        _go_on(campaign, since, chance, alone=campaign.embedded)
        victim = _delivering(campaign, workers) or chance.choice(workers)
        since = time.monotonic()
        campaign.kill("at random: a worker, others there", victim.pid, timed=campaign.embedded)
        campaign.until(lambda: victim.status is not None, what="the end of a killed worker")  # noqa: B023
        workers.remove(victim)
        workers.append(campaign.victim(None, *scenes.WORK))
    _let_it_send(campaign, since, chance, alone=campaign.embedded)
    for worker in workers:
        worker.stop()
    campaign.until(lambda: all(worker.status is not None for worker in workers), what="their end")


def child_of(parent: int) -> int | None:
    """Return the delivery process of a `mailer serve`; a thread of its parent may have started it."""
    try:
        children_lists = [
            path.read_text().split() for path in Path(f"/proc/{parent}/task").glob("*/children")
        ]
    except FileNotFoundError:
        return None
    return next((int(child) for children in children_lists for child in children), None)


def _go_on(campaign: Campaign, since: float, chance: random.Random, *, alone: bool) -> None:
    """Let a moment pass before the next kill, mostly some time after mail is sent again."""
    if chance.random() < HASTE:
        campaign.sign_up(SIGN_UPS)
        time.sleep(chance.uniform(0, STARTING_SECONDS))
    else:
        _let_it_send(campaign, since, chance, alone=alone)


def _let_it_send(campaign: Campaign, since: float, chance: random.Random, *, alone: bool) -> None:
    """Wait until mail is sent again, over a new connection where only the killed worker was sending."""
    campaign.sign_up(SIGN_UPS)  # so that there are messages to send, also when all have the update
    goes_on = campaign.sending if alone else campaign.tape.has_message_after
    campaign.until(lambda: goes_on(since), what="a message after a kill")
    time.sleep(chance.uniform(0, SENDING_SECONDS))


def _delivering(campaign: Campaign, workers: list[Victim]) -> Victim | None:
    """Return the worker that holds the lock of an embedded database, from /proc/locks."""
    if not campaign.embedded:
        return None
    inode = (campaign.home / LOCK).stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if words[1] == "FLOCK" and words[5].endswith(f":{inode}"):
            return next((worker for worker in workers if worker.pid == int(words[4])), None)
    return None
