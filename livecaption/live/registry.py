"""All streams of this server: who is let in, who is here, and how they end together."""

import asyncio
import itertools
import logging
import secrets
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from livecaption.errors import LivecaptionError, Unavailable, UnknownSession
from livecaption.recognition import RequestId, SessionId
from livecaption.scheduling.admission import NEW_S, stream_limit
from livecaption.workers.pool import PoolState, WorkerPool

if TYPE_CHECKING:
    from livecaption.live.session import LiveSession

RETRY_AFTER_S = 2.0
READERS_RETRY_AFTER_S = 10.0
"""Readers stay for as long as somebody speaks; who asks too often only takes time from them."""
KEEP_ENDED_S = 300.0
"""How long a session that is over can still be read, and be resumed by a publisher that missed its end."""
MAX_ENDED = 2000
"""So many of these are kept, the newest; each takes some 20 KB and its finals."""
MAX_WITHOUT_AUDIO = 100
"""Sessions without audio whose publisher's connection is lost, the newest; they hold no slot."""
MAX_CLAIMS = 4
"""Connections that have named a session and not yet shown its token. A client has one or two of them."""
GIVE_UP_MARGIN_S = 1.0
"""Kept from the drain time for the last words to those whose finals did not come, and their close."""

logger = logging.getLogger(__name__)


class Draining(Protocol):
    """A stream that can be asked to end."""

    @property
    def received_ms(self) -> int:
        """Audio taken over so far."""

    def drain(self) -> None:
        """Take no more audio, get the finals out, say `end`, close with 1001."""

    def give_up_finals(self) -> bool:
        """Answer what is still awaited as failed: the time is up. Whether there was any."""

    def fail(self, error: LivecaptionError) -> None:
        """Take no more audio, tell the error, get the finals out, close with the error's code."""

    async def close(self) -> None:
        """Close with 1001, whatever is still owed."""


class SessionRegistry:
    """Admission, the open streams and those that ended just now, and their common end.

    Args:
        max_streams: streams at a time; None: as many as the workers can serve.
        max_readers: readers at a time, of all sessions together.
        drain_timeout_s: how long `drain` waits for the last captions.
    """

    def __init__(self, pool: WorkerPool, *, max_streams: int | None, max_readers: int, drain_timeout_s: float) -> None:
        self._pool = pool
        self._max_streams = max_streams
        self.max_readers = max_readers
        self._drain_timeout_s = drain_timeout_s
        self._admitted_s: dict[int, float] = {}  # when each open stream was let in, by its number
        self.n_accepted = 0
        """Streams let in since the start."""
        self.refused: Counter[str] = Counter()
        """Streams not let in since the start, by the code that they were sent."""
        self.n_resumed = 0
        """How often a publisher came back since the start."""
        self.n_readers = 0
        """Who reads along, of all sessions together."""
        self.n_readers_refused = 0
        """Readers not let in since the start, because there were too many."""
        self._left_received_ms = 0  # of streams that are gone
        self._sessions: dict[str, LiveSession] = {}
        self._open: set[Draining] = set()
        self._ended: deque[str] = deque()  # ids, the oldest first
        self._without_audio: list[LiveSession] = []  # the oldest first
        self._claims: dict[str, list[Draining]] = {}  # by the session they name, the oldest first
        self._all_gone = asyncio.Event()
        self._all_gone.set()
        self._request_ids = itertools.count(1)
        self._drain: asyncio.Future[None] | None = None
        self.overran = False
        """Whether a drain ended before all finals were out."""

    def __len__(self) -> int:
        return len(self._admitted_s)

    @property
    def limit(self) -> int:
        """How many streams may be open just now."""
        if self._max_streams is not None:
            return self._max_streams
        new_since_s = time.monotonic() - NEW_S
        n_new = sum(admitted_s > new_since_s for admitted_s in self._admitted_s.values())
        return stream_limit(len(self), n_new, self._pool.load)

    @property
    def received_ms(self) -> int:
        """Audio taken over from all streams since the start."""
        return self._left_received_ms + sum(stream.received_ms for stream in self._open)

    @property
    def n_parked(self) -> int:
        """Sessions whose publisher's connection is lost; each holds its slot."""
        return sum(session.parked for session in self._sessions.values())

    def keep(self, session: "LiveSession") -> None:
        """From now on `find` finds it."""
        self._sessions[session.id] = session

    def forget_later(self, session: "LiveSession") -> None:
        """It is over: it can be found for a while."""
        asyncio.get_running_loop().call_later(KEEP_ENDED_S, self._sessions.pop, session.id, None)
        self._ended.append(session.id)
        if len(self._ended) > MAX_ENDED:
            self._sessions.pop(self._ended.popleft(), None)

    def keep_without_audio(self, session: "LiveSession") -> None:
        """It is parked without a slot, as it was never spoken into; where there are many of them, the oldest ends."""
        self._without_audio = [one for one in self._without_audio if one.parked and one.received_ms == 0]
        self._without_audio.append(session)
        if len(self._without_audio) > MAX_WITHOUT_AUDIO:
            self._without_audio.pop(0).give_up()

    def find(self, session_id: str) -> "LiveSession":
        """The session of this name, open or just over.

        Raises:
            UnknownSession: there is none.
        """
        try:
            return self._sessions[session_id]
        except KeyError:
            raise UnknownSession("there is no such session, or it is forgotten") from None

    def next_request_id(self) -> RequestId:
        return RequestId(next(self._request_ids))

    @staticmethod
    def new_id() -> SessionId:
        """Unguessable: 128 bits."""
        return SessionId(secrets.token_urlsafe(16))

    def check_admission(self) -> None:
        """Whether one more stream would be let in now.

        Raises:
            Unavailable: `loading`, `failed`, `draining` or `overloaded`.
        """
        if self.draining:
            raise Unavailable("the server is stopping", code="draining", retry_after_s=RETRY_AFTER_S)
        self.check_loaded()
        if self._pool.state in (PoolState.FAILED, PoolState.STOPPED):
            raise Unavailable("no inference process runs", code="failed", retry_after_s=30.0)
        if len(self) >= self.limit:
            raise Unavailable("as many streams as this server takes are open", retry_after_s=RETRY_AFTER_S)

    def check_loaded(self) -> None:
        """Whether what a stream asks for can be judged.

        Raises:
            Unavailable: `loading`.
        """
        if self._pool.state is PoolState.LOADING:
            raise Unavailable("the model is loading", code="loading", retry_after_s=RETRY_AFTER_S)

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Hold one of the slots for a stream.

        Raises:
            Unavailable: there is none; see `check_admission`.
        """
        self.check_admission()
        with self.slot():
            yield

    @contextmanager
    def slot(self) -> Iterator[None]:
        """A slot for a stream that an earlier server has let in."""
        self.n_accepted += 1
        number = self.n_accepted
        self._admitted_s[number] = time.monotonic()
        self._all_gone.clear()
        try:
            yield
        finally:
            del self._admitted_s[number]
            if not self._admitted_s:
                self._all_gone.set()

    @contextmanager
    def claiming(self, session_id: str, claim: Draining) -> Iterator[None]:
        """A connection that needs no slot of its own, since it has named this session, which has one.

        Anybody who knows the id can do so. So only a few wait for their `start` at a time: the newest, of which one may
        be the publisher's.
        """
        claims = self._claims.setdefault(session_id, [])
        claims.append(claim)
        if len(claims) > MAX_CLAIMS:
            claims.pop(0).fail(Unavailable("newer connections claim this session", retry_after_s=RETRY_AFTER_S))
        try:
            yield
        finally:
            if claim in claims:
                claims.remove(claim)
            if not claims:
                self._claims.pop(session_id, None)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Somebody reads along.

        Raises:
            Unavailable: `too_many_readers`.
        """
        if self.n_readers >= self.max_readers:
            self.n_readers_refused += 1
            raise Unavailable(
                "as many readers as this server takes are here",
                code="too_many_readers",
                retry_after_s=READERS_RETRY_AFTER_S,
            )
        self.n_readers += 1
        try:
            yield
        finally:
            self.n_readers -= 1

    @contextmanager
    def registered(self, stream: Draining) -> Iterator[None]:
        """A stream that a drain must ask to end."""
        self._open.add(stream)
        if self.draining:  # it began between the admission and now
            stream.drain()
        try:
            yield
        finally:
            self._open.discard(stream)
            self._left_received_ms += stream.received_ms

    @property
    def draining(self) -> bool:
        """Whether no more streams are taken because all are to end."""
        return self._drain is not None

    async def drain(self) -> None:
        """Let everybody have their last caption, then go. At most the drain time-out. Idempotent."""
        if self._drain is None:
            self._drain = asyncio.ensure_future(self._let_all_go())
        await asyncio.shield(self._drain)

    def fail(self, error: LivecaptionError) -> None:
        """A fault of ours: end every stream with this error. `drain` waits for them."""
        for stream in list(self._open):
            stream.fail(error)

    async def close(self) -> None:
        """Close every socket with 1001 at once, whatever is still owed."""
        await asyncio.gather(*(stream.close() for stream in list(self._open)))

    async def _let_all_go(self) -> None:
        logger.info("draining %d streams", len(self))
        self._pool.drop_partials()
        for stream in list(self._open):
            stream.drain()
        if await self._gone_within(self._drain_timeout_s - GIVE_UP_MARGIN_S):
            return
        n_lost = sum([stream.give_up_finals() for stream in list(self._open)])
        if n_lost:
            self.overran = True
            logger.error("finals of %d streams did not come in time", n_lost)
        if not await self._gone_within(GIVE_UP_MARGIN_S):
            logger.error("%d streams did not close in time", len(self))

    async def _gone_within(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, timeout_s)):
                await self._all_gone.wait()
        except TimeoutError:
            return False
        return True
