"""Disasters: what befalls a world at a moment: outages, full disks, reboots, processes that stand still."""

import os
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from mailer import journal
from tests.simulation.clock import SECOND
from tests.simulation.peer import Relay
from tests.simulation.process import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

LONG_OUTAGE, LONG_OUTAGE_SEEN, SEEN_SECONDS = 48 * 3600.0, 4, 8.0


class Disasters:
    """Lets happen what the plan of a world has in store."""

    def __init__(self, world: "World", chance: Random) -> None:
        self.world, self._chance = world, chance
        self.rage = False

    def begin(self) -> None:
        """Let relays be bad from now on, and each disaster come at some moment."""
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
        ):
            for _ in range(times):
                world.after(chance.uniform(0.0, plan.seconds - plan.calm), disaster)

    def outage(self) -> None:
        """Let nobody connect to some relays, or all, for a while."""
        if self.rage:
            how = self._chance.choice(["refused", "silent"])
            for relay in self._chance.sample(
                self.world.relays, self._chance.randint(1, len(self.world.relays))
            ):
                relay.down = how
                self.world.tell(relay.name, f"down: {how}")
                self.world.after(self._chance.choice([3.0, 30.0, 90.0]), self._back, relay)

    def _back(self, relay: Relay) -> None:
        relay.down = ""
        self.world.tell(relay.name, "back")

    def long_outage(self) -> None:
        """Let two days pass without a relay, of which the service sees a few seconds now and then."""
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
        """Let nothing be committed for a while."""
        if self.rage:
            self.world.faults.fill_disk(self._chance.choice([0.3, 3.0, 30.0]))

    def stall(self) -> None:
        """Let a process stand still, as one that was stopped or swapped out."""
        living: list[Process] = self.world.living()
        if living and self.rage:
            process = self._chance.choice(living)
            seconds = self._chance.choice([2.0, 40.0, 50.0, 70.0, 120.0])
            process.stands_until = self.world.clock.ticks + int(seconds * SECOND)
            self.world.stalled = True
            self.world.tell(process.name, f"stands still for {seconds:.0f} s")

    def set_back(self) -> None:
        """Let the wall clock be set back."""
        if self.rage:
            minutes = self._chance.choice([0.05, 2.0, 61.0])
            self.world.clock.shift -= timedelta(minutes=minutes)
            self.world.tell("world", f"the clock is set back by {minutes} minutes")

    def reboot(self) -> None:
        """Let the machine stop at once and come back: what journals held since the last flush may be gone."""
        world = self.world
        if not self.rage:
            return
        world.rebooted = True
        world.tell("world", "reboot")
        for process in world.living():
            process.kill("reboot")
        world.boot = f"{int(world.boot) + 1:036d}"
        for path in sorted((world.stage.folder / journal.FOLDER).glob(f"*{journal.SUFFIX}")):
            self._lose_the_end_of(path)

    def _lose_the_end_of(self, path: Path) -> None:
        fate = self._chance.random()
        if fate < 0.1:
            path.unlink()
        elif fate < 0.7:
            kept = self._chance.choice([0, 64, 128, 160, 512])
            size = path.stat().st_size
            os.truncate(path, min(kept, size))
            os.truncate(path, size)
