"""The network of a simulated world: a transport for asyncio whose other end is a simulated relay.

A write goes to the kernel at once, or partly, and then the rest a little later. What the kernel has taken
arrives, whatever becomes of the process; what it has not taken dies with the process, or with an abort.
"""

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any, cast

from tests.simulation.clock import SECOND

if TYPE_CHECKING:
    from tests.simulation.peer import Relay
    from tests.simulation.process import Process
    from tests.simulation.world import World

SLOW_KERNEL = 0.003  # seconds until the kernel takes the rest of a write
PART = 0.05  # how often it does not take all at once


class Network:
    """Connects processes with relays, by "host:port"."""

    def __init__(self, world: "World", chance: Random) -> None:
        self.world, self.chance = world, chance
        self.relays: dict[str, Relay] = {}

    async def connect(self, process: "Process", factory: Any, address: str) -> tuple["Wire", Any]:
        """Open a connection, as an event loop does."""
        process.step("connect")
        relay = self.relays[address]
        door = relay.door()
        await asyncio.sleep(relay.latency)
        if door == "refused":
            raise ConnectionRefusedError(111, "Connection refused")
        if door == "silent":
            await asyncio.get_running_loop().create_future()
        protocol = factory()
        wire = Wire(process, relay, protocol)
        process.wires.append(wire)
        protocol.connection_made(wire)
        return wire, protocol


class Wire(asyncio.Transport):
    """One connection: what the client's event loop calls a transport, and both directions of the network."""

    def __init__(self, process: "Process", relay: "Relay", protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.process, self.world, self._protocol = process, process.world, protocol
        self._chance = self.world.network.chance
        self._latency = relay.latency
        self._held = bytearray()  # written, but not taken by the kernel yet
        self._closing = False  # the client is done with it
        self._gone = False  # the client was told that it is lost
        self._there = self._back = 0  # when the last octet on its way arrives, in ticks
        self.session = relay.accept(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Hand octets to the kernel; a step of the process before and after."""
        decided = self.world.clock.ticks  # a process that stands still in the step decided before
        self.process.step("network: before a write")
        if not self._closing:
            self._held += data
            taken = len(self._held)
            if self._chance.random() < PART:
                taken = self._chance.randrange(taken + 1)
                self.world.after(SLOW_KERNEL, self._flush)
            self._take(taken, decided)
        self.process.step("network: after a write")

    def _flush(self) -> None:
        if not self.process.dead:
            self._take(len(self._held), self.world.clock.ticks)

    def _take(self, size: int, decided: int) -> None:
        if size:
            data = bytes(self._held[:size])
            del self._held[:size]
            self._there = self._arrival(self._there)
            self.world.at(self._there, self.session.receive, data, decided)

    def _arrival(self, last: int) -> int:
        """Return when what leaves now arrives: after what left before."""
        travel = self._latency * (0.5 + self._chance.random())
        return max(last + 1, self.world.clock.ticks + int(travel * SECOND))

    def close(self) -> None:
        """Close once everything written has left."""
        if not self._closing and not self.process.dead:
            self._take(len(self._held), self.world.clock.ticks)
            self._end()

    def abort(self) -> None:
        """Close at once; what the kernel has not taken is never sent."""
        if not self._closing and not self.process.dead:
            self._held.clear()
            self._end()

    def owner_died(self) -> None:
        """Do what the kernel does when the process is gone."""
        if not self._closing:
            self._closing = True
            self._held.clear()
            self._hang_up()

    def _end(self) -> None:
        self._closing = True
        self._hang_up()
        self._lose(None)

    def _hang_up(self) -> None:
        self._there = self._arrival(self._there)
        self.world.at(self._there, self.session.hung_up)

    def _lose(self, trouble: Exception | None) -> None:
        if not self._gone:
            self._gone = True
            self.process.loop.call_soon(self._protocol.connection_lost, trouble)
            self.process.loop.wake()

    def answer(self, data: bytes, *, delay: float = 0.0) -> None:
        """Send octets from the relay to the client."""
        self._back = self._arrival(self._back) + int(delay * SECOND)
        self.world.at(self._back, self._hear, data)

    def drop(self, *, reset: bool, delay: float = 0.0) -> None:
        """End the connection from the relay's side, gracefully or by a reset."""
        self._back = self._arrival(self._back) + int(delay * SECOND)
        self.world.at(self._back, self._dropped, reset)

    def give_up(self, *, lost: bool) -> None:
        """Let the relay end a connection on which it heard nothing for long; its reset may be lost."""
        self.session.hung_up()
        if not lost:
            self.drop(reset=True)

    def _hear(self, data: bytes) -> None:
        if not (self._closing or self.process.dead):
            self.process.loop.call_soon(self._protocol.data_received, data)
            self.process.loop.wake()

    def _dropped(self, reset: bool) -> None:
        if self._closing or self.process.dead:
            return
        self._closing = True
        if reset:
            self._lose(ConnectionResetError(104, "Connection reset by peer"))
            return
        self.process.loop.call_soon(self._protocol.eof_received)
        self._lose(None)

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return len(self._held)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_reading(self) -> bool:
        return not self._closing

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass
