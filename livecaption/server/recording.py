"""Events of one session -> the store -> those who read them.

`ready`, finals and `end` are published once the store has them, and what comes after one waits with it: whatever a
reader has seen survives the death of the server.
"""

from collections import deque
from collections.abc import Callable

from livecaption.events import End, Event, Final, Ready
from livecaption.store.rows import NewSession
from livecaption.store.transcripts import TranscriptStore


class Recording:
    """One session, from `ready` on.

    Args:
        store: None: nothing is kept, and nothing waits.
        session: what is known of it.
        publish: takes the events, in order.
    """

    def __init__(self, store: TranscriptStore | None, session: NewSession, publish: Callable[[Event], None]) -> None:
        self._store = store
        self._session = session
        self._publish = publish
        self._held: deque[Event] = deque()  # if it is not empty, it begins with one that the store has to have first
        self._when_all_published: Callable[[], None] | None = None

    def publish(self, event: Event) -> None:
        """At once, or once all up to here is stored."""
        if self._store is not None and isinstance(event, (Ready, Final, End)):
            self._held.append(event)
            if isinstance(event, Ready):
                self._store.begin(self._session, self._release)
            elif isinstance(event, Final):
                self._store.append(self._session.id, event, self._release)
            else:
                self._store.end(self._session.id, event.received_ms, self._release)
        elif self._held:
            self._held.append(event)
        else:
            self._publish(event)

    def when_all_published(self, call: Callable[[], None]) -> None:
        """Nothing follows: call this once nothing waits for the store any more, which may be now."""
        if self._held:
            self._when_all_published = call
        else:
            call()

    def _release(self) -> None:
        """The store has the oldest event that is held."""
        self._publish(self._held.popleft())
        while self._held and not isinstance(self._held[0], (Ready, Final, End)):
            self._publish(self._held.popleft())
        if not self._held and self._when_all_published is not None:
            self._when_all_published()
