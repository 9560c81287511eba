"""Cues of rooms are kept for HLS players, and texts for polls, because both ask again and again.

request ─> kept? ──no──> new and empty ─> what is new is taken, one request at a time ─> the answer
                                             └─ long work: in a thread, few at a time ─> 503, if too many wait
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from aiohttp import web

from livecaption.captions.hls import Timeline
from livecaption.captions.labels import Names
from livecaption.captions.polling import Texts
from livecaption.captions.transcript import settled_in_track
from livecaption.errors import Unavailable
from livecaption.events import Final
from livecaption.server.exports import KEEP_S, MAX_AT_A_TIME, MAX_WAITING, RETRY_AFTER_S, paced

MAX_TIMELINES = 8
"""Rooms, languages and line lengths whose cues are kept. An hour of speech has 100 KB."""
MAX_POLLED = 64
"""Rooms and languages whose texts are kept for polls. An hour of speech has 100 KB."""

Key = tuple[str, int, str | None, int]
"""A room, its event, the track, and the columns of a line (0: none)."""


@dataclass(frozen=True, slots=True)
class PartState:
    """The state of a part. It changes when there is anything new.

    Attributes:
        n_captions: the number of finals and translations so far.
        open_since_ms: the earliest start of an utterance without a final, as far as it is known; None: there is none.
        is_over: whether nothing follows.
    """

    n_captions: int
    open_since_ms: int | None
    is_over: bool


@dataclass(frozen=True, slots=True)
class PartFinals:
    """All finals of one part so far, and the names of its speakers. `began_at_ms` is in ms of the Unix clock."""

    id: str
    began_at_ms: int
    finals: Iterable[Final]
    state: PartState
    names: Names


Paced = Callable[[Iterable[Final]], Iterable[Final]]
"""Passes finals on, and rests between them. Raises Unavailable if nobody waits for the work any more."""


class Kept:
    """The captions of one event of a room in one language, as far as they are settled.

    Attributes:
        sessions: the ids of the parts of which it has anything, or is about to.
        complete: the ids of the parts of which it has everything.
        states: the state of each part that was taken.
        changing: held while anything is added.
    """

    def __init__(self, track: str | None) -> None:
        self.sessions: set[str] = set()
        self.complete: set[str] = set()
        self.states: dict[str, PartState] = {}
        self.changing = asyncio.Lock()
        self._track = track
        self._taken: dict[str, set[int]] = {}  # the utterances of each part
        self._awaited_ms: dict[str, int] = {}  # the earliest start in each part of what is known and not settled

    def _settled(self, part: PartFinals, paced: Paced) -> Iterator[Final]:
        """Yield the finals of a part that are settled and new, and note what was taken."""
        taken = self._taken.setdefault(part.id, set())
        new = [final for final in part.finals if final.utterance not in taken]
        state = part.state
        settled = settled_in_track(new, self._track, is_over=state.is_over, open_since_ms=state.open_since_ms)
        for final in paced(settled):
            yield final
            taken.add(final.utterance)
        self._awaited_ms.pop(part.id, None)
        if len(settled) < len(new):
            self._awaited_ms[part.id] = min(final.start_ms for final in new if final.utterance not in taken)
        self.states[part.id] = state
        if state.is_over:
            self.complete.add(part.id)


class KeptTimeline(Kept):
    """The cues of one event.

    Attributes:
        timeline: the cues.
        began_at_ms: the beginning of its first part, in ms of the Unix clock.
        is_over: whether nothing follows.
    """

    def __init__(self, began_at_ms: int, track: str | None, line_length: int) -> None:
        super().__init__(track)
        self.timeline = Timeline(line_length)
        self.began_at_ms = began_at_ms
        self.is_over = False
        self._shifts_ms: dict[str, int] = {}

    def take(self, parts: Sequence[PartFinals], until_ms: int | None, paced: Paced) -> None:
        """Take what is new. Called in threads: a day of speech takes seconds.

        Args:
            parts: the parts that have changed.
            until_ms: the time of the timeline before which all finals of utterances that are over are known; None: the
                event is over, once its parts are.
            paced: see `Paced`.
        """
        for part in parts:
            shift_ms = self._shifts_ms[part.id] = part.began_at_ms - self.began_at_ms
            for final in self._settled(part, paced):
                self.timeline.push(final.later(shift_ms), part.names)
        if until_ms is None and all(state.is_over for state in self.states.values()):
            self.timeline.finish()
            self.is_over = True
            return
        limits_ms = [] if until_ms is None else [until_ms]
        limits_ms += [self._shifts_ms[part] + start_ms for part, start_ms in self._awaited_ms.items()]
        for part_id, state in self.states.items():
            if not state.is_over and state.open_since_ms is not None:
                limits_ms.append(self._shifts_ms[part_id] + state.open_since_ms)
        if limits_ms:
            self.timeline.advance(min(limits_ms))


class KeptTexts(Kept):
    """The texts of one event for polls.

    Attributes:
        texts: those of each part.
    """

    def __init__(self, track: str | None) -> None:
        super().__init__(track)
        self.texts: dict[str, Texts] = {}

    def take(self, parts: Sequence[PartFinals], paced: Paced = iter) -> None:
        """Take what is new of the parts that have changed."""
        for part in parts:
            texts = self.texts.setdefault(part.id, Texts())
            for final in self._settled(part, paced):
                texts.push(final, part.names)


T = TypeVar("T", bound=Kept)


class Shelf(Generic[T]):
    """A shelf keeps captions of one kind, the least used first. Used by the event loop.

    Args:
        max_kept: how many.
        keep_s: how long each of them is kept without being used.
    """

    def __init__(self, max_kept: int, keep_s: float) -> None:
        self._max_kept = max_kept
        self._keep_s = keep_s
        self._kept: OrderedDict[Key, tuple[T, asyncio.TimerHandle]] = OrderedDict()

    def get(self, key: Key, sessions: set[str]) -> T | None:
        """Return what is kept, and keep it longer. Nothing is kept of an event of which a part was deleted."""
        if key not in self._kept:
            return None
        kept, _ = self._kept[key]
        self._drop(key)
        if not kept.sessions <= sessions:
            return None
        self.put(key, kept)
        return kept

    def put(self, key: Key, kept: T) -> None:
        """Keep this, and drop what is too much."""
        self._kept[key] = kept, asyncio.get_running_loop().call_later(self._keep_s, self._drop, key)
        if len(self._kept) > self._max_kept:
            self._drop(next(iter(self._kept)))

    def forget(self, session_id: str) -> None:
        """Drop all that has captions of this session."""
        for key in [key for key, (kept, _) in self._kept.items() if session_id in kept.sessions]:
            self._drop(key)

    def close(self) -> None:
        for key in list(self._kept):
            self._drop(key)

    def _drop(self, key: Key) -> None:
        self._kept.pop(key)[1].cancel()


class Followed:
    """All that is kept for these programs, and the threads for long work. Used by the event loop, until `close`.

    Args:
        keep_s: how long anything is kept without being used.
    """

    def __init__(self, *, keep_s: float = KEEP_S) -> None:
        self.timelines: Shelf[KeptTimeline] = Shelf(MAX_TIMELINES, keep_s)
        self.polled: Shelf[KeptTexts] = Shelf(MAX_POLLED, keep_s)
        self._threads = ThreadPoolExecutor(MAX_AT_A_TIME, "followed")
        self._n_places = 0
        self._closed = False

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place for long work.

        Raises:
            Unavailable: too many others are running or wait.
        """
        if self._n_places >= MAX_AT_A_TIME + MAX_WAITING:
            raise Unavailable("too many captions are requested at the moment", retry_after_s=RETRY_AFTER_S)
        self._n_places += 1
        try:
            yield
        finally:
            self._n_places -= 1

    async def work(self, take: Callable[[Paced], None], is_wanted: Callable[[], bool]) -> None:
        """Take finals in a thread. Have a `place`.

        Args:
            take: takes finals as `Paced` passes them on.
            is_wanted: returns True while the client is connected; called in the thread.

        Raises:
            Unavailable: the client has gone, or the server stops.
        """

        def check() -> None:
            if self._closed or not is_wanted():
                raise Unavailable("no client waits for these captions any more")

        await asyncio.get_running_loop().run_in_executor(self._threads, take, partial(paced, check=check))

    def forget(self, session_id: str) -> None:
        """Drop all that has captions of this session."""
        self.timelines.forget(session_id)
        self.polled.forget(session_id)

    def close(self) -> None:
        """Stop the work that runs, and drop everything."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.timelines.close()
        self.polled.close()


FOLLOWED: web.AppKey[Followed] = web.AppKey("followed rooms", Followed)
