"""A worker that stood still for longer than its lease, as one that was stopped or swapped out."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from mailer.delivery.relay_pool import RelayPool
from mailer.service import Service
from mailer.smtp.outcome import Outcome
from tests.loops import run
from tests.people import Person
from tests.relays import LATER, Scripted, World, broadcast, crowd, deliver, states, worker

STOOD_STILL = 70.0  # seconds, more than a lease
A_WHILE = 20.0


@pytest.mark.parametrize("still", ["stopped", "asleep"])
@pytest.mark.parametrize("told_to_stop", [False, True])
def test_no_final_dot_is_written_for_a_message_that_others_may_have_taken_over(
    service: Service, world: World, ben: Person, cleo: Person, told_to_stop: bool, still: str
) -> None:
    """Its lease was over meanwhile; renewing it afterwards does not make the message its own again."""
    broadcast(service)
    stand_still = world.clock.advance if still == "stopped" else world.clock.suspend
    may_dot: list[bool] = []

    class Stopped(Scripted):
        async def send(self, *, deadline: Callable[[], float], **_: object) -> Outcome:
            loop = asyncio.get_running_loop()
            stand_still(seconds=STOOD_STILL)
            await asyncio.sleep(A_WHILE)  # the keeper wakes up, too, and renews
            if told_to_stop:
                made.stop()
                await asyncio.sleep(1.0)
            may_dot.append(loop.time() <= deadline())
            return LATER

    made = worker(service, world)
    made.pools = [RelayPool(name="relay", connect=lambda: Stopped(world), connections=1)]
    run(world.clock, made.run(until_empty=True))
    assert may_dot == [False]


def test_after_a_standstill_nobody_waits_for_a_server_that_does_not_answer(
    service: Service, world: World, ben: Person, cleo: Person
) -> None:
    """Ben's message was under way before, and its server answers ten minutes later."""
    crowd(service, 20)
    broadcast(service)
    moments: dict[str, float] = {}
    bens_dots: list[bool] = []

    class Stalls(Scripted):
        async def send(
            self, *, recipient: str, may_begin: Callable[[], bool], deadline: Callable[[], float], **rest: Any
        ) -> Outcome | None:
            loop = asyncio.get_running_loop()
            if recipient == ben.email and may_begin():
                if not bens_dots:
                    world.clock.suspend(seconds=STOOD_STILL)
                    await asyncio.sleep(600.0)
                bens_dots.append(loop.time() <= deadline())
                return LATER
            outcome = await super().send(recipient=recipient, may_begin=may_begin, deadline=deadline, **rest)
            if outcome is not None and outcome.state == "sent":
                moments[recipient] = loop.time() - began
            return outcome

    made = worker(service, world)
    made.pools = [RelayPool(name="relay", connect=lambda: Stalls(world), connections=4)]
    began = 0.0

    async def works() -> None:
        nonlocal began
        began = asyncio.get_running_loop().time()
        await made.run(until_empty=True)

    run(world.clock, works())
    assert len(moments) == 20 and cleo.email not in moments
    assert max(moments.values()) < STOOD_STILL + A_WHILE
    assert bens_dots[0] is False
    assert sorted(Counter(world.arrived).values()) == [1] * 20


def test_a_machine_that_slept_for_an_hour_sends_everything_and_nothing_twice(
    service: Service, world: World, ben: Person, cleo: Person
) -> None:
    """The scheduler's process is the first to wake, as it may well be."""
    crowd(service, 200)
    broadcast(service)
    world.seconds, world.dotted_after = 0.4, 0.2
    made = worker(service, world)

    async def sleeps() -> None:
        loop = asyncio.get_running_loop()
        work = asyncio.ensure_future(made.run(until_empty=True))
        for moment in (1.1, 3.3):
            loop.call_later(moment, lambda: (world.clock.suspend(hours=1), rescue(service)))
        await work

    def rescue(service: Service) -> None:
        assert service.jobs.get("rescue").run() == 0

    run(world.clock, sleeps())
    world.clock.advance(minutes=6)  # what the deadline stopped before its dot is tried again
    deliver(service, world)
    assert states(service) == {"sent": 201}
    assert sorted(Counter(world.arrived).values()) == [1] * 201
    assert cleo.email not in world.arrived
