"""A worker that stood still for longer than its lease, as one that was stopped or swapped out."""

import asyncio
from collections.abc import Callable

import pytest

from mailer.lanes import Lane
from mailer.outcomes import Outcome
from mailer.service import Service
from tests.loops import run
from tests.people import Person
from tests.relays import LATER, Scripted, World, broadcast, worker

STOOD_STILL = 70.0  # seconds, more than a lease
A_WHILE = 20.0


@pytest.mark.parametrize("told_to_stop", [False, True])
def test_no_final_dot_is_written_for_a_message_that_others_may_have_taken_over(
    service: Service, world: World, ben: Person, cleo: Person, told_to_stop: bool
) -> None:
    """Its lease was over meanwhile; renewing it afterwards does not make the message its own again."""
    broadcast(service)
    may_dot: list[bool] = []

    class Stopped(Scripted):
        async def send(self, *, deadline: Callable[[], float], **_: object) -> Outcome:
            loop = asyncio.get_running_loop()
            world.clock.advance(seconds=STOOD_STILL)
            await asyncio.sleep(A_WHILE)  # the keeper wakes up, too, and renews
            if told_to_stop:
                made.stop()
                await asyncio.sleep(1.0)
            may_dot.append(loop.time() <= deadline())
            return LATER

    made = worker(service, world)
    made.lanes = [Lane(name="relay", connect=lambda: Stopped(world), connections=1)]
    run(world.clock, made.run(until_empty=True))
    assert may_dot == [False]
