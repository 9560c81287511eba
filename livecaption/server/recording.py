"""Events of one session -> the store -> those who read them.

A final is published once it is stored, and what comes after it waits with it: whatever a reader has seen survives the
death of the server.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from livecaption.events import Event, Final
from livecaption.store.rows import NewSession
from livecaption.store.transcripts import TranscriptStore


class Recording:
    """One session, from its begin to its end.

    Args:
        store: None: nothing is kept, and nothing waits.
        session: what is known of it.
        publish: takes the events, in order.
    """

    def __init__(self, store: TranscriptStore | None, session: NewSession, publish: Callable[[Event], None]) -> None:
        self._store = store
        self._session_id = session.id
        self._publish = publish
        self._held: deque[Event] = deque()  # if it is not empty, it begins with a final
        self._all_published = asyncio.Event()
        self._all_published.set()
        if store is not None:
            store.begin(session)

    def publish(self, event: Event) -> None:
        """At once, or once the finals up to here are stored."""
        if self._store is not None and isinstance(event, Final):
            self._held.append(event)
            self._all_published.clear()
            self._store.append(self._session_id, event, self._release)
        elif self._held:
            self._held.append(event)
        else:
            self._publish(event)

    async def all_published(self) -> None:
        """Until nothing waits for the store."""
        await self._all_published.wait()

    def end(self, duration_ms: int) -> None:
        """Nothing follows."""
        if self._store is not None:
            self._store.end(self._session_id, duration_ms)

    def _release(self) -> None:
        """The oldest final that is held is stored."""
        self._publish(self._held.popleft())
        while self._held and not isinstance(self._held[0], Final):
            self._publish(self._held.popleft())
        if not self._held:
            self._all_published.set()
