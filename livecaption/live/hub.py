"""The events of one session, numbered, for its publisher and its readers.

The publisher is handed every message. Readers are not handed anything: each has its cursor, and takes what is new when
it is done with what it took before. So nothing piles up for a slow one, and nobody waits for it.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence

from livecaption.captions.labels import NO_NAMES, Names
from livecaption.events import Event, Final, Translation
from livecaption.live.event_log import PUBLISHER_ONLY, EventLog, Message


class News:
    """Wakes readers. All parts of a room share one, because a reader of the room reads them all."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Wake the readers that wait; one that comes next waits again."""
        self._event.set()
        self._event.clear()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for news. Return False if there are none for `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        return True


class Hub:
    """The one place that numbers events. Used by the event loop.

    Args:
        session, generation, earlier, tracks, names: see `EventLog`.
        news: wakes the readers of the session, and of its room.

    Attributes:
        away_since_ms: when the publisher was last connected to this server, or the server began with the session, by
            the Unix clock; None: the publisher is connected.
    """

    def __init__(
        self,
        title: str = "",
        language: str | None = None,
        generation: int = 0,
        earlier: Sequence[tuple[int, Final | Translation]] = (),
        *,
        session: str = "",
        news: News | None = None,
        tracks: Sequence[str] = (),
        names: Names = NO_NAMES,
    ) -> None:
        # The same in all servers that share a store, so that a reader may go on in another one.
        epoch = hashlib.sha256(f"{session} {generation}".encode()).hexdigest()[:8]
        self._log = EventLog(
            title, language, epoch, session=session, generation=generation, earlier=earlier, tracks=tracks, names=names
        )
        self._deliver: Callable[[Message], None] | None = None
        self.news = news or News()
        self._closed = False
        self.away_since_ms: int | None = _now_ms()

    @property
    def title(self) -> str:
        return self._log.title

    def rename(self, title: str) -> None:
        """Change the title. Readers that come from now on get it; there is no event of it."""
        self._log.rename(title)

    @property
    def names(self) -> Names:
        """The names of speakers who have one, by their numbers."""
        return self._log.names

    def rename_speakers(self, names: Names) -> None:
        """Give speakers these names after the end. Readers that come from now on get them."""
        self._log.rename_speakers(names)

    @property
    def forgotten(self) -> bool:
        """True if the session was deleted."""
        return self._log.forgotten

    def forget(self) -> None:
        """Forget all captions so far, because the session was deleted. What comes next is published."""
        self._log.forget()

    @property
    def last_seq(self) -> int:
        return self._log.last_seq

    @property
    def finals(self) -> list[Final]:
        """All finals so far with their translations, in the order of their events."""
        return self._log.finals

    @property
    def n_captions(self) -> int:
        """Number of finals and translations so far."""
        return self._log.n_captions

    @property
    def ended(self) -> bool:
        """True if `end` was published: nothing follows."""
        return self._log.ended

    @property
    def closed(self) -> bool:
        """True if nothing follows from this server. Unless `ended`, the next one goes on with the session."""
        return self._closed or self._log.ended

    @property
    def has_publisher(self) -> bool:
        """True if the publisher is connected."""
        return self.away_since_ms is None

    @property
    def epoch(self) -> str:
        return self._log.epoch

    @property
    def end_ms(self) -> int:
        """The end of the newest final, in stream time."""
        return self._log.end_ms

    @property
    def open_since_ms(self) -> int | None:
        """The earliest start of an utterance that has no final yet, in stream time; None: there is none."""
        return self._log.open_since_ms

    def seq_of(self, cursor: str) -> int | None:
        """Return the number in a reader's cursor; see `EventLog.seq_of`."""
        return self._log.seq_of(cursor)

    def attach(self, deliver: Callable[[Message], None], last_seq: int = 0) -> None:
        """Hand everything after `last_seq` to `deliver`, and nothing more to the one before it."""
        self._deliver = deliver
        self.away_since_ms = None
        for message in self._log.missed(last_seq) if self.last_seq else []:
            deliver(message)
        self.news.notify()

    def detach(self) -> None:
        """Hand messages to nobody: the publisher is away. What happens meanwhile is kept."""
        self._deliver = None
        self.away_since_ms = _now_ms()
        self.news.notify()

    def close(self) -> None:
        """End the feeds of all readers without an `end`, because the next server goes on with the session."""
        self._closed = True
        self.news.notify()

    def publish(self, event: Event) -> None:
        """Give the event its number and hand it on. Never blocks."""
        message = self._log.append(event)
        if self._deliver is not None:
            self._deliver(message)
        if not isinstance(event, PUBLISHER_ONLY):
            self.news.notify()

    def read(self, seq: int | None) -> tuple[list[Message], int]:
        """Return the messages for a reader at `seq`; see `EventLog.read`."""
        return self._log.read(seq)

    async def subscribe(self, last_seq: int | None, heartbeat_s: float) -> AsyncGenerator[list[Message], None]:
        """Give the messages for a reader at `last_seq` (None: just come), until the session is over.

        An empty list: nothing happened for `heartbeat_s`.
        """
        seq = last_seq
        while True:
            messages, seq = self._log.read(seq)
            if messages:
                yield messages
            elif self.closed:
                return
            elif not await self.news.wait(heartbeat_s):
                yield []


def _now_ms() -> int:
    return round(time.time() * 1000)
