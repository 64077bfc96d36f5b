"""Results of refusals: about the person's mailbox, or about the sender."""

import pytest

from mailer.reasons import Reason
from mailer.service import Service
from mailer.smtp.outcome import Outcome
from tests.people import Person
from tests.relays import SENT, World, broadcast, deliver, rows, states

SPAM = Outcome(state="refused", code=550, reply="5.7.1 your mail looks like spam")
NO_MAILBOX = Outcome(state="refused", code=550, reply="5.1.1 no such mailbox")


def test_a_refusal_of_what_we_are_punishes_no_recipient(
    service: Service, world: World, ben: Person, cleo: Person
) -> None:
    broadcast(service)
    world.answer = lambda recipient: SPAM
    deliver(service, world)
    (row,) = rows(service)
    assert (row.state, row.tries) == ("queued", 1)
    assert row.reason == Reason.SENDER_REFUSED
    assert (row.due_at - world.clock.now()).total_seconds() == pytest.approx(300, abs=5)
    world.answer = lambda recipient: SENT
    world.clock.advance(minutes=6)
    deliver(service, world)
    assert states(service) == {"sent": 1}
    assert world.arrived == [ben.email]


def test_a_mailbox_that_is_gone_is_given_up_at_once(
    service: Service, world: World, ben: Person, cleo: Person
) -> None:
    broadcast(service)
    world.answer = lambda recipient: NO_MAILBOX
    deliver(service, world)
    assert states(service) == {"failed": 1}


def test_five_days_of_refusals_end_in_a_state_that_says_why(
    service: Service, world: World, ben: Person, cleo: Person
) -> None:
    broadcast(service)
    world.answer = lambda recipient: SPAM
    for _ in range(6):
        deliver(service, world)
        world.clock.advance(days=1)
        service.jobs.get("expire").run()
    assert states(service) == {"expired": 1}
