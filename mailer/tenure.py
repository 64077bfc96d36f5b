"""Tenure: what one worker holds, its claims and its places at relays, and until when.

Everything it holds has one lease, renewed long before it is over. A worker that stood still for longer has
lapsed: others may have taken what it had claimed, so it begins nothing until all it had begun is recorded.

Time is counted by the clock that goes on while the machine sleeps, and that nobody sets. It is asked anew
each time: an event loop's own time may be as old as the standstill that is to be noticed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from lists.clock import Clock
from lists.db import Database
from mailer import leases, outbox
from mailer.lanes import Lane

LEASE = timedelta(seconds=45)
SAFETY_SECONDS = 5.0  # before the lease is over no final dot is written any more


@dataclass(kw_only=True)
class Tenure:
    """The lease of one worker, which is renewed before `deadline`, by the clock's `elapsed`.

    `renewed` is told how many claims the database knows of.
    """

    database: Database
    clock: Clock
    worker: str
    renewed: Callable[[int], None]
    lanes: Sequence[Lane]
    lapsed: bool = field(default=False, init=False)
    deadline: float = field(init=False)
    _asked: float = field(init=False)

    def __post_init__(self) -> None:
        self._asked = self.clock.elapsed()
        self.extend()

    def until(self) -> float:
        """Return until when a final dot may be written: always, or never any more once the lease was over."""
        return -math.inf if self.lapsed or self.clock.elapsed() > self.deadline else math.inf

    @property
    def late(self) -> bool:
        """Whether the lease may be over: then others may have taken what this worker had claimed."""
        return self.clock.elapsed() > self.deadline + SAFETY_SECONDS

    def extend(self) -> None:
        """Note that the lease was renewed, as of the moment that the question was asked."""
        self.deadline = self._asked + LEASE.total_seconds() - SAFETY_SECONDS

    def renew(self) -> Mapping[Lane, int]:
        """Keep what is claimed; returns the places at relays that take so many connections and no more."""
        with self.database.write() as session:
            self._asked, real = self.clock.elapsed(), self.clock.real()
            claims = outbox.renew(session, worker=self.worker, lease_until=real + LEASE)
            places = {
                lane: leases.hold_places(
                    session,
                    f"connection/{lane.name}",
                    places=lane.shared,
                    most=lane.connections,
                    owner=self.worker,
                    real=real,
                    length=LEASE,
                )
                for lane in self.lanes
                if lane.shared
            }
        self.renewed(claims)
        return places

    def end(self) -> None:
        """Leave the places at relays to other workers, now that no connection is open."""
        with self.database.write() as session:
            leases.release_places(session, owner=self.worker, real=self.clock.real())
