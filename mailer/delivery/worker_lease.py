"""Tenure: what one worker holds, its claims and its places at relays, and until when.

Everything it holds has one lease, renewed long before it is over. A worker that stood still for longer has
lapsed: others may have taken what it had claimed. What was composed before then neither begins nor writes its
final dot any more; it may wait long for an answer, so with the lease renewed fresh claims go on meanwhile.

Time is counted by the clock that goes on while the machine sleeps, and that nobody sets. It is asked anew
each time: an event loop's own time may be as old as the standstill that is to be noticed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from lists.clock import Clock
from lists.db import Database
from mailer.coordination import leases
from mailer.delivery.relay_pool import RelayPool
from mailer.outbox import outbox

LEASE = timedelta(seconds=45)
SAFETY_SECONDS = 5.0  # before the lease is over no final dot is written any more


@dataclass(kw_only=True)
class WorkerLease:
    """The lease of one worker, which is renewed before `deadline`, by the clock's `elapsed`.

    `renewed` is told how many claims the database knows of.
    """

    database: Database
    clock: Clock
    worker: str
    on_renewed: Callable[[int], None]
    pools: Sequence[RelayPool]
    lapsed: bool = field(default=False, init=False)
    deadline: float = field(init=False)
    _void_until: float = field(default=-math.inf, init=False)  # by the loop's time
    _asked_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._asked_at = self.clock.elapsed()
        self.extend()

    def find_dot_deadline(self, composed_at: float) -> float:
        """Return until when what was composed then, by the loop's time, may write its final dot.

        That is always, or never any more once the lease was over.
        """
        void = self.lapsed or composed_at <= self._void_until
        return -math.inf if void or self.clock.elapsed() > self.deadline else math.inf

    def restart(self, now: float) -> None:
        """Go on after a lapse: what was composed until now, by the loop's time, is void for good."""
        self.lapsed = False
        self._void_until = now

    @property
    def may_have_expired(self) -> bool:
        """Whether the lease may be over: then others may have taken what this worker had claimed."""
        return self.clock.elapsed() > self.deadline + SAFETY_SECONDS

    def extend(self) -> None:
        """Note that the lease was renewed, as of the moment that the question was asked."""
        self.deadline = self._asked_at + LEASE.total_seconds() - SAFETY_SECONDS

    def renew(self) -> Mapping[RelayPool, int]:
        """Keep what is claimed; returns the places at relays that take so many connections and no more."""
        with self.database.write() as session:
            self._asked_at, real = self.clock.elapsed(), self.clock.real()
            claims = outbox.renew(session, worker=self.worker, lease_until=real + LEASE)
            places = {
                lane: leases.acquire_places(
                    session,
                    f"connection/{lane.name}",
                    places=lane.shared,
                    most=lane.connections,
                    owner=self.worker,
                    real=real,
                    length=LEASE,
                )
                for lane in self.pools
                if lane.shared
            }
        self.on_renewed(claims)
        return places

    def end(self) -> None:
        """Leave the places at relays to other workers, now that no connection is open."""
        with self.database.write() as session:
            leases.release_places(session, owner=self.worker, real=self.clock.real())
