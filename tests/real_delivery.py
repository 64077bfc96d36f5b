"""A worker on the real clock, real event loops and a real connection to a relay on this machine."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lists.clock import Clock
from mailer.delivery.delivery import Delivery
from mailer.delivery.journal import FOLDER, Journal
from mailer.delivery.relay_pool import RelayPool
from mailer.service import Service
from mailer.smtp.connection import SmtpConnection, Timeouts
from mailer.smtp.rate import Rate, parse_per_domain
from mailer.smtp.relay_settings import Relay
from tests.loops import LOOPS


class RealTime(Clock):
    """The service's time for rows, with the machine's own for leases and slots."""

    def __init__(self, service: Service) -> None:
        self._service = service
        super().__init__()
        self._began = Clock().now()

    def now(self) -> Any:
        """Return the service's time, advanced since this was made."""
        return self._service.clock.now() + (Clock().now() - self._began)


def real_worker(
    service: Service,
    port: int,
    *,
    connections: int = 10,
    shared: int | None = None,
    rate: str | None = None,
    domains: Sequence[str] = (),
    name: str = "worker",
    patience: Timeouts | None = None,
) -> Delivery:
    """Return a worker that delivers to the relay at this port."""
    relay = Relay(host="127.0.0.1", port=port, tls="none")
    pool = RelayPool(
        name=relay.name,
        connect=lambda: SmtpConnection(relay, helo="lists.example", timeouts=patience),
        connections=connections,
        rate=Rate.parse(rate) if rate else None,
        shared=shared,
    )
    return Delivery(
        database=service.database,
        clock=RealTime(service),
        composer=service.composer,
        pools=[pool],
        executor=ThreadPoolExecutor(1),
        journal=Journal(service.settings.home / FOLDER, worker=name),
        worker=name,
        domains=parse_per_domain(domains),
    )


def deliver_all(delivery: Delivery, loop: str) -> list[str]:
    """Deliver until nothing is due; returns the errors of the event loop."""
    return deliver_while(delivery, loop, lambda: delivery.run(until_empty=True))


def deliver_while(delivery: Delivery, loop: str, work: Callable[[], Awaitable[None]]) -> list[str]:
    """Run `work` under this kind of event loop; returns the errors of the loop."""
    faults: list[str] = []

    async def run_watched() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: faults.append(f"{context['message']} {context.get('exception')!r}")
        )
        await work()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run_watched())
    delivery.executor.shutdown()
    return faults


async def until(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds that another thread changes."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.02)
