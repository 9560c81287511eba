"""The slots of streams: how many there are, which sessions hold them, and which of these can be taken.

A session whose publisher is away keeps its slots until a new stream needs them. It waits for its publisher all the
same, who then needs a slot again: docs/decisions/0046-slots-of-lost-publishers.md.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from livecaption.errors import InvalidMessage, Unavailable
from livecaption.recognition import SessionId, logged_id
from livecaption.scheduling.admission import StreamLimit, stream_limit
from livecaption.scheduling.config import AdmissionConfig
from livecaption.workers.pool import WorkerPool

RETRY_AFTER_S = 2.0
"""Time after which a refused publisher may ask again."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Held:
    """The slots of one session. They are given back when `slot` is closed."""

    slot: ExitStack
    n: int


class Slots:
    """The slots of one server.

    Args:
        pool: transcribes; the number of slots depends on its load.
        max_streams: the number of slots; None: as many as the workers can serve.
        admission: the times by which admission decides.
        take_after_s: time for which a publisher is away before its slots can be taken.
        on_taken: called with the session whose slots are taken; it calls `free`.
        on_freed: called when a slot is given back.
    """

    def __init__(
        self,
        pool: WorkerPool,
        max_streams: int | None,
        admission: AdmissionConfig,
        take_after_s: float,
        *,
        on_taken: Callable[[str], None],
        on_freed: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._max_streams = max_streams
        self._admission = admission
        self._take_after_s = take_after_s
        self._on_taken = on_taken
        self._on_freed = on_freed
        self._admitted_s: dict[int, float] = {}  # when each slot was taken, by its number
        self._held: dict[str, _Held] = {}  # by session
        self._away_s: dict[str, float] = {}  # since when the publisher of a session with slots is away
        self.n_accepted = 0
        """Slots that were taken since the start."""

    def __len__(self) -> int:
        return len(self._admitted_s)

    @property
    def limit(self) -> StreamLimit:
        """The number of streams that may be open now."""
        return self._limit_of(len(self))

    def _limit_of(self, n_streams: int) -> StreamLimit:
        """Return the number of streams that may be open, if so many are open."""
        if self._max_streams is not None:
            return StreamLimit(self._max_streams, "max_streams")
        new_since_s = time.monotonic() - self._admission.new_s
        n_new = sum(admitted_s > new_since_s for admitted_s in self._admitted_s.values())
        return stream_limit(n_streams, min(n_new, n_streams), self._pool.load, self._admission)

    # Slots are taken and given back

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold a slot for a stream that was admitted, perhaps by an earlier server."""
        self.n_accepted += 1
        number = self.n_accepted
        self._admitted_s[number] = time.monotonic()
        try:
            yield
        finally:
            del self._admitted_s[number]
            self._on_freed()

    def keep(self, session_id: str, slot: ExitStack, n: int) -> None:
        """Note that this session holds these `n` slots, until `free`."""
        self._held[session_id] = _Held(slot, n)

    def holds(self, session_id: str) -> bool:
        """Return True if this session has its slots."""
        return session_id in self._held

    def free(self, session_id: str) -> None:
        """Give back the slots of this session, if it has any."""
        self._away_s.pop(session_id, None)
        held = self._held.pop(session_id, None)
        if held is not None:
            held.slot.close()

    # Slots of publishers that are away

    def note_away(self, session_id: str, *, for_good: bool = False) -> None:
        """Note that the publisher is away. `for_good`: only the last finals are awaited, so others may come at once."""
        if session_id in self._held:
            self._away_s[session_id] = float("-inf") if for_good else time.monotonic()

    def note_back(self, session_id: str) -> None:
        """Note that the publisher is back."""
        self._away_s.pop(session_id, None)

    def to_take(self, n: int = 1, former: str | None = None) -> list[str] | None:
        """Return the sessions whose slots must be taken so that `n` are free; None: there are not enough.

        Publishers that have left for good are the first, then those that are away the longest. A short loss of the
        network costs nobody a slot, unless all publishers are away: then nobody else is served. `former` keeps its
        slots for the stream that replaces it.
        """
        nobody_is_here = len(self) == sum(self._held[name].n for name in self._away_s)
        away_before_s = time.monotonic() - self._take_after_s
        away = sorted((since_s, name) for name, since_s in self._away_s.items() if name != former)
        candidates = iter([name for since_s, name in away if nobody_is_here or since_s <= away_before_s])
        taken: list[str] = []
        n_left = len(self)
        while n_left + n > self._limit_of(n_left).n:
            name = next(candidates, None)
            if name is None:
                return None
            taken.append(name)
            n_left -= self._held[name].n
        return taken

    def take(self, n: int = 1, former: str | None = None) -> bool:
        """Take slots of publishers that are away, until `n` are free. Return False if there are not enough."""
        taken = self.to_take(n, former)
        for name in taken or ():
            logged = logged_id(SessionId(name))
            logger.info("session=%s gives its slot to a new stream", logged, extra={"session": logged})
            self._on_taken(name)
        return taken is not None

    def add_channels(self, n_channels: int, slot: ExitStack, *, n_held: int = 1, former: str | None = None) -> None:
        """Hold a slot for each channel that is captioned apart, beside those that are held.

        A session that is alone gets them also on a slow machine, as a single stream does: it hurts nobody else. So does
        one that replaces another one, as long as it needs no more slots than that one gives up.

        Args:
            n_channels: the number of these channels.
            slot: holds the slots.
            n_held: the number of those that it holds already.
            former: the session with slots that is replaced. It gives them up, unless this method raises.

        Raises:
            InvalidMessage, Unavailable: see `check_channels`.
        """
        n_more = self.check_channels(n_channels, n_held=n_held, former=former)
        if n_more:
            self.take(n_more, former)
        if former is not None:
            self.free(former)
        for _ in range(n_channels - n_held):
            slot.enter_context(self.hold())

    def check_channels(self, n_channels: int, *, n_held: int = 1, former: str | None = None) -> int:
        """Check that there is a slot for each channel; see `add_channels`. Return the number of others to be taken.

        Raises:
            InvalidMessage: `unsupported_channels`: there will never be enough.
            Unavailable: there are not enough now.
        """
        if self._max_streams is not None and n_channels > self._max_streams:
            message = f"{n_channels} channels apart take as many streams; --max-streams is {self._max_streams} here"
            raise InvalidMessage(message, code="unsupported_channels")
        n_own = n_held + (0 if former is None else self._held[former].n)
        n_more = n_channels - n_own
        is_alone = self._max_streams is None and len(self) == n_own
        if n_more <= 0 or is_alone:
            return 0
        if self.to_take(n_more, former) is None:
            n_free = n_own + max(0, self.limit.n - len(self))
            message = f"{n_channels} channels apart take as many streams; this server has room for {n_free} now"
            raise Unavailable(message, retry_after_s=RETRY_AFTER_S)
        return n_more
