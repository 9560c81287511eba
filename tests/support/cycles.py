"""A service of several servers, or processes, of which something fails at random moments while people talk and read."""

import asyncio
import os
import random
import signal
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from itertools import pairwise

from livecaption.client import Reconnected, Reconnecting, StreamEvent, transcribe
from livecaption.events import End, Final, Gap, Ready, SpeechStart
from tests.support.eventually import eventually
from tests.support.processes import ServerProcess, assert_clean_end, serving
from tests.support.relay import Relay, relay_to_database
from tests.support.restarts import SETTINGS, SPEED, TALK, Reader, finals_of, paced
from tests.support.siblings import pids

N_PUBLISHERS = 8
N_READERS = 20
"""Readers of each publisher."""
TALK_S = len(TALK) / 32_000 / SPEED
HELD_S = 10.0
"""Time for which a server hangs, or is cut off from the database."""
LOOK_S = 2.0
"""Time after which HAProxy has seen that a server is back. It looks each second."""
WITHIN_S = 90.0
NO_DATABASE = "no database"
EARLY = "captions are sent before they are stored"

StoredTexts = Callable[[str], list[tuple[int, str]]]
Fault = Callable[[random.Random], Awaitable[None]]


@dataclass
class Talk:
    """One publisher with readers, and what they got. The last utterance waits for `ends`."""

    url: str
    trusted: ssl.SSLContext | None
    n_readers: int
    ends: asyncio.Event | None = None
    events: list[StreamEvent] = field(default_factory=list)
    lost_s: list[float] = field(default_factory=list)
    reconnected_s: list[float] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)

    async def run(self) -> None:
        """Talk until the end, and read until the readers have all of it."""
        audio = paced(self.ends)
        talking = asyncio.ensure_future(transcribe(self.url, audio, self._receive, SETTINGS, ssl=self.trusted))
        await eventually(lambda: self.events or talking.done(), WITHIN_S)
        self.readers = [Reader(self.url, self.session, self.trusted) for _ in range(self.n_readers)]
        async with asyncio.timeout(WITHIN_S):
            await asyncio.gather(talking, *(reader.run() for reader in self.readers))

    @property
    def session(self) -> str:
        """The id of its session."""
        ready = self.events[0]
        assert isinstance(ready, Ready), ready
        return ready.session

    @property
    def finals(self) -> list[Final]:
        """Its finals, of each utterance the newest."""
        return list({final.utterance: final for final in finals_of(self.events)}.values())

    @property
    def texts(self) -> list[tuple[int, str]]:
        """The numbers and texts of its finals."""
        return [(final.utterance, final.text) for final in self.finals]

    def _receive(self, event: StreamEvent) -> None:
        self.events.append(event)
        if isinstance(event, Reconnecting):
            self.lost_s.append(time.monotonic())
        elif isinstance(event, Reconnected):
            self.reconnected_s.append(time.monotonic())

    def check(self, *, may_be_early: bool) -> None:
        """Check that each utterance has one final, and that nobody has lost a word or got one twice.

        `may_be_early`: whether a server may have sent finals before they were stored, which the next one makes again.
        """
        finals = self.finals
        assert may_be_early or finals == finals_of(self.events)
        end = self.events[-1]
        assert isinstance(end, End), end
        summary = [type(event).__name__ for event in self.events]
        assert (end.reason, end.received_ms, end.utterances) == ("stop", len(TALK) // 32, len(finals)), summary
        assert [final.utterance for final in finals] == list(range(len(finals)))
        started = {event.utterance for event in self.events if isinstance(event, SpeechStart)}
        assert started == {final.utterance for final in finals}
        assert all(final.text for final in finals)
        assert all(one.end_ms <= other.start_ms for one, other in pairwise(finals))
        assert [event for event in self.events if isinstance(event, Gap) and event.end_ms > event.start_ms] == []
        for reader in self.readers:
            shown = reader.shown if may_be_early else reader.lines
            assert shown == dict(self.texts), reader.summary


class Cells:
    """Two servers with one database, each by way of a relay to it. HAProxy is expected before them.

    Args:
        stack: ends them.
        database: the address of an empty database.
        ports: where they listen.
        flags: settings of each.
    """

    def __init__(self, stack: AsyncExitStack, database: str, ports: list[int], *flags: str) -> None:
        self._stack = stack
        self._database = database
        self._ports = ports
        self._flags = flags
        self._relays: list[Relay] = []
        self._stores: list[str] = []
        self._ended: list[ServerProcess] = []
        self.servers: list[ServerProcess] = []
        self.faults: Mapping[str, Fault] = {
            "SIGKILL": self._kill,
            "SIGTERM": self._stop,
            "SIGSTOP": self._hang,
            NO_DATABASE: self._cut_off,
        }

    @property
    def all(self) -> list[ServerProcess]:
        """The servers that run, and those that have ended."""
        return self._ended + self.servers

    async def start(self) -> None:
        """Start both."""
        for number in range(len(self._ports)):
            relay, address = await self._stack.enter_async_context(relay_to_database(self._database))
            self._relays.append(relay)
            self._stores.append(address)
            self.servers.append(await self._started(number))
        for server in self.servers:
            await server.ready()

    async def close(self) -> None:
        """Stop both, and check that nothing is left."""
        for server in self.servers:
            server.send(signal.SIGTERM)
        for server in self.servers:
            assert await server.exited(within_s=10) == 0
        for server in self.all:
            await assert_clean_end(server, within_s=1)

    async def _started(self, number: int) -> ServerProcess:
        flags = (f"--port={self._ports[number]}", f"--store={self._stores[number]}", *self._flags)
        return await self._stack.enter_async_context(serving(*flags))

    async def _kill(self, chance: random.Random) -> None:
        await self._replace(chance.randrange(len(self.servers)), signal.SIGKILL, -signal.SIGKILL)

    async def _stop(self, chance: random.Random) -> None:
        await self._replace(chance.randrange(len(self.servers)), signal.SIGTERM, 0)

    async def restart_all(self) -> None:
        """Stop each in order and start it again, one after the other, as an operator does."""
        for at in range(len(self.servers)):
            await self._replace(at, signal.SIGTERM, 0)
            await asyncio.sleep(LOOK_S)

    async def _replace(self, at: int, number: signal.Signals, exit_code: int) -> None:
        server = self.servers[at]
        server.send(number)
        assert await server.exited(within_s=10) == exit_code
        self._ended.append(server)
        self.servers[at] = await self._started(at)
        await self.servers[at].ready()

    async def _hang(self, chance: random.Random) -> None:
        server = chance.choice(self.servers)
        server.send(signal.SIGSTOP)
        await asyncio.sleep(HELD_S)
        server.send(signal.SIGCONT)

    async def _cut_off(self, chance: random.Random) -> None:
        """Refuse connections to the database, or hold them without a word."""
        relay = chance.choice(self._relays)
        if chance.random() < 0.5:
            relay.cut()
            await asyncio.sleep(HELD_S)
            relay.up = True
        else:
            relay.hold()
            await asyncio.sleep(HELD_S)
            relay.release()


class Processes:
    """One server of several processes."""

    def __init__(self, stack: AsyncExitStack, store: str, port: int, n_processes: int) -> None:
        self._stack = stack
        self._flags = (f"--port={port}", f"--store={store}", f"--processes={n_processes}")
        self._n_processes = n_processes
        self.servers: list[ServerProcess] = []
        self.faults: Mapping[str, Fault] = {
            "SIGKILL of a process": self._kill,
            "SIGSTOP of a process": self._hang,
            "SIGKILL of the parent": self._kill_all,
        }

    @property
    def all(self) -> list[ServerProcess]:
        """The server that runs, and those that have ended."""
        return self.servers

    async def start(self) -> None:
        """Start it."""
        self.servers.append(await self._stack.enter_async_context(serving(*self._flags)))
        await self.servers[-1].ready()

    async def close(self) -> None:
        """Stop it, and check that nothing is left."""
        self.servers[-1].send(signal.SIGTERM)
        assert await self.servers[-1].exited(within_s=10) == 0
        for server in self.servers:
            await assert_clean_end(server, within_s=1)

    async def _kill(self, chance: random.Random) -> None:
        server = self.servers[-1]
        n_ready = server.output.count("]: ready")
        os.kill(chance.choice(list(pids(server).values())), signal.SIGKILL)
        await eventually(lambda: server.output.count("]: ready") > n_ready, 60)

    async def _hang(self, chance: random.Random) -> None:
        pid = chance.choice(list(pids(self.servers[-1]).values()))
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(HELD_S)
        os.kill(pid, signal.SIGCONT)

    async def _kill_all(self, _: random.Random) -> None:
        self.servers[-1].send(signal.SIGKILL)
        await self.servers[-1].exited(within_s=10)
        await self.servers[-1].tree_gone(1.0)
        await self.start()


async def run_cycle(
    service: Cells | Processes,
    url: str,
    trusted: ssl.SSLContext | None,
    stored: StoredTexts,
    chance: random.Random,
    n_readers: int = N_READERS,
) -> tuple[str, list[float]]:
    """Let people talk and read while something fails, and check that nobody has lost or doubled a word.

    Returns:
        The fault, and the times in s from it until a publisher was connected again.
    """
    talks = [Talk(url, trusted, n_readers) for _ in range(N_PUBLISHERS)]
    running = [asyncio.ensure_future(talk.run()) for talk in talks]
    fault = chance.choice(sorted(service.faults))
    try:
        await eventually(lambda: all(talk.events for talk in talks) or any(one.done() for one in running), WITHIN_S)
        await asyncio.sleep(chance.uniform(0, TALK_S - 1))
        began_s = time.monotonic()
        await service.faults[fault](chance)
        await asyncio.gather(*running)
    except BaseException as error:
        error.add_note(f"after {fault}")
        raise
    finally:
        for one in running:
            one.cancel()
    # A server that dies then takes along what readers have seen. The next one makes it again.
    may_be_early = fault == NO_DATABASE or any(EARLY in server.output for server in service.all)
    for talk in talks:
        try:
            talk.check(may_be_early=may_be_early)
        except AssertionError as error:
            error.add_note(f"after {fault}, {may_be_early}")
            raise
        with suppress(TimeoutError):
            await eventually(lambda: stored(talk.session) == talk.texts, 30)  # noqa: B023
        assert stored(talk.session) == talk.texts, fault
    return fault, [at_s - began_s for talk in talks for at_s in talk.reconnected_s]
