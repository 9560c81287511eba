"""The events of one session, numbered, for its publisher and its readers.

The publisher is handed every message. Readers take what is new themselves: see `published`.
"""

from collections.abc import Callable, Sequence

from livecaption.captions.labels import NO_NAMES, Names
from livecaption.events import Event, Final, Snapshot, Translation
from livecaption.live.event_log import PUBLISHER_ONLY, EventLog, Message, epoch_of
from livecaption.live.published import News, Published, now_ms


class Hub(Published):
    """The one place that numbers events. Used by the event loop.

    Args:
        session, generation, earlier, tracks, names: see `EventLog`.
        news: wakes the readers of the session, and of its room.
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
        log = EventLog(
            title,
            language,
            epoch_of(session, generation),
            session=session,
            generation=generation,
            earlier=earlier,
            tracks=tracks,
            names=names,
        )
        super().__init__(log, news or News())
        self._deliver: Callable[[Message], None] | None = None

    @property
    def generation(self) -> int:
        return self.log.generation

    @property
    def state(self) -> Snapshot:
        """All that a snapshot has now, apart from the finals."""
        return self.log.state

    def rename(self, title: str) -> None:
        """Change the title. Readers that come from now on get it; there is no event of it."""
        self.log.rename(title)
        self.news.notify()

    def rename_speakers(self, names: Names) -> None:
        """Give speakers these names after the end. Readers that come from now on get them."""
        self.log.rename_speakers(names)
        self.news.notify()

    def attach(self, deliver: Callable[[Message], None], last_seq: int = 0) -> None:
        """Hand everything after `last_seq` to `deliver`, and nothing more to the one before it."""
        self._deliver = deliver
        self.away_since_ms = None
        for message in self.log.missed(last_seq) if self.last_seq else []:
            deliver(message)
        self.news.notify()

    def detach(self) -> None:
        """Hand messages to nobody: the publisher is away. What happens meanwhile is kept."""
        self._deliver = None
        self.away_since_ms = now_ms()
        self.news.notify()

    def publish(self, event: Event) -> None:
        """Give the event its number and hand it on. Never blocks."""
        message = self.log.append(event)
        if self._deliver is not None:
            self._deliver(message)
        if not isinstance(event, PUBLISHER_ONLY):
            self.news.notify()
