"""World: the real service, its relays and its neighbors, on one clock and under one seed.

The next event in virtual time runs next: an item of the agenda, or a process that wakes. In the end the world
is healed, and then each promise must have been kept.
"""

import heapq
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from tests.simulation import restores
from tests.simulation.clock import SECOND, WorldClock
from tests.simulation.disasters import Disasters
from tests.simulation.duties import Serve, Work
from tests.simulation.faults import Faults
from tests.simulation.neighbors import DOMAINS, Neighbors
from tests.simulation.peer import Relay
from tests.simulation.plan import Plan
from tests.simulation.process import Killed, Process
from tests.simulation.staff import Staff
from tests.simulation.stage import FAULTS_OF_OURS, RELAYS, Stage
from tests.simulation.wire import Network
from tests.simulation.witness import Witness

PATIENCE = 1_200.0  # seconds within which a worker that was told to stop must have stopped
CLOSING = ("rescue", "release-held", "expire")  # the jobs that bring rows to a final state
ROUNDS = 130  # of delivery after the healing; claims of an ended worker wait for a clock set back twice
LEASE_OVER = 61.0  # seconds
SOON = 30.0  # seconds; a row that waits for the limit of its domain is due sooner
DUE_SOON = """SELECT id FROM outbox WHERE (state = 'sending' AND worker = ?)
              OR (state = 'queued' AND due_at < ?) LIMIT 1"""


class Broken(AssertionError):
    """A promise was broken; the sentence says which."""


class World:
    """All parts of one seed's world; `run` runs it and raises Broken."""

    def __init__(self, seed: int, stage: Stage, **plan: Any) -> None:
        self.seed, self.stage = seed, stage
        self.plan = replace(Plan.of(self.chance("plan")), **plan)
        self.clock = WorldClock()
        self.trace: list[str] = []
        self.broken = ""
        self.healed = False
        self.boot = "0" * 35 + "1"
        self.rebooted = self.stalled = self.set_back = False
        self.may_be_unknown = 0
        self.name_chance = self.chance("names")
        self._agenda: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = self._generation = 0
        self._everyone: list[Process] = []
        self._deaths = self.chance("deaths")
        stage.clear()
        stage.world = self
        self.witness = Witness(self, stage.file)
        self.faults = Faults(self, self.chance("faults"))
        self.network = Network(self, self.chance("network"))
        self.neighbors = Neighbors(self, self.chance("neighbors"))
        self.staff = Staff(self, self.chance("staff"))
        self.relays = [self._relay(host) for host, _ in zip(RELAYS, self.plan.weights, strict=False)]
        for relay in self.relays:
            self.witness.limit(relay.name, self.plan.rate)
        for domain in DOMAINS:
            self.witness.limit(domain, self.plan.domain_rate)
        self.disasters = Disasters(self, self.chance("disasters"))
        self.works: list[Work] = []
        self.serve: Serve

    def _relay(self, host: str) -> Relay:
        relay = Relay(
            self,
            host,
            chance=self.chance(host),
            latency=self.plan.latency,
            kinds=self.plan.mishaps,
            pipelining=self.plan.pipelining,
        )
        self.network.relays[f"{host}:25"] = relay
        return relay

    def chance(self, what: str) -> Random:
        """Return a separate random generator for a part of the world."""
        return Random(f"{self.seed} {what}")

    @property
    def is_calm(self) -> bool:
        """Return whether there was no fault so far, and no message need wait for a limit."""
        unlimited = not (self.plan.rate or self.plan.domain_rate)
        return unlimited and self.clock.ticks < int(self.plan.calm * SECOND)

    def tell(self, who: str, what: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.clock.monotonic():12.6f} {who}: {what}")

    def breaks(self, sentence: str) -> None:
        """Report a broken promise; the first one ends the world."""
        self.broken = self.broken or sentence
        self.tell("BROKEN", sentence)

    def logged(self, event: MutableMapping[str, Any]) -> None:
        """Receive a line of the product's log."""
        words = str(event["event"])
        if words.startswith(FAULTS_OF_OURS):
            self.breaks(f"the log says: {words}: {event.get('exc_info')!r} {event}")

    def after(self, seconds: float, act: Callable[..., None], *args: Any) -> None:
        """Schedule a call after this many seconds."""
        self.at(self.clock.ticks + int(seconds * SECOND), act, *args)

    def at(self, ticks: int, act: Callable[..., None], *args: Any) -> None:
        """Schedule a call at this moment."""
        self._number += 1
        heapq.heappush(self._agenda, (ticks, self._number, act, args))

    def living(self) -> list[Process]:
        """Return every running process."""
        return [process for process in (self.serve, *self.works) if not process.dead]

    def died(self, process: Process) -> None:
        """Note the end of a process; before the healing it is soon started anew."""
        if isinstance(process, Work) and process.journal is not None:
            self.may_be_unknown += process.connected * (not process.ended)
        if not self.healed:
            self.after(self._deaths.choice([0.02, 0.5, 3.0]), self.start_again, process)

    def start_again(self, process: Process) -> None:
        """Start the replacement of a process that ended."""
        if self.healed:
            return
        if isinstance(process, Work):
            self.works.remove(process)
            self.start_work(home=process.home)
        else:
            self.start_serve()

    def start_serve(self) -> None:
        """Start the process that runs the jobs."""
        self.serve = Serve(self, self._name("serve"), dies_at=self.dies_after(0))
        self._everyone.append(self.serve)
        with suppress(Killed):
            self.serve.begin()

    def start_work(self, *, until_empty: bool = False, home: Path | None = None) -> Work:
        """Start a process that delivers, on the machine with this data folder."""
        work = Work(self, self._name("work"), dies_at=self.dies_after(0))
        work.home = home or self.stage.folder
        self._everyone.append(work)
        self.works.append(work)
        self.tell(work.name, "started")
        work.begin(until_empty=until_empty)
        return work

    def _name(self, what: str) -> str:
        self._generation += 1
        return f"{what}.{self._generation}"

    def dies_after(self, steps: int) -> int:
        """Return the step after this one at which a process is killed; 0 for none."""
        if not self.disasters.rage or self._deaths.random() >= self.plan.kill_often:
            return 0
        return steps + self._deaths.randint(1, self.plan.kill_within)

    def run(self) -> None:
        """Run the world; raises Broken with the first broken promise."""
        try:
            self._live()
            self._heal()
            self._drain()
            for sentence in self.witness.check_end():
                self.breaks(sentence)
            self._judge()
            if self.plan.restore:
                restores.try_one(self, self.chance("restore"))
                self._judge()
        finally:
            self.close()

    def close(self) -> None:
        """Release everything, without further output of any process."""
        for process in self._everyone:
            process.dead = True
            if process.journal is not None:
                process.journal.release_file()
            process.loop.close()
        self.witness.close()
        self._everyone.clear()
        self.works.clear()
        self._agenda.clear()
        del self.serve
        self.stage.world = None

    def _live(self) -> None:
        self.start_serve()
        self.neighbors.subscribe_people(self.serve.service)
        for number in range(self.plan.workers):
            self.start_work(home=self.stage.homes[number % 2 if self.plan.apart else 0])
        self.neighbors.schedule_actions()
        self.disasters.stall_recipients()
        self.staff.schedule_actions()
        self.at(int(self.plan.calm * SECOND), self.disasters.begin)
        self.go_on(until=self.clock.ticks + int(self.plan.seconds * SECOND))
        if self.plan.long_outage:
            self.disasters.long_outage()

    def _heal(self) -> None:
        self.tell("world", "healed")
        self.healed = True
        self.neighbors.acting = self.disasters.rage = False
        self.faults.heal()
        for relay in self.relays:
            relay.often, relay.down, relay.stalled = 0.0, "", frozenset()
        for process in self.living():
            process.dies_at = process.stands_at = process.stands_until = 0
        if self.serve.dead:
            self.start_serve()
        self.staff.resume_all()
        stopping = [work for work in self.works if not work.dead]
        if self._deaths.random() < 0.3:
            for work in stopping:
                work.kill("in the end")
            return
        for work in stopping:
            work.delivery.stop()
            work.loop.wake()
        limit = self.clock.ticks + int(PATIENCE * SECOND)
        self.go_on(until=limit, unless=lambda: all(work.dead for work in stopping))
        for work in stopping:
            if not work.dead:
                self.breaks(f"{work.name} was told to stop and did not within {PATIENCE:.0f} s")

    def _drain(self) -> None:
        jobs = self.serve.service.jobs
        for home in self.stage.homes if self.plan.apart else ():  # for outcomes in the journals elsewhere
            self._deliver_what_is_due(home)
        self.serve.run(jobs.tick)
        while self.witness.ask("SELECT id FROM broadcasts WHERE state = 'filling'"):
            self.serve.run(jobs.get("fill-broadcast").run)  # one update after the other
        for _ in range(ROUNDS):
            for name in CLOSING:
                self.serve.run(jobs.get(name).run)
            self._deliver_what_is_due()
            self._judge()
            open_rows = self.witness.ask(
                "SELECT state, min(due_at) FROM outbox WHERE state IN ('queued', 'sending') GROUP BY state"
            )
            if not open_rows:
                return
            self.go_on(until=self.clock.ticks + int(LEASE_OVER * SECOND))
            self._jump(dict(open_rows).get("queued"))

    def _deliver_what_is_due(self, home: Path | None = None) -> None:
        """Run one worker; it ends by itself, or where there are limits when no row is due soon."""
        limited = bool(self.plan.rate or self.plan.domain_rate)
        work = self.start_work(until_empty=not limited, home=home)
        limit = self.clock.ticks + int(PATIENCE * SECOND)

        def has_ended() -> bool:
            return work.dead or (
                limited and not self.witness.ask(DUE_SOON, work.name, self.witness.stored(SOON))
            )

        self.go_on(until=limit, unless=has_ended)
        if self.clock.ticks >= limit:
            self.breaks(f"{work.name} found no end within {PATIENCE:.0f} s")
        if not work.dead:
            work.delivery.stop()
            work.loop.wake()
            self.go_on(until=self.clock.ticks + int(PATIENCE * SECOND), unless=lambda: work.dead)

    def _jump(self, due: int | None) -> None:
        """Run the world until the next row is due."""
        if due is not None:
            late = self.clock.at(self.witness.moment(due))
            self.go_on(until=max(late, self.clock.ticks))

    def go_on(self, *, until: int, unless: Callable[[], bool] = lambda: False) -> None:
        """Run one event after the other, until a moment or until `unless` holds."""
        while not unless():
            self._judge()
            first = min(self.works, key=lambda work: work.wakes, default=None)
            wakes = until if first is None else first.wakes
            planned = self._agenda[0][0] if self._agenda else until
            moment = min(wakes, planned)
            if moment >= until:
                self.clock.ticks = max(until, self.clock.ticks)
                return
            self.clock.ticks = max(moment, self.clock.ticks)
            if planned <= wakes:
                _, _, act, args = heapq.heappop(self._agenda)
                with suppress(Killed):
                    act(*args)
            elif first is not None:
                first.turn()

    def _judge(self) -> None:
        if self.broken:
            raise Broken(self.broken)
