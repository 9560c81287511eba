"""Sessions that run, for those that read them: those of this server, and mirrors of those on others.

reader ─> a session of this server? ─> one that is followed? ─> the store has it, and it runs ─> followed from now on
"""

import asyncio
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

from livecaption.errors import StoreFailed, UnknownSession
from livecaption.live.following import AGAIN_S, Following
from livecaption.live.mirror import MirroredSession, session_that_is_over
from livecaption.live.publication import Publications
from livecaption.live.registry import SessionRegistry
from livecaption.live.session import LiveSession
from livecaption.store.rows import SessionRecord, SessionState
from livecaption.store.store import Store

ReadableSession = LiveSession | MirroredSession


class Anywhere:
    """Finds sessions. Used by the event loop.

    Args:
        sessions: those of this server.
        store: None: nothing is kept. It is not opened yet.
        resume_window_s: how long a session waits for its publisher.

    Attributes:
        changed: called with the id of a session of which another server or process has changed what is stored.
        report_change: called with the id of a session that was changed here, where processes share a file.
    """

    def __init__(self, sessions: SessionRegistry, store: Store | None, resume_window_s: float) -> None:
        self._sessions = sessions
        self._store = store
        self._resume_window_s = resume_window_s
        self._followed: dict[str, Following] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._changes: set[asyncio.Task[None]] = set()
        self.changed: Callable[[str], Awaitable[None]] = _ignore
        self.report_change: Callable[[str], None] = lambda _: None
        self._broadcast = None if store is None else store.broadcast
        if self._broadcast is not None:
            self._publications = Publications(sessions, self._broadcast)
            self._broadcast.listen(self._publications.answer, self.receive_change)

    def known(self, session_id: str) -> ReadableSession | None:
        """Return the session of this id, if it is here, or is followed already."""
        session = self._sessions.known(session_id)
        if session is None and (following := self._followed.get(session_id)) is not None:
            return following.session
        return session

    async def look_for(self, session_id: str) -> ReadableSession | None:
        """Return the session of this id: open here or elsewhere, or just over here. Use it before the next `await`.

        Raises:
            StoreFailed: it is not here, and the store cannot be read.
        """
        here = self._sessions.known(session_id)
        if here is not None or self._store is None or self._broadcast is None:
            return here
        async with self._locks.setdefault(session_id, asyncio.Lock()):
            if (following := self._followed.get(session_id)) is not None:
                following.session.hub.n_reads += 1
                return following.session
            stored = await self._store.running(session_id)
            if stored is None or stored.record.state is SessionState.ENDED:
                return None
            following = Following(stored, self._store, self._broadcast, self._resume_window_s, self._forget)
            if following.goes_on(stored):
                await following.open(stored)
                self._followed[session_id] = following
        return self.known(session_id)

    async def find_over(self, session_id: str) -> MirroredSession:
        """Return a session that runs nowhere, from the store, for readers who have missed its end.

        Raises:
            UnknownSession: there is none, or it may go on.
            StoreFailed: the store cannot be read.
        """
        record = None if self._store is None else await self._store.session(session_id)
        if self._store is None or record is None:
            raise UnknownSession("there is no such session, or it is forgotten")
        if await may_go_on(self._store, record):
            raise UnknownSession("this session is not over, and no server has it now")
        return await asyncio.to_thread(session_that_is_over, record, await self._store.finals(session_id))

    def go_on_here(self, session: LiveSession) -> None:
        """Let readers go on with a session that this server has taken over, here and elsewhere."""
        if (following := self._followed.get(session.id)) is not None:
            following.session.hub.go_on_here(session.hub)
            following.close()
        if self._broadcast is not None:
            self._publications.answer(session.id)

    def note_change(self, session_id: str) -> None:
        """Let the others read again what is stored of a session, because it was changed here."""
        if self._broadcast is None:
            self.report_change(session_id)
        else:
            self._broadcast.note_change(session_id)

    def receive_change(self, session_id: str | None) -> None:
        """Read again what is stored of a session. None: of all that are here, of which some may have been changed."""
        if session_id is not None and (following := self._followed.get(session_id)) is not None:
            following.receive(None)
        change = asyncio.create_task(self._apply_changes(session_id))
        self._changes.add(change)
        change.add_done_callback(self._changes.discard)

    async def close(self) -> None:
        """Follow and publish nothing more."""
        for following in list(self._followed.values()):
            following.close()
        if self._broadcast is not None:
            await self._publications.close()
        for change in self._changes:
            change.cancel()

    def _forget(self, session_id: str) -> None:
        self._followed.pop(session_id, None)

    async def _apply_changes(self, session_id: str | None) -> None:
        sessions = [session_id] if session_id is not None else await self._stored()
        for each in sessions:
            await self._apply_change(each)

    async def _stored(self) -> list[str]:
        """Return the sessions here, once the store has all that it will ever have. Others would seem to be deleted."""
        assert self._store is not None
        sessions = self._sessions.ids
        while self._store.figures.waiting:  # noqa: ASYNC110 - there is no event of it
            await asyncio.sleep(AGAIN_S)
        return [session_id for session_id in sessions if not self._store.has_lost(session_id)]

    async def _apply_change(self, session_id: str) -> None:
        while True:
            try:
                await self.changed(session_id)
                return
            except StoreFailed:
                await asyncio.sleep(AGAIN_S)


async def may_go_on(store: Store, record: SessionRecord) -> bool:
    """Return whether a session that is not here runs elsewhere, or can go on.

    Raises:
        StoreFailed: the store cannot be read.
    """
    if record.state is SessionState.INTERRUPTED:
        return await store.resumption(record.id) is not None
    return record.state is SessionState.OPEN


async def _ignore(_: str) -> None:
    pass
