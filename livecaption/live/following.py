"""Follows one session of another server, and keeps its mirror whole.

follow, ask ─> its server answers with all but the finals ─> the store is read ─> readers are served
  └──── torn: something was lost │ silent: the server may be dead, or the session over ────┘
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from livecaption.errors import StoreFailed
from livecaption.live.bulletin import Bulletin, decode
from livecaption.live.event_log import EventLog
from livecaption.live.mirror import MirroredSession, log_of
from livecaption.live.publication import HEARTBEAT_S
from livecaption.recognition import logged_id
from livecaption.store.broadcast import Broadcast
from livecaption.store.rows import RunningSession, SessionState
from livecaption.store.store import Store

ANSWER_S = 0.3
"""Time in s in which the server of a session answers. Longer: readers of a session whose server has died wait longer.
Shorter: they get the store's captions first, and then all of them once more."""
SILENT_S = 2.5 * HEARTBEAT_S
"""Time in s without a bulletin after which the store is read. Longer: readers wait longer for a session that is over.
Shorter: a busy database is asked more."""
LINGER_S = 30.0
"""Time in s for which a session is followed that nobody reads. Longer: more is sent that nobody needs. Shorter: players
and polls, which ask again and again, make the store be read each time."""
AGAIN_S = 1.0
MAX_AGAIN_S = 60.0
"""Times in s from one reading of the store to the next, where it cannot be read or lacks what was published: at first,
and at most. Longer: readers wait longer. Shorter: a store that will never have it is asked more."""

logger = logging.getLogger(__name__)


class Following:
    """One session that is followed, from `open` until nobody reads it, or it is over.

    Args:
        stored: the session.
        store: has its finals.
        broadcast: has what happens in it.
        resume_window_s: how long a session waits for its publisher.
        on_end: called with its id at the end.

    Attributes:
        session: what is read.
    """

    def __init__(
        self,
        stored: RunningSession,
        store: Store,
        broadcast: Broadcast,
        resume_window_s: float,
        on_end: Callable[[str], None],
    ) -> None:
        self.session = MirroredSession(stored)
        self._id = stored.record.id
        self._mirror = self.session.hub
        self._store = store
        self._broadcast = broadcast
        self._resume_window_s = resume_window_s
        self._on_end = on_end
        self._woken = asyncio.Event()
        self._has_reported = False
        self._task: asyncio.Task[None] | None = None

    def goes_on(self, stored: RunningSession) -> bool:
        """Return True if a server has this session, or its publisher may come back to any."""
        if stored.is_owned or stored.record.state is SessionState.ENDED:
            return stored.is_owned
        oldest_ms = (time.time() - self._resume_window_s) * 1000
        return stored.resumption is not None and (stored.interrupted_at_ms or 0) >= oldest_ms

    async def open(self, stored: RunningSession) -> None:
        """Begin to follow the session, which was just read from the store.

        Raises:
            StoreFailed: the store cannot be read.
        """
        if not stored.is_owned:
            self._mirror.mend(await self._log(stored, None), None)
        self._broadcast.follow(self._id, self.receive)
        try:
            if stored.is_owned:
                await self._mend()
        except BaseException:
            self._broadcast.unfollow(self._id)
            raise
        self._task = asyncio.create_task(self._keep())
        logger.info("session=%s is read from another server", logged_id(self._id))

    def close(self) -> None:
        """Follow the session no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
            self._broadcast.unfollow(self._id)
            self._on_end(self._id)

    def receive(self, text: str | None) -> None:
        """Take a bulletin; None: some may be lost."""
        bulletin = None if text is None else decode(text)
        if text is not None and bulletin is None:
            if not self._has_reported:
                logger.warning("session=%s: a notification of another program is ignored", logged_id(self._id))
            self._has_reported = True
            return
        self._mirror.receive(bulletin)
        if self._mirror.is_torn or self._mirror.answer is not None:
            self._woken.set()

    async def _keep(self) -> None:
        mirror, loop = self._mirror, asyncio.get_running_loop()
        used_at_s, n_reads = loop.time(), mirror.n_reads
        again_s = AGAIN_S
        while not mirror.closed or mirror.ended:
            n_received = mirror.n_received
            await self._wait(again_s if mirror.is_lacking else SILENT_S)
            if mirror.n_readers or mirror.n_reads != n_reads:
                used_at_s, n_reads = loop.time(), mirror.n_reads
            elif loop.time() - used_at_s >= LINGER_S:
                break
            is_silent = mirror.n_received == n_received and not mirror.ended
            if not (mirror.is_torn or mirror.is_lacking or is_silent):
                continue
            try:
                await self._mend()
            except StoreFailed:
                mirror.is_torn = True
                await asyncio.sleep(AGAIN_S)
            again_s = min(2 * again_s, MAX_AGAIN_S) if mirror.is_lacking else AGAIN_S
        mirror.close()
        self.close()

    async def _wait(self, timeout_s: float) -> None:
        """Wait until the mirror is torn, for at most this time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self._mirror.is_torn:
                    self._woken.clear()
                    await self._woken.wait()

    async def _mend(self) -> None:
        """Make the mirror whole.

        Raises:
            StoreFailed: the store cannot be read.
        """
        mirror = self._mirror
        mirror.begin_mending()
        try:
            answer = await self._answer()
            stored = await self._store.running(self._id)
            if stored is not None and answer is not None and answer.head.generation != stored.generation:
                answer = None  # another server has the session since, and will say so
            if answer is not None or (stored is not None and not mirror.ended):
                mirror.mend(await self._log(stored, answer), answer)
            if answer is None and not (mirror.ended or (stored is not None and self.goes_on(stored))):
                if stored is None:
                    mirror.forget()
                mirror.close()
        finally:
            mirror.end_mending()

    async def _log(self, stored: RunningSession | None, answer: Bulletin | None) -> EventLog:
        events = () if stored is None else await self._store.events(stored.record)
        try:
            return await asyncio.to_thread(log_of, self._id, stored, answer, events)
        except RuntimeError as error:  # no thread can be started now
            raise StoreFailed(f"a session of another server cannot be read now: {error}") from None

    async def _answer(self) -> Bulletin | None:
        """Return what the server of the session answers; None: nobody does."""
        self._broadcast.ask(self._id)
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                while self._mirror.answer is None:
                    self._woken.clear()
                    await self._woken.wait()
        return self._mirror.answer
