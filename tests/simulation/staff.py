"""Staff: suspend mail to a relay or a domain for a while, and resume it."""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from mailer.coordination import suspensions
from mailer.coordination.suspensions import DOMAIN_SCOPE, RELAY_SCOPE
from mailer.service import Service
from tests.simulation.neighbors import DOMAINS

if TYPE_CHECKING:
    from tests.simulation.world import World

LONGEST = 20.0  # seconds


class Staff:
    """The staff of one world."""

    def __init__(self, world: "World", chance: Random) -> None:
        self.world, self._chance = world, chance

    def schedule_actions(self) -> None:
        """Schedule the pauses; not in the calm, when confirmations must be quick."""
        plan = self.world.plan
        for _ in range(plan.pauses):
            self.world.after(self._chance.uniform(plan.calm, plan.seconds), self.pause)

    def pause(self) -> None:
        """Suspend mail to a relay, or to a domain of recipients."""
        scopes = [f"{RELAY_SCOPE}{relay.name}:25" for relay in self.world.relays]
        scope = self._chance.choice([*scopes, *(f"{DOMAIN_SCOPE}{domain}" for domain in DOMAINS)])
        length = self._chance.uniform(0.5, LONGEST)

        def work(session: Session, service: Service) -> Callable[[], None]:
            suspensions.begin_by_staff(session, scope, real=self.world.clock.real())
            return lambda: self.world.witness.pause(scope)

        self.world.neighbors.do(f"staff pause {scope}", 0, work)
        self.world.after(length, self.resume, scope)

    def resume(self, scope: str) -> None:
        """Resume mail to this relay or domain."""
        self.world.neighbors.do(f"staff resume {scope}", 0, lambda session, _: self._resumed(session, scope))

    def resume_all(self) -> None:
        """Resume all mail, in a world that is healed."""
        with self.world.serve.service.database.write() as session:
            for scope in list(self.world.witness.pauses):
                self._resumed(session, scope)()

    def _resumed(self, session: Session, scope: str) -> Callable[[], None]:
        suspensions.end(session, scope)
        return lambda: self.world.witness.resume_pause(scope)
