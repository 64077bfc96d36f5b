"""Disasters: faults of a world at single moments: outages, full disks, reboots, stopped processes."""

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from mailer.delivery import journal
from tests.simulation.clock import SECOND
from tests.simulation.neighbors import address_of
from tests.simulation.peer import Relay
from tests.simulation.process import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

STANDS = (2.0, 50.0, 70.0, 120.0)  # seconds; a lease has 45
SOON = 60  # steps from the moment of a disaster to the step at which a process stops for a while
SUSPENDED = (timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1))
LONG_OUTAGE, LONG_OUTAGE_SEEN, SEEN_SECONDS = 48 * 3600.0, 4, 8.0


class Disasters:
    """Causes the disasters in the plan of a world."""

    def __init__(self, world: "World", chance: Random) -> None:
        self.world, self._chance = world, chance
        self.rage = False

    def begin(self) -> None:
        """Let relays fail from now on, and schedule each disaster at a random moment."""
        world, plan, chance = self.world, self.world.plan, self._chance
        self.rage = True
        for relay in world.relays:
            relay.often = plan.mishap_often
        world.faults.begin()
        for process in world.living():
            process.dies_at = world.dies_after(process.steps)
        for disaster, times in (
            (self.outage, plan.outages),
            (self.full_disk, plan.full_disks),
            (self.reboot, plan.reboots),
            (self.stall, plan.stalls),
            (self.set_back, plan.set_backs),
            (self.suspend, plan.suspensions),
            (self.freeze, plan.freezes),
            (self.pause_machine, plan.machine_pauses),
        ):
            for _ in range(times):
                world.after(chance.uniform(0.0, plan.seconds - plan.calm), disaster)

    def stall_recipients(self) -> None:
        """Let relays never answer for some readers, from the beginning and until the world is healed."""
        world = self.world
        numbers = self._chance.sample(world.neighbors.numbers, min(world.plan.stalled, world.plan.people))
        for relay in world.relays:
            relay.stalled = frozenset(address_of(number).email for number in numbers)

    def outage(self) -> None:
        """Let no client connect to some relays, or all, for a while."""
        if self.rage:
            how = self._chance.choice(["refused", "silent"])
            for relay in self._chance.sample(
                self.world.relays, self._chance.randint(1, len(self.world.relays))
            ):
                relay.down = how
                self.world.tell(relay.name, f"down: {how}")
                self.world.after(self._chance.choice([3.0, 30.0, 90.0]), self._reconnect, relay)

    def _reconnect(self, relay: Relay) -> None:
        relay.down = ""
        self.world.tell(relay.name, "back")

    def long_outage(self) -> None:
        """Let two days pass without a relay; the service runs for a few seconds now and then."""
        world = self.world
        for relay in world.relays:
            relay.down = "refused"
        world.tell("world", "no relay for 48 hours")
        for _ in range(LONG_OUTAGE_SEEN):
            for process in world.living():
                process.kill("switched off")
            world.clock.sleep(LONG_OUTAGE / LONG_OUTAGE_SEEN)
            world.go_on(until=world.clock.ticks + int(SEEN_SECONDS * SECOND))

    def full_disk(self) -> None:
        """Let every commit fail for a while."""
        if self.rage:
            self.world.faults.fill_disk(self._chance.choice([0.3, 3.0, 30.0]))

    def stall(self) -> None:
        """Stop a process for a while, as if it were swapped out."""
        living: list[Process] = self.world.living()
        if living and self.rage:
            process = self._chance.choice(living)
            seconds = self._chance.choice([2.0, 40.0, 50.0, 70.0, 120.0])
            until = self.world.clock.ticks + int(seconds * SECOND)
            process.stands_until = max(process.stands_until, until)
            self.world.stalled = True
            self.world.tell(process.name, f"stands still for {seconds:.0f} s")

    def freeze(self) -> None:
        """Stop a process for a while in the middle of a step, as by SIGSTOP."""
        self._stand_still(self.world.living(), self._chance.choice(STANDS), paused=False)

    def pause_machine(self) -> None:
        """Pause the virtual machine of one worker: its monotonic time stops meanwhile."""
        self._stand_still([process for process in self.world.works if not process.dead], 0.0, paused=True)

    def _stand_still(self, living: Sequence[Process], seconds: float, *, paused: bool) -> None:
        world, chance = self.world, self._chance
        if not living or not self.rage:
            return
        process = chance.choice(living)
        seconds = seconds or chance.choice(STANDS)

        def now() -> None:
            world.stalled = True
            world.tell(process.name, f"stands still for {seconds:.0f} s, step {process.steps}")
            process.stand_still(seconds)
            process.slept += int(seconds * SECOND) if paused else 0
            world.tell(process.name, "goes on")

        process.stands_at, process.stands_still = process.steps + chance.randint(1, SOON), now

    def suspend(self) -> None:
        """Suspend the whole machine: only the wall clock and CLOCK_BOOTTIME continue.

        Relays close the connections meanwhile; their reset arrives at waking, or is lost. One process, in the
        middle of a step, wakes later than the others.
        """
        world, chance = self.world, self._chance
        living = world.living()
        if not living or not self.rage:
            return
        process, length, later = chance.choice(living), chance.choice(SUSPENDED), chance.uniform(0.0, 8.0)

        def now() -> None:
            world.tell("world", f"suspended for {length}; {process.name} wakes {later:.1f} s later")
            world.stalled = True
            world.clock.shift += length
            world.clock.asleep += length
            for member in world.living():
                for wire in member.wires:
                    wire.give_up(lost=chance.random() < 0.3)
            process.stand_still(later)

        process.stands_at, process.stands_still = process.steps + chance.randint(1, SOON), now

    def set_back(self) -> None:
        """Set the wall clock back."""
        if self.rage:
            minutes = self._chance.choice([0.05, 2.0, 61.0])
            self.world.clock.shift -= timedelta(minutes=minutes)
            self.world.set_back = True
            self.world.tell("world", f"the clock is set back by {minutes} minutes")

    def reboot(self) -> None:
        """Stop the machine at once and start it again: journal lines since the last flush may be lost."""
        world = self.world
        if not self.rage:
            return
        world.rebooted = True
        world.tell("world", "reboot")
        for process in world.living():
            process.kill("reboot")
        world.boot = f"{int(world.boot) + 1:036d}"
        for home in world.stage.homes:
            for path in sorted((home / journal.FOLDER).glob(f"*{journal.SUFFIX}")):
                self._lose_the_end_of(path)

    def _lose_the_end_of(self, path: Path) -> None:
        draw = self._chance.random()
        if draw < 0.1:
            path.unlink()
        elif draw < 0.7:
            size_left = self._chance.choice([0, 64, 128, 160, 512])
            size = path.stat().st_size
            os.truncate(path, min(size_left, size))
            os.truncate(path, size)
