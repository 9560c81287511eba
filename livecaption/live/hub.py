"""The events of one session, numbered, for its publisher and its readers.

The publisher is handed every message. Readers are not handed anything: each has its cursor, and takes what is new when
it is done with what it took before. So nothing piles up for a slow one, and nobody waits for it.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence

from livecaption.events import Event, Final
from livecaption.live.event_log import PUBLISHER_ONLY, EventLog, Message


class Hub:
    """The one place that numbers events. Used by the event loop.

    Args:
        generation, finals: see `EventLog`.
    """

    def __init__(
        self,
        title: str = "",
        language: str | None = None,
        generation: int = 0,
        finals: Sequence[tuple[int, Final]] = (),
    ) -> None:
        self._log = EventLog(title, language, secrets.token_hex(4), generation=generation, finals=finals)
        self._deliver: Callable[[Message], None] | None = None
        self._news = asyncio.Event()

    @property
    def last_seq(self) -> int:
        return self._log.last_seq

    @property
    def finals(self) -> list[Final]:
        """All finals so far, in the order of their events."""
        return self._log.finals

    @property
    def ended(self) -> bool:
        """True if `end` was published: nothing follows."""
        return self._log.ended

    def seq_of(self, cursor: str) -> int | None:
        """Return the number in a reader's cursor; see `EventLog.seq_of`."""
        return self._log.seq_of(cursor)

    def attach(self, deliver: Callable[[Message], None], last_seq: int = 0) -> None:
        """Hand everything after `last_seq` to `deliver`, and nothing more to the one before it."""
        self._deliver = deliver
        for message in self._log.missed(last_seq) if self.last_seq else []:
            deliver(message)

    def detach(self) -> None:
        """Hand messages to nobody: the publisher is away. What happens meanwhile is kept."""
        self._deliver = None

    def publish(self, event: Event) -> None:
        """Give the event its number and hand it on. Never blocks."""
        message = self._log.append(event)
        if self._deliver is not None:
            self._deliver(message)
        if not isinstance(event, PUBLISHER_ONLY):
            # The readers that wait are woken, and one that comes next waits again.
            self._news.set()
            self._news.clear()

    async def subscribe(self, last_seq: int | None, heartbeat_s: float) -> AsyncGenerator[list[Message], None]:
        """Give the messages for a reader at `last_seq` (None: just come), until the session is over.

        An empty list: nothing happened for `heartbeat_s`.
        """
        seq = last_seq
        while True:
            messages, seq = self._log.read(seq)
            if messages:
                yield messages
            elif self.ended:
                return
            else:
                try:
                    async with asyncio.timeout(heartbeat_s):
                        await self._news.wait()
                except TimeoutError:
                    yield []
