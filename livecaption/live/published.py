"""The events of one session as its readers get them, whichever server publishes them.

Readers are not handed anything: each has its cursor, and takes what is new when it is done with what it took before. So
nothing piles up for a slow one, and nobody waits for it.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from weakref import WeakSet

from livecaption.captions.labels import Names
from livecaption.events import Final
from livecaption.live.event_log import EventLog, Message

WOKEN_TOGETHER = 100
"""Readers that are woken in one turn of the event loop. More: audio, and readers at other servers, wait behind those of
a large hall. Fewer: the last one of the hall waits longer. Figures: decision 0027."""


class News:
    """Wakes readers. All parts of a room share one, because a reader of the room reads them all."""

    def __init__(self) -> None:
        self._waiting: dict[float, _Waiting] = {}  # by the time for which they wait
        self._others: WeakSet[News] = WeakSet()

    def notify(self) -> None:
        """Wake the readers that wait; one that comes next waits again."""
        reached = [self]
        for news in reached:
            for waiting in news._waiting.values():
                waiting.wake()
            # A room and a session that this server has taken over may wake each other.
            reached += [other for other in news._others if other not in reached]

    def wake(self, other: "News") -> None:
        """Wake also those who wait for the others, from now on: the readers of a session's room, or of its mirror."""
        if other is not self:
            self._others.add(other)

    async def wait(self, timeout_s: float) -> bool:
        """Wait for news. Return False if there are none for `timeout_s`."""
        if timeout_s not in self._waiting:
            self._waiting[timeout_s] = _Waiting(timeout_s)
        return await self._waiting[timeout_s].join()


class _Waiting:
    """Readers that wait for at most the same time, the first one first.

    They share a timer. One for each reader and event is a sixth of what a reader costs: decision 0027.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._readers: deque[tuple[float, asyncio.Future[bool]]] = deque()  # with the time until which each waits
        self._timer: asyncio.TimerHandle | None = None

    def join(self) -> asyncio.Future[bool]:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._timeout_s
        woken = loop.create_future()
        self._readers.append((until_s, woken))
        if self._timer is None:
            self._timer = loop.call_at(until_s, self._expire)
        return woken

    def wake(self) -> None:
        readers, self._readers = self._readers, deque()
        self._wake_next(readers)

    def _wake_next(self, readers: deque[tuple[float, asyncio.Future[bool]]]) -> None:
        for _ in range(min(len(readers), WOKEN_TOGETHER)):
            _, woken = readers.popleft()
            if not woken.done():  # else it has left
                woken.set_result(True)
        if readers:
            asyncio.get_running_loop().call_soon(self._wake_next, readers)

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        while self._readers and self._readers[0][0] <= loop.time():
            _, woken = self._readers.popleft()
            if not woken.done():
                woken.set_result(False)
        self._timer = loop.call_at(self._readers[0][0], self._expire) if self._readers else None


class Published:
    """The readers' side of a session: the base of the `Hub`, which publishes it, and of its mirrors elsewhere.

    Attributes:
        news: wakes the readers of the session, and of its room.
        away_since_ms: when the publisher was last connected to its server, or the server began with the session, by
            the Unix clock; None: the publisher is connected.
    """

    def __init__(self, log: EventLog, news: News) -> None:
        self.log = log
        self.news = news
        self._closed = False
        self.away_since_ms: int | None = now_ms()

    @property
    def title(self) -> str:
        return self.log.title

    @property
    def names(self) -> Names:
        """The names of speakers who have one, by their numbers."""
        return self.log.names

    @property
    def tracks(self) -> tuple[str, ...]:
        """The languages into which finals are translated."""
        return self.log.tracks

    @property
    def forgotten(self) -> bool:
        """True if the session was deleted."""
        return self.log.forgotten

    def forget(self) -> None:
        """Forget all captions so far, because the session was deleted. What comes next is published."""
        self.log.forget()
        self.news.notify()

    @property
    def last_seq(self) -> int:
        return self.log.last_seq

    @property
    def finals(self) -> list[Final]:
        """All finals so far with their translations, in the order of their events."""
        return self.log.finals

    @property
    def n_captions(self) -> int:
        """Number of finals and translations so far."""
        return self.log.n_captions

    @property
    def ended(self) -> bool:
        """True if `end` was published: nothing follows."""
        return self.log.ended

    @property
    def closed(self) -> bool:
        """True if nothing follows from this server. Unless `ended`, the next one goes on with the session."""
        return self._closed or self.log.ended

    @property
    def has_publisher(self) -> bool:
        """True if the publisher is connected."""
        return self.away_since_ms is None

    @property
    def epoch(self) -> str:
        return self.log.epoch

    @property
    def end_ms(self) -> int:
        """The end of the newest final, in stream time."""
        return self.log.end_ms

    @property
    def open_since_ms(self) -> int | None:
        """The earliest start of an utterance that has no final yet, in stream time; None: there is none."""
        return self.log.open_since_ms

    def seq_of(self, cursor: str) -> int | None:
        """Return the number in a reader's cursor; see `EventLog.seq_of`."""
        return self.log.seq_of(cursor)

    def close(self) -> None:
        """End the feeds of all readers without an `end`, because the next server goes on with the session."""
        self._closed = True
        self.news.notify()

    def read(self, seq: int | None) -> tuple[list[Message], int]:
        """Return the messages for a reader at `seq`; see `EventLog.read`."""
        return self.log.read(seq)

    async def subscribe(self, last_seq: int | None, heartbeat_s: float) -> AsyncGenerator[list[Message], None]:
        """Give the messages for a reader at `last_seq` (None: just come), until the session is over.

        An empty list: nothing happened for `heartbeat_s`.
        """
        seq = last_seq
        while True:
            messages, seq = self.read(seq)
            if messages:
                yield messages
            elif self.closed:
                return
            elif not await self.news.wait(heartbeat_s):
                yield []


def now_ms() -> int:
    return round(time.time() * 1000)
