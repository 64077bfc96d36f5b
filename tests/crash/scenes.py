"""Scenes: what happens around each named point, and how a process gets to it."""

import http.client
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from html import unescape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from mailer import migrations
from mailer.processes import bootstrap
from tests.crash.campaign import Campaign, populate
from tests.crash.forge import Victim
from tests.crash.points import DOT, Point, Scene

DORA = "dora@joining.example.org"
HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')
HAND_SECONDS = 0.4  # people do not fill a form faster
GROWING_SECONDS = 0.3  # claims are larger by then, so that a part of one remains when it stops
TRIES = 5
WORK = ("work", "--attached")
FORM = {"content-type": "application/x-www-form-urlencoded"}


class Answer(NamedTuple):
    """A response of a page."""

    status: int
    text: str


def play(campaign: Campaign, point: Point, *, people: int) -> None:
    """Run the scene of a point until the process is killed there; fails when the point is never passed."""
    if point.scene != "upgrade" and not campaign.expected:
        settle_in(campaign, people)
    SCENES[point.scene](campaign, point)


def settle_in(campaign: Campaign, people: int) -> None:
    """Make keys and tables, after a killed start too, and add the people."""
    make_tables(campaign)
    populate(campaign, people)


def make_tables(campaign: Campaign) -> None:
    """Make keys and tables, after a killed start too."""
    bootstrap.create(campaign.settings)
    assert migrations.list_differences(campaign.service.database) == [], "half an upgrade"


def announce(campaign: Campaign, *more: str) -> None:
    """Send an update to the interest list, as staff do; `more` are words of the command."""
    assert campaign.run(*_announcement(campaign), *more) == 0, campaign.log()


def _announcement(campaign: Campaign) -> list[str]:
    update = campaign.log_file.with_name("update.md")
    return ["broadcast", "send", "--file", str(update), "--audience", "interest", "--yes"]


def _upgrade(campaign: Campaign, point: Point) -> None:
    campaign.die(campaign.victim(point, "db", "create"))


def _announce(campaign: Campaign, point: Point) -> None:
    campaign.die(campaign.victim(point, *_announcement(campaign)))


def _job(campaign: Campaign, point: Point) -> None:
    campaign.die(campaign.victim(point, "jobs", "run", *point.words))


def _expire(campaign: Campaign, point: Point) -> None:
    """Expire one reader's message, which must not be sent any more."""
    expired = campaign.let_one_expire()
    del campaign.expected[expired]
    _job(campaign, point)


def _work(campaign: Campaign, point: Point) -> None:
    campaign.die(campaign.victim(point, *WORK))


def _stop(campaign: Campaign, point: Point) -> None:
    """Stop a worker that is sending; it passes the point at its end, if it has rows to release."""
    for _ in range(TRIES):
        worker = _stopped(campaign, point)
        if worker.status != 0:  # else it had no rows to release
            break
    campaign.die(worker)


def _stopped(campaign: Campaign, point: Point) -> Victim:
    began = time.monotonic()
    worker = campaign.victim(point, *WORK)
    campaign.until(lambda: campaign.sending(began), what="a first message")
    time.sleep(GROWING_SECONDS)
    worker.stop()
    campaign.until(lambda: worker.status is not None, what="the end of a worker")
    return worker


def _rescue(campaign: Campaign, point: Point) -> None:
    """Kill one worker in the middle, so that the next has rows to rescue, and kill that one at the point."""
    _work(campaign, DOT)
    _work(campaign, point)


def _serve(campaign: Campaign, point: Point) -> None:
    _die_serving(campaign, point)


def _join(campaign: Campaign, point: Point) -> None:
    """Dora joins; the page does not answer, so she tries again."""
    campaign.expected[DORA] = 1
    _die_serving(campaign, point, lambda: join(campaign))


def _leave(campaign: Campaign, point: Point) -> None:
    """Cleo's mail program posts that she leaves; no answer comes, so it tries again."""
    _die_serving(campaign, point, lambda: leave(campaign))


def _resolve(campaign: Campaign, point: Point) -> None:
    """Staff list what is unknown, and decide."""
    if not campaign.unknown():
        _work(campaign, DOT)
        campaign.service.rescue.settle_ended_workers()
    number, email = campaign.unknown()[0]
    decision = "--sent" if email in campaign.tape.distinct() else "--resend"
    campaign.die(campaign.victim(point, "outbox", "resolve", str(number), decision))


SCENES: Mapping[Scene, Callable[[Campaign, Point], None]] = {
    "work": _work,
    "stop": _stop,
    "rescue": _rescue,
    "serve": _serve,
    "join": _join,
    "leave": _leave,
    "upgrade": _upgrade,
    "job": _job,
    "expire": _expire,
    "announce": _announce,
    "resolve": _resolve,
}


def _die_serving(campaign: Campaign, point: Point, request: Callable[[], None] | None = None) -> None:
    server = campaign.victim(point, "serve")
    if request is not None:
        campaign.until(lambda: answering(campaign), what="pages")
        with suppress(OSError, http.client.HTTPException):  # no answer comes
            request()
    campaign.die(server)


@contextmanager
def serving(campaign: Campaign) -> Iterator[None]:
    """Run a whole service, with pages that answer, ended as an operator ends it."""
    with running(campaign, "serve"):
        campaign.until(lambda: answering(campaign), what="pages")
        yield


@contextmanager
def running(campaign: Campaign, *words: str, home: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a `mailer` process, in another data folder where one is named, ended as an operator ends it."""
    process = campaign.start(*words, home=home)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def join(campaign: Campaign) -> None:
    """Send the form as Dora does."""
    answer = submit_join_form(campaign)
    assert answer.status == 200, answer


def submit_join_form(campaign: Campaign) -> Answer:
    """Send the form as Dora does; returns the response."""
    fields = {name: unescape(value) for name, value in HIDDEN.findall(_ask(campaign, "GET", "/join").text)}
    time.sleep(HAND_SECONDS)
    form = {**fields, "email": DORA, "name": "Dora", "zip": "", "language": "en"}
    return _ask(campaign, "POST", "/join", form)


def leave(campaign: Campaign) -> None:
    """Post what Cleo's mail program posts at one click (RFC 8058)."""
    assert campaign.cleo is not None
    link = urlsplit(campaign.service.links.unsubscribe_url(campaign.cleo.id, campaign.cleo.list))
    answer = _ask(campaign, "POST", link.path, {"List-Unsubscribe": "One-Click"})
    assert answer.status == 200, answer


def _ask(campaign: Campaign, method: str, path: str, form: Mapping[str, str] | None = None) -> Answer:
    address = urlsplit(campaign.service.settings.public_url)
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=10)
    try:
        connection.request(method, path, urlencode(form) if form else None, FORM if form else {})
        answer = connection.getresponse()
        return Answer(answer.status, answer.read().decode())
    finally:
        connection.close()


def answering(campaign: Campaign) -> bool:
    """Tell whether the pages answer."""
    try:
        return _ask(campaign, "GET", "/join").status == 200
    except (OSError, http.client.HTTPException):
        return False
