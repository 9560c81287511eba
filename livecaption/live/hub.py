"""The events of one session, numbered, to its speaker and to everybody who reads along.

The speaker's outbox is handed every message. Readers are not handed anything: each has its place, and takes what is new
when it is done with what it took before. So nothing piles up for a slow one, and nobody waits for it.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Sequence

from livecaption.events import Event, Final
from livecaption.live.event_log import SPEAKER_ONLY, Message, RecentEvents
from livecaption.live.outbox import Outbox


class Hub:
    """The one place that numbers events. Used by the event loop.

    Args:
        life, finals: see `RecentEvents`.
    """

    def __init__(
        self,
        title: str = "",
        language: str | None = None,
        life: int = 0,
        finals: Sequence[tuple[int, Final]] = (),
    ) -> None:
        self._recent = RecentEvents(title, language, secrets.token_hex(4), life=life, finals=finals)
        self._speaker: Outbox | None = None
        self._news = asyncio.Event()

    @property
    def last_seq(self) -> int:
        return self._recent.last_seq

    @property
    def finals(self) -> list[Final]:
        """All so far, in spoken order."""
        return self._recent.finals

    @property
    def ended(self) -> bool:
        """Whether `end` was published: nothing follows."""
        return self._recent.ended

    def seq_of(self, place: str) -> int | None:
        """See `RecentEvents.seq_of`."""
        return self._recent.seq_of(place)

    def attach(self, speaker: Outbox, last_seq: int = 0) -> None:
        """From now on `speaker` gets everything after `last_seq`; whoever had it before, nothing more."""
        self._speaker = speaker
        for message in self._recent.missed(last_seq) if self.last_seq else []:
            speaker.offer(message.text)

    def detach(self) -> None:
        """The speaker is away; what happens meanwhile is kept."""
        self._speaker = None

    def publish(self, event: Event) -> None:
        """Number the event and let everybody have it. Never blocks."""
        message = self._recent.append(event)
        if self._speaker is not None:
            self._speaker.offer(message.text)
        if not isinstance(event, SPEAKER_ONLY):
            # Those who wait are woken, and a reader that comes next waits again.
            self._news.set()
            self._news.clear()

    async def follow(self, last_seq: int | None, heartbeat_s: float) -> AsyncGenerator[list[Message], None]:
        """What a reader at `last_seq` (None: just come) is to be sent, until the session is over.

        An empty list: nothing happened for `heartbeat_s`.
        """
        seq = last_seq
        while True:
            messages, seq = self._recent.read(seq)
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
