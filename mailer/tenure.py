"""Tenure: what one worker holds, its claims and its places at relays, and until when.

Everything it holds has one lease, renewed long before it is over. A worker that stood still for longer has
lapsed: others may have taken what it had claimed, so it begins nothing until all it had begun is recorded.
"""

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
    """The lease of one worker, which is renewed before `deadline`, by `time`."""

    database: Database
    clock: Clock
    worker: str
    lanes: Sequence[Lane]
    time: Callable[[], float]
    lapsed: bool = field(default=False, init=False)
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self.extend(self.time())

    def until(self) -> float:
        """Return until when a final dot may be written: never, once the lease was over."""
        return float("-inf") if self.lapsed else self.deadline

    @property
    def late(self) -> bool:
        """Whether the lease may be over: then others may have taken what this worker had claimed."""
        return self.time() > self.deadline + SAFETY_SECONDS

    def extend(self, asked: float) -> None:
        """Note that the lease was renewed by a question asked at this moment."""
        self.deadline = asked + LEASE.total_seconds() - SAFETY_SECONDS

    def renew(self) -> Mapping[Lane, int]:
        """Keep what is claimed; returns the places at relays that take so many connections and no more."""
        with self.database.write() as session:
            real = self.clock.real()
            outbox.renew(session, worker=self.worker, lease_until=real + LEASE)
            return {
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

    def end(self) -> None:
        """Leave the places at relays to other workers, now that no connection is open."""
        with self.database.write() as session:
            leases.release_places(session, owner=self.worker, real=self.clock.real())
