"""Worker lease: until when one worker holds its claims and its places at relays.

One lease covers everything that a worker holds, and is renewed long before it ends. The lease of a worker
that was frozen for longer has lapsed: other workers may have taken over its claims. A message that was
composed before the lapse neither begins nor writes its final dot. Such a message may wait long for a reply,
so new claims continue once the lease is renewed.

Time is measured by the clock that runs while the machine sleeps and that cannot be set. It is read each time,
because the time of an event loop may be as old as the freeze that must be noticed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from lists.clock import Clock
from lists.db import Database
from mailer.coordination import leases
from mailer.delivery.relay_pool import RelayPool
from mailer.outbox import due_rows

LEASE = timedelta(seconds=45)
SAFETY_SECONDS = 5.0  # so long before the lease ends no final dot is written any more


@dataclass(kw_only=True)
class WorkerLease:
    """The lease of one worker, which is renewed before `deadline`, by the clock's `elapsed`.

    `on_renewed` is called with the number of claims in the database.
    """

    database: Database
    clock: Clock
    worker: str
    on_renewed: Callable[[int], None]
    pools: Sequence[RelayPool]
    lapsed: bool = field(default=False, init=False)
    deadline: float = field(init=False)
    _void_until: float = field(default=-math.inf, init=False)  # in the loop's time
    _renewal_began_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._renewal_began_at = self.clock.elapsed()
        self.extend()

    def find_dot_deadline(self, composed_at: float) -> float:
        """Return until when a message composed then, in the loop's time, may write its final dot.

        This is inf, or -inf once the lease has lapsed since.
        """
        is_void = self.lapsed or composed_at <= self._void_until
        return -math.inf if is_void or self.clock.elapsed() > self.deadline else math.inf

    def restart(self, now: float) -> None:
        """Continue after a lapse: what was composed until now, in the loop's time, is void for good."""
        self.lapsed = False
        self._void_until = now

    @property
    def may_have_expired(self) -> bool:
        """Whether the lease may have ended: then other workers may have taken over the claims."""
        return self.clock.elapsed() > self.deadline + SAFETY_SECONDS

    def extend(self) -> None:
        """Note that the lease was renewed, as of the moment when the renewal began."""
        self.deadline = self._renewal_began_at + LEASE.total_seconds() - SAFETY_SECONDS

    def renew(self) -> Mapping[RelayPool, int]:
        """Renew the claims; returns the places held at each relay with a limit of connections."""
        with self.database.write() as session:
            self._renewal_began_at, real = self.clock.elapsed(), self.clock.real()
            claim_count = due_rows.renew(session, worker=self.worker, lease_until=real + LEASE)
            places = {
                pool: leases.acquire_places(
                    session,
                    f"connection/{pool.name}",
                    places=pool.shared,
                    most=pool.connections,
                    owner=self.worker,
                    real=real,
                    length=LEASE,
                )
                for pool in self.pools
                if pool.shared
            }
        self.on_renewed(claim_count)
        return places

    def end(self) -> None:
        """Release the places at relays for other workers, now that no connection is open."""
        with self.database.write() as session:
            leases.release_places(session, owner=self.worker, real=self.clock.real())
