"""The sinks of a server: each reads its source and sends to its receiver, in two tasks of its own.

A sink of a room goes on over all parts, breaks and events, and waits for a room that does not exist yet. One of a
session goes once all captions of the session are sent. A sink delays nobody: it pulls like every reader, and what its
receiver does not take waits in its own `Outgoing`, which is bounded.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, suppress

from aiohttp import ClientSession

from livecaption.delivery.destination import MAX_SINKS, OBS, Destination
from livecaption.delivery.http_sink import HttpCaptionSink
from livecaption.delivery.lines import Lines
from livecaption.delivery.obs_sink import ObsCaptionSink
from livecaption.delivery.outgoing import Outgoing, SinkState, SinkStatus
from livecaption.delivery.receiver import DeliveryFailed, Receiver, client_session
from livecaption.delivery.sources import Key, RoomSource, Source, room_key
from livecaption.errors import StoreFailed, Unavailable, UnknownSession
from livecaption.events import Event
from livecaption.ipc import logs
from livecaption.live.published import News
from livecaption.live.room import Room
from livecaption.live.rooms import Rooms

LOOK_S = 15.0
"""Time after which a sink looks again for a room that could not be read."""
BACK_S = 0.2
"""Time after which a sink looks again for a room whose part goes on elsewhere. Shorter: the store is asked more often
while the part is between two servers."""
FAREWELL_S = 0.5
"""Time in which the last captions are sent when the server stops. The clean-up of the server has 3 s for all, and its
workers need one of them."""

logger = logging.getLogger(__name__)


class Sink:
    """One sink. It runs until `stop`, or until all captions of its source are sent.

    Args:
        source: what it reads.
        name: distinguishes it from other sinks of the source.
        destination: where it sends.
        receiver: the same, as something to send to.
        news: wakes it while its source has no room.
        on_end: called when all captions of the source are sent.
        on_sending: awaited with the number of each text before it is sent.
    """

    def __init__(
        self,
        source: Source,
        name: str,
        destination: Destination,
        receiver: Receiver,
        news: News,
        on_end: Callable[["Sink"], None],
        on_sending: Callable[["Sink", int], Awaitable[None]],
    ) -> None:
        self.source = source
        self.name = name
        self.destination = destination
        self._receiver = receiver
        self._source_news = news
        self._on_end, self._on_sending = on_end, on_sending
        self._lines = Lines(destination.columns)
        self.outgoing = Outgoing()
        self._former: list[Receiver] = []  # those that were replaced, until they are closed
        self._changed = asyncio.Event()
        self._news = asyncio.Event()
        self._all_sent = asyncio.Event()
        self._all_sent.set()
        self._has_read_all = False
        context = logs.context(**source.logged)
        self._following = asyncio.create_task(self._guard(self._follow), context=context)
        self._sending = asyncio.create_task(self._guard(self._send), context=context)

    @property
    def status(self) -> SinkStatus:
        outgoing, since_s = self.outgoing, self.outgoing.failing_since_s
        return SinkStatus(
            self.name,
            self.destination.service,
            self.destination.host,
            outgoing.state.value,
            None if since_s is None else round(time.monotonic() - since_s, 1),
            outgoing.problem or None,
            outgoing.n_sent,
            outgoing.n_waiting,
            outgoing.n_dropped,
        )

    def can_become(self, destination: Destination) -> bool:
        """Return True if this is the same receiver with other settings, which goes on with the numbers of this sink."""
        place = (self.destination.service, self.destination.url)
        return place == (destination.service, destination.url) and self.outgoing.state is not SinkState.STOPPED

    def change(self, destination: Destination, receiver: Receiver) -> None:
        """Go on with other settings. What waits is kept, and sent with them at once; see `can_become`."""
        self.destination = destination
        self._lines.line_length = destination.columns
        self._former.append(self._receiver)
        self._receiver = receiver
        self._changed.set()
        self._news.set()

    async def finish(self) -> None:
        """Wait until everything of the source is sent, once it is over."""
        await asyncio.wait({self._following})
        await self._all_sent.wait()

    async def stop(self) -> None:
        """End the tasks and the connection."""
        for task in (self._following, self._sending):
            task.cancel()
        await asyncio.wait({self._following, self._sending})
        self.outgoing.stop()
        await self._close_former()
        await self._receiver.close()

    async def _guard(self, run: Callable[[], Awaitable[None]]) -> None:
        """Run a task. A bug ends this sink only. The log has no message of it, which might have a secret."""
        try:
            await run()
        except Exception as error:
            logger.error("the sink %s has failed: %s", self.name, type(error).__name__)
            self.outgoing.stop()

    # Reading

    async def _follow(self) -> None:
        is_new = True
        while True:
            look_s = LOOK_S
            try:
                room = await self.source.open()
            except StoreFailed:
                pass  # nobody knows yet what was said before the sink was attached
            else:
                if room is not None:
                    # The room may go on elsewhere, with the part that is sent now. Later events are read from their
                    # beginning, unless another process has sent what was said so far.
                    is_passed = is_new or self.source.is_shared
                    cursor = self._pass_over(room) if is_passed else self._lines.session
                    if self.source.is_shared:
                        self.outgoing.begin_again()
                    with room.used():
                        async with aclosing(room.subscribe(cursor, LOOK_S)) as feed:
                            async for messages in feed:
                                self._take(message.event for message in messages)
                    look_s = BACK_S
                is_new = False
            if self.source.is_over:
                break
            await self._source_news.wait(look_s)
        self._has_read_all = True
        self._news.set()

    def _pass_over(self, room: Room) -> str:
        """Take what was said so far, and send nothing of it: it is not for this sink. Return the cursor behind it."""
        if room.running is not None:
            messages, _ = room.running.hub.read(None)
            for message in messages:
                list(self._lines.take(message.event))
        return room.newest_cursor()

    def _take(self, events: Iterable[Event]) -> None:
        for event in events:
            for text in self._lines.take(event):
                self.outgoing.push(text, time.monotonic())
                self._all_sent.clear()
                self._news.set()

    # Sending

    async def _send(self) -> None:
        while not self._has_read_all or self.outgoing.n_waiting:
            await self._news.wait()
            self._news.clear()
            await self._close_former()
            while self.outgoing.n_waiting:
                was_failing = self.outgoing.state is SinkState.FAILING
                delay_s = await self._attempt()
                is_failing = self.outgoing.state is SinkState.FAILING
                if is_failing and not was_failing:
                    logger.warning("the sink %s fails: %s", self.name, self.outgoing.problem)
                elif was_failing and not is_failing:
                    logger.info("the sink %s works again", self.name)
                await self._pause(delay_s)
            self._all_sent.set()
        await self._close_former()
        await self._receiver.close()
        self._on_end(self)

    async def _pause(self, delay_s: float) -> None:
        """Wait for this time, or until the settings have changed since the pause before."""
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._changed.wait()
                self._changed.clear()

    async def _close_former(self) -> None:
        while self._former:
            await self._former.pop().close()

    async def _attempt(self) -> float:
        """Send the next text. Return the time in s until the next attempt."""
        self.outgoing.drop_old(time.monotonic())
        if not self.outgoing.n_waiting:
            return 0.0
        try:
            if self.outgoing.needs_beginning:
                self.outgoing.begin(await self._receiver.first_seq())
            text = self.outgoing.next(time.monotonic())
            if text is not None:
                await self._on_sending(self, text.seq)
                await self._receiver.deliver(text)
                self.outgoing.accepted()
        except DeliveryFailed as error:
            return self.outgoing.failed(str(error), time.monotonic(), may_have_arrived=error.may_have_arrived)
        return 0.0


class Sinks:
    """All sinks of a server. Used by the event loop.

    Args:
        rooms: what the sinks read.
        configured: the destinations of rooms that are there from the start, by room and name.
        shared: whether other processes of the server have the same sinks of rooms.

    Attributes:
        report: awaited with the room, the name of the sink and the number of each text before it is sent.
    """

    def __init__(
        self, rooms: Rooms, configured: Mapping[tuple[str, str], Destination], *, shared: bool = False
    ) -> None:
        self._rooms = rooms
        self._configured = configured
        self._shared = shared
        self.report: Callable[[str, str, int], Awaitable[None]] = _to_nobody
        self._sinks: dict[tuple[Key, str], Sink] = {}  # by the source, and the name
        self._session: ClientSession | None = None
        self._n_sent = self._n_dropped = 0  # of sinks that are gone

    async def start(self) -> None:
        """Attach the sinks that are configured."""
        for (room_name, name), destination in self._configured.items():
            await self.attach(self.room(room_name), name, destination)

    def room(self, name: str) -> RoomSource:
        """Return a room as the source of a sink."""
        return RoomSource(name, self._rooms, self._shared)

    @property
    def of_all_processes(self) -> list[tuple[str, str, Destination, int]]:
        """The room, the name, the destination and the greatest used number of each sink that other processes have."""
        shared = [sink for sink in self.all if sink.source.is_shared]
        return [(sink.source.key[1], sink.name, sink.destination, sink.outgoing.newest_seq) for sink in shared]

    def note_used(self, room: str, name: str, seq: int) -> None:
        """Note that another process has used this number."""
        if (sink := self._sinks.get((room_key(room), name))) is not None:
            sink.outgoing.used(seq)

    async def attach(self, source: Source, name: str, destination: Destination) -> Sink:
        """Attach a sink to a source. One of the same name is replaced, or changed.

        Raises:
            UnknownSession: `session_ended`: nothing follows in the source.
            Unavailable: the server has as many sinks as it takes, or stops.
        """
        place = source.key, name
        if self._rooms.closed:
            raise Unavailable("the server is stopping", code="draining")
        if source.is_over:
            raise UnknownSession("the session is over", code="session_ended")
        if place not in self._sinks and len(self._sinks) >= MAX_SINKS:
            raise Unavailable(f"the server has {MAX_SINKS} sinks, and takes no more")
        if self._session is None:
            self._session = client_session()
        kind = ObsCaptionSink if destination.service == OBS else HttpCaptionSink
        receiver = kind(self._session, destination)
        replaced = self._sinks.get(place)
        if replaced is not None and replaced.can_become(destination):
            replaced.change(destination, receiver)
            return replaced
        self._sinks[place] = sink = Sink(
            source, name, destination, receiver, self._rooms.news, self._ended, self._sending
        )
        if replaced is not None:
            await self._end(replaced)
        return sink

    async def detach(self, key: Key, name: str) -> None:
        """Stop a sink, and forget it. What waits in it is not sent.

        Raises:
            UnknownSession: `unknown_sink`.
        """
        sink = self.find(key, name)
        del self._sinks[key, name]
        await self._end(sink)

    async def detach_all(self, key: Key) -> None:
        """Stop all sinks of a source, such as a session that was deleted."""
        ending = self.of(key)
        for sink in ending:
            del self._sinks[key, sink.name]  # all at once: the next ones may end by themselves, or be detached
        for sink in ending:
            await self._end(sink)

    def find(self, key: Key, name: str) -> Sink:
        """Return the sink of a source with this name.

        Raises:
            UnknownSession: `unknown_sink`: there is none.
        """
        sink = self._sinks.get((key, name))
        if sink is None:
            raise UnknownSession(f"the {key[0]} has no such sink", code="unknown_sink")
        return sink

    def of(self, key: Key) -> list[Sink]:
        """Return the sinks of a source, in the order of their names."""
        return [sink for place, sink in sorted(self._sinks.items()) if place[0] == key]

    @property
    def all(self) -> list[Sink]:
        """All sinks."""
        return list(self._sinks.values())

    @property
    def n_failing(self) -> int:
        """Number of sinks whose newest attempt has failed."""
        return sum(sink.outgoing.state is SinkState.FAILING for sink in self.all)

    @property
    def texts(self) -> dict[str, int]:
        """Number of texts since the start, by what became of them."""
        return {
            "sent": self._n_sent + sum(sink.outgoing.n_sent for sink in self.all),
            "dropped": self._n_dropped + sum(sink.outgoing.n_dropped for sink in self.all),
        }

    async def close(self) -> None:
        """Send what is there, for a moment, and stop all sinks. The rooms must be closed."""
        sinks = self.all
        if sinks:
            finishing = [asyncio.ensure_future(sink.finish()) for sink in sinks]
            await asyncio.wait(finishing, timeout=FAREWELL_S)
            for task in finishing:
                task.cancel()
            await asyncio.gather(*(sink.stop() for sink in sinks))
        if self._session is not None:
            await self._session.close()

    async def _sending(self, sink: Sink, seq: int) -> None:
        if sink.source.is_shared:
            await self.report(sink.source.key[1], sink.name, seq)

    def _ended(self, sink: Sink) -> None:
        """Forget a sink that has sent all captions of its session. At the stop of the server, `close` has them all."""
        place = sink.source.key, sink.name
        if not self._rooms.closed and self._sinks.get(place) is sink:
            del self._sinks[place]
            self._count(sink)

    async def _end(self, sink: Sink) -> None:
        await sink.stop()
        self._count(sink)

    def _count(self, sink: Sink) -> None:
        self._n_sent += sink.outgoing.n_sent
        self._n_dropped += sink.outgoing.n_dropped


async def _to_nobody(room: str, name: str, seq: int) -> None:
    pass
