"""Sessions that move from one server to another, which share a store.

publisher resumes here ─> its token is right ─> the store takes its room, and the session from the server that had it
  ─> the session waits for its publisher, as after the death of a server ─> resume
another server wants a session ─> written so far, given up ─> its connection is closed, without `end`
the store finds that a session has moved on ─> the same, and nothing more is written or sent
"""

import asyncio
import logging
import time
from weakref import WeakValueDictionary

from livecaption.errors import InvalidMessage, StoreFailed, Unavailable, WrongState
from livecaption.live.anywhere import Anywhere
from livecaption.live.cut_off import CutOff
from livecaption.live.dialects.commands import Reattach
from livecaption.live.dialects.dialect import Restore
from livecaption.live.registry import SessionRegistry
from livecaption.live.rooms import Rooms
from livecaption.live.slots import RETRY_AFTER_S
from livecaption.live.state import Ending
from livecaption.live.tokens import SessionTokens
from livecaption.recognition import SessionId, logged_id
from livecaption.speech.endpointing import EndpointingConfig
from livecaption.store.rows import InterruptedSession
from livecaption.store.store import Store

logger = logging.getLogger(__name__)


class Takeover:
    """Takes sessions over, and gives them up. Used by the event loop.

    Args:
        store: the shared store. It is not opened yet.
        sessions, rooms: those of this server.
        anywhere: has the readers of sessions that come here.
        cut_off: what happens while the store is not reached.
        restore: reads the message that has started a session; None: no protocol is resumable.
        endpointing: the defaults of a session.
        resume_window_s: how long a session waits for its publisher.
    """

    def __init__(
        self,
        store: Store,
        sessions: SessionRegistry,
        rooms: Rooms,
        anywhere: Anywhere,
        cut_off: CutOff,
        restore: Restore | None,
        endpointing: EndpointingConfig,
        resume_window_s: float,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._rooms = rooms
        self._anywhere = anywhere
        self._cut_off = cut_off
        self._restore = restore
        self._endpointing = endpointing
        self._resume_window_s = resume_window_s
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._left: set[str] = set()  # sessions that have moved on before they were here
        store.share(self._give_up, self._lose, cut_off.note)

    async def adopt(self) -> None:
        """Go on with the sessions that servers have left which are dead. They wait for their publishers.

        One that cannot be read is left out. Where servers take sessions over, so are the later ones: they go on where
        their publishers come, and the start waits no longer.

        Raises:
            StoreFailed: the store cannot list them.
        """
        can_read = True
        for session_id, interrupted_at_ms in await self._store.interruptions():
            if not self._is_awaited(interrupted_at_ms):
                self._store.give_up(session_id)
            elif can_read:
                can_read = await self._adopt(session_id) or not self._store.has_takeovers
            else:
                self._store.release(session_id)

    async def _adopt(self, session_id: SessionId) -> bool:
        """Go on with a session. Return False if it cannot be read."""
        try:
            session = await self._store.interrupted(session_id)
            if session is not None:
                async with self._rooms.going_on(session.record):
                    await self._go_on(session)
        except (WrongState, Unavailable):  # somebody else speaks in its room by now
            self._store.give_up(session_id)
        except StoreFailed as error:
            logger.warning("session=%s was interrupted, and does not go on now: %s", logged_id(session_id), error)
            self._store.release(session_id)
            return False
        return True

    async def fetch(self, asked: Reattach) -> None:
        """Take over the session that a client resumes, if another server has it.

        Raises:
            Unauthorized: `wrong_token`.
            Unavailable: yet another server was faster, or the store cannot be read or changed now, or this server is
                cut off from it, or somebody else speaks in its room, so that it is about to end.
        """
        self._cut_off.check_publisher(asked.session)
        lock = self._locks.setdefault(asked.session, asyncio.Lock())
        async with lock:  # two connections may resume it
            if self._sessions.known(asked.session) is None:
                try:
                    await self._take(asked)
                except (StoreFailed, WrongState) as error:
                    raise Unavailable(error.message, code=error.code, retry_after_s=RETRY_AFTER_S) from None

    async def _take(self, asked: Reattach) -> None:
        found = await self._store.resumption(asked.session)
        if found is None:
            return
        SessionTokens(found.resume_token_hash, found.reader_token_hash).check_publisher(asked.token)
        record = await self._store.session(asked.session)
        if record is None:
            return
        async with self._rooms.going_on(record):
            self._left.discard(asked.session)
            session = await self._store.take(SessionId(asked.session))
            if session is not None and await self._go_on(session):
                logger.info("session=%s is taken over", logged_id(session.record.id))

    async def _go_on(self, session: InterruptedSession) -> bool:
        """Let a session wait for its publisher. Return False if it waited too long, cannot go on here, or has left."""
        session_id = session.record.id
        if self._restore is not None and self._is_awaited(session.interrupted_at_ms):
            try:
                options = self._restore(session.resumption.start, self._endpointing)
                reopened = await self._rooms.reopen(session, options)
                if session_id in self._left:
                    self._leave(session_id, Ending("restarting"), is_lost=True)
                    return False
                self._anywhere.go_on_here(reopened)
                return True
            except InvalidMessage as error:
                logger.warning("a session that was interrupted cannot go on: %s", error)
        self._store.give_up(session_id)
        return False

    def _is_awaited(self, interrupted_at_ms: int) -> bool:
        """Return True if a publisher may come back to a session that was interrupted then.

        A server that crashes again and again must not keep slots for publishers that have long given up.
        """
        return interrupted_at_ms >= (time.time() - self._resume_window_s) * 1000

    def _give_up(self, session_id: SessionId) -> None:
        """Give up a session that another server wants, because its publisher is there."""
        if self._leave(session_id, Ending("replaced"), is_lost=False):
            return
        self._left.add(session_id)
        self._store.release(session_id)

    def _lose(self, session_id: SessionId, with_publisher: bool) -> None:
        """Drop a session that has moved on. If its publisher is at no other server, it is to come back."""
        ending = Ending("replaced" if with_publisher else "restarting")
        if self._leave(session_id, ending, is_lost=True):
            logger.warning("session=%s was taken over by another server", logged_id(session_id))
        else:
            self._left.add(session_id)

    def _leave(self, session_id: SessionId, ending: Ending, *, is_lost: bool) -> bool:
        """Let another server go on with a session, and with its readers. Return False if it is not here."""
        has_left = self._sessions.leave(session_id, ending, is_lost=is_lost)
        if has_left:
            self._rooms.let_go(session_id)
        return has_left
