"""Events of one session -> the store -> publisher and readers.

`ready`, finals, translations, names of speakers and `end` are published once the store has them. Events behind one of
these wait with it. So all that a reader has seen survives the death of the server.
"""

from collections import deque
from collections.abc import Callable

from livecaption.events import End, Event, Final, Ready, SpeakerNamed, Translation
from livecaption.live.hub import Hub
from livecaption.pipeline.arrival import ArrivalClock
from livecaption.store.rows import NewSession
from livecaption.store.store import Store

STORED = (Ready, Final, Translation, SpeakerNamed, End)
"""Events that the store must have first."""


class StoreGate:
    """The gate of one session, from `ready` on.

    Args:
        store: None: nothing is kept, and nothing waits.
        session: the session, as it will be stored.
        hub: gets the events, in order, and numbers them.
        clock: gives them times on the wall.
    """

    def __init__(self, store: Store | None, session: NewSession, hub: Hub, clock: ArrivalClock) -> None:
        self._store = store
        self._session = session
        self._hub = hub
        self._clock = clock
        self._held: deque[Event] = deque()  # the first of them is one that the store must have first
        self._when_all_published: Callable[[], None] | None = None

    def publish(self, event: Event, checkpoint_ms: int | None = None) -> None:
        """Publish at once, or once all up to here is stored; then `checkpoint_ms` holds, as for `checkpoint`.

        The times of the event are those of the audio; they are published as times on the wall.
        """
        in_audio, event = event, self._clock.on_the_wall(event)
        if self._store is not None and isinstance(event, STORED):
            self._held.append(event)
            seq = self._hub.last_seq + len(self._held)  # its number: the one behind all that wait
            if isinstance(event, Ready):
                self._store.begin(self._session, self._release)
            elif isinstance(event, Final):
                assert isinstance(in_audio, Final)  # it is the same event
                self._store.append(
                    self._session.id,
                    event,
                    seq,
                    checkpoint_ms,
                    self._release,
                    shift_ms=event.start_ms - in_audio.start_ms,
                    checkpoint_shift_ms=self._clock.shift_for_resume_ms(checkpoint_ms or 0),
                )
            elif isinstance(event, Translation):
                self._store.translate(self._session.id, event, seq, self._release)
            elif isinstance(event, SpeakerNamed):
                self._store.name_speaker(self._session.id, event, self._release)
            else:
                self._store.end(self._session.id, event.received_ms, self._release)
        elif self._held:
            self._held.append(event)
        else:
            self._hub.publish(event)

    def checkpoint(self, checkpoint_ms: int) -> None:
        """Note that all audio before `checkpoint_ms` is in the finals so far, or silent."""
        if self._store is not None:
            shift_ms = self._clock.shift_for_resume_ms(checkpoint_ms)
            self._store.checkpoint(self._session.id, checkpoint_ms, shift_ms)

    def suspend(self, checkpoint_ms: int) -> None:
        """Note the same, and that another server goes on with the session: behind all that is held, nothing follows."""
        self.checkpoint(checkpoint_ms)
        if self._store is not None:
            self._store.release(self._session.id)

    def discard(self) -> None:
        """Publish and store nothing more, and nothing of what is held: another server has the session."""
        self._store = None
        self._held.clear()

    def reopen(self) -> None:
        """Note that the publisher has come back to a session that a server's death has interrupted."""
        if self._store is not None:
            self._store.reopen(self._session.id)

    def when_all_published(self, call: Callable[[], None]) -> None:
        """Call this once nothing waits for the store any more, which may be now. Nothing is published after this."""
        if self._held:
            self._when_all_published = call
        else:
            call()

    def _release(self) -> None:
        """Publish the oldest event that is held, which the store now has, and those behind it."""
        if not self._held:  # they were discarded
            return
        self._hub.publish(self._held.popleft())
        while self._held and not isinstance(self._held[0], STORED):
            self._hub.publish(self._held.popleft())
        if not self._held and self._when_all_published is not None:
            self._when_all_published()
