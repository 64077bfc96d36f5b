"""Wire: the network of a simulated world: an asyncio transport whose other end is a simulated relay.

A write reaches the kernel at once, or partly, and then the rest a little later. Octets that the kernel has
accepted arrive, even if the process ends; other octets are lost with the process, or with an abort.
"""

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any, cast

from tests.simulation.clock import SECOND

if TYPE_CHECKING:
    from tests.simulation.peer import Relay
    from tests.simulation.process import Process
    from tests.simulation.world import World

SLOW_KERNEL = 0.003  # seconds until the kernel accepts the rest of a write
PART = 0.05  # the probability that it accepts only a part at once


class Network:
    """Connects processes with relays, by "host:port"."""

    def __init__(self, world: "World", chance: Random) -> None:
        self.world, self.chance = world, chance
        self.relays: dict[str, Relay] = {}

    async def connect(self, process: "Process", factory: Any, address: str) -> tuple["Wire", Any]:
        """Open a connection, as an event loop does."""
        process.step("connect")
        relay = self.relays[address]
        state = relay.connection_state()
        await asyncio.sleep(relay.latency)
        if state == "refused":
            raise ConnectionRefusedError(111, "Connection refused")
        if state == "silent":
            await asyncio.get_running_loop().create_future()
        protocol = factory()
        wire = Wire(process, relay, protocol)
        process.wires.append(wire)
        protocol.connection_made(wire)
        return wire, protocol


class Wire(asyncio.Transport):
    """One connection: the transport of the client's event loop, and both directions of the network."""

    def __init__(self, process: "Process", relay: "Relay", protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.process, self.world, self._protocol = process, process.world, protocol
        self._chance = self.world.network.chance
        self._latency = relay.latency
        self._unsent = bytearray()  # written, but not accepted by the kernel yet
        self._closing = False  # the client has closed it
        self._is_lost = False  # connection_lost has been called
        self._relay_arrival = self._client_arrival = 0  # when the last octet in transit arrives, in ticks
        self.session = relay.accept(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Pass octets to the kernel; a step of the process before and after."""
        decided = self.world.clock.ticks  # a process that stops in the step decided before
        self.process.step("network: before a write")
        if not self._closing:
            self._unsent += data
            size = len(self._unsent)
            if self._chance.random() < PART:
                size = self._chance.randrange(size + 1)
                self.world.after(SLOW_KERNEL, self._flush)
            self._take(size, decided)
        self.process.step("network: after a write")

    def _flush(self) -> None:
        if not self.process.dead:
            self._take(len(self._unsent), self.world.clock.ticks)

    def _take(self, size: int, decided: int) -> None:
        if size:
            data = bytes(self._unsent[:size])
            del self._unsent[:size]
            self._relay_arrival = self._arrival(self._relay_arrival)
            self.world.at(self._relay_arrival, self.session.receive, data, decided)

    def _arrival(self, last: int) -> int:
        """Return when octets sent now arrive: after those sent before."""
        travel = self._latency * (0.5 + self._chance.random())
        return max(last + 1, self.world.clock.ticks + int(travel * SECOND))

    def close(self) -> None:
        """Close once all written octets are sent."""
        if not self._closing and not self.process.dead:
            self._take(len(self._unsent), self.world.clock.ticks)
            self._end()

    def abort(self) -> None:
        """Close at once; octets that the kernel has not accepted are never sent."""
        if not self._closing and not self.process.dead:
            self._unsent.clear()
            self._end()

    def owner_died(self) -> None:
        """Close the connection as the kernel does when the process ends."""
        if not self._closing:
            self._closing = True
            self._unsent.clear()
            self._hang_up()

    def _end(self) -> None:
        self._closing = True
        self._hang_up()
        self._lose(None)

    def _hang_up(self) -> None:
        self._relay_arrival = self._arrival(self._relay_arrival)
        self.world.at(self._relay_arrival, self.session.note_close)

    def _lose(self, trouble: Exception | None) -> None:
        if not self._is_lost:
            self._is_lost = True
            self.process.loop.call_soon(self._protocol.connection_lost, trouble)
            self.process.loop.wake()

    def answer(self, data: bytes, *, delay: float = 0.0) -> None:
        """Send octets from the relay to the client."""
        self._client_arrival = self._arrival(self._client_arrival) + int(delay * SECOND)
        self.world.at(self._client_arrival, self._deliver_to_client, data)

    def drop(self, *, reset: bool, delay: float = 0.0) -> None:
        """End the connection from the relay's side, gracefully or by a reset."""
        self._client_arrival = self._arrival(self._client_arrival) + int(delay * SECOND)
        self.world.at(self._client_arrival, self._end_by_relay, reset)

    def give_up(self, *, lost: bool) -> None:
        """Let the relay end an idle connection; its reset may be lost."""
        self.session.note_close()
        if not lost:
            self.drop(reset=True)

    def _deliver_to_client(self, data: bytes) -> None:
        if not (self._closing or self.process.dead):
            self.process.loop.call_soon(self._protocol.data_received, data)
            self.process.loop.wake()

    def _end_by_relay(self, reset: bool) -> None:
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
        return len(self._unsent)

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
