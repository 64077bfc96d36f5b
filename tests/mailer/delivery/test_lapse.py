"""A worker that was frozen for longer than its lease, because it was stopped or swapped out."""

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

FROZEN_SECONDS = 70.0  # more than a lease
RENEWAL_SECONDS = 20.0


@pytest.mark.parametrize("freeze_kind", ["stopped", "asleep"])
@pytest.mark.parametrize("is_stopping", [False, True])
def test_no_final_dot_is_written_for_a_message_that_others_may_have_taken_over(
    service: Service, world: World, ben: Person, cleo: Person, is_stopping: bool, freeze_kind: str
) -> None:
    """Its lease ended meanwhile; renewing it afterwards does not return the message to this worker."""
    broadcast(service)
    freeze = world.clock.advance if freeze_kind == "stopped" else world.clock.suspend
    dots_allowed: list[bool] = []

    class Stopped(Scripted):
        async def send(self, *, deadline: Callable[[], float], **_: object) -> Outcome:
            loop = asyncio.get_running_loop()
            freeze(seconds=FROZEN_SECONDS)
            await asyncio.sleep(RENEWAL_SECONDS)  # the keeper continues, too, and renews the lease
            if is_stopping:
                delivery.stop()
                await asyncio.sleep(1.0)
            dots_allowed.append(loop.time() <= deadline())
            return LATER

    delivery = worker(service, world)
    delivery.pools = [RelayPool(name="relay", connect=lambda: Stopped(world), connections=1)]
    run(world.clock, delivery.run(until_empty=True))
    assert dots_allowed == [False]


def test_after_a_standstill_nobody_waits_for_a_server_that_does_not_answer(
    service: Service, world: World, ben: Person, cleo: Person
) -> None:
    """Ben's message was in flight before, and its server replies ten minutes later."""
    crowd(service, 20)
    broadcast(service)
    seconds_by_recipient: dict[str, float] = {}
    dots_allowed: list[bool] = []

    class Stalls(Scripted):
        async def send(
            self,
            *,
            recipient: str,
            may_begin: Callable[[], bool],
            deadline: Callable[[], float],
            **options: Any,
        ) -> Outcome | None:
            loop = asyncio.get_running_loop()
            if recipient == ben.email and may_begin():
                if not dots_allowed:
                    world.clock.suspend(seconds=FROZEN_SECONDS)
                    await asyncio.sleep(600.0)
                dots_allowed.append(loop.time() <= deadline())
                return LATER
            outcome = await super().send(
                recipient=recipient, may_begin=may_begin, deadline=deadline, **options
            )
            if outcome is not None and outcome.state == "sent":
                seconds_by_recipient[recipient] = loop.time() - start
            return outcome

    delivery = worker(service, world)
    delivery.pools = [RelayPool(name="relay", connect=lambda: Stalls(world), connections=4)]
    start = 0.0

    async def run_worker() -> None:
        nonlocal start
        start = asyncio.get_running_loop().time()
        await delivery.run(until_empty=True)

    run(world.clock, run_worker())
    assert len(seconds_by_recipient) == 20 and cleo.email not in seconds_by_recipient
    assert max(seconds_by_recipient.values()) < FROZEN_SECONDS + RENEWAL_SECONDS
    assert dots_allowed[0] is False
    assert sorted(Counter(world.arrived).values()) == [1] * 20


def test_a_machine_that_slept_for_an_hour_sends_everything_and_nothing_twice(
    service: Service, world: World, ben: Person, cleo: Person
) -> None:
    """The scheduler's process is the first to continue."""
    crowd(service, 200)
    broadcast(service)
    world.seconds, world.dotted_after = 0.4, 0.2
    delivery = worker(service, world)

    async def run_with_sleep() -> None:
        loop = asyncio.get_running_loop()
        work = asyncio.ensure_future(delivery.run(until_empty=True))
        for moment in (1.1, 3.3):
            loop.call_later(moment, lambda: (world.clock.suspend(hours=1), rescue(service)))
        await work

    def rescue(service: Service) -> None:
        assert service.jobs.get("rescue").run() == 0

    run(world.clock, run_with_sleep())
    world.clock.advance(minutes=6)  # what the deadline stopped before its dot is tried again
    deliver(service, world)
    assert states(service) == {"sent": 201}
    assert sorted(Counter(world.arrived).values()) == [1] * 201
    assert cleo.email not in world.arrived
