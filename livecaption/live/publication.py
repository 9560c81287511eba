"""Publishes the sessions of this server to their mirrors on others, as long as anybody follows them there.

A publication is one more reader of the hub: it takes what is new once what it took before is sent. So nothing piles up
for a slow database, and the publisher does not wait for it.
"""

import asyncio

from livecaption.events import Snapshot
from livecaption.live.bulletin import Head, encode
from livecaption.live.hub import Hub
from livecaption.live.registry import SessionRegistry
from livecaption.store.broadcast import Broadcast

HEARTBEAT_S = 2.0
"""Time in s after which mirrors get a sign of life where nothing happens. Longer: a lost bulletin is noticed later.
Shorter: more transactions."""


class Publications:
    """The publications of one server. Used by the event loop, until `close`."""

    def __init__(self, sessions: SessionRegistry, broadcast: Broadcast) -> None:
        self._sessions = sessions
        self._broadcast = broadcast
        # By the hub, not by the id: a session that left and came back has another, and its former task may still run.
        self._tasks: dict[Hub, asyncio.Task[None]] = {}
        self._owed: set[Hub] = set()  # those whose whole state is asked for

    def answer(self, session_id: str) -> None:
        """Publish the whole state of a session if it is here, and what follows as long as anybody follows it."""
        session = self._sessions.known(session_id)
        if session is None or not session.options.keep:  # others could not read its finals
            return
        hub = session.hub
        self._owed.add(hub)
        if hub in self._tasks:
            hub.news.notify()
            return
        task = self._tasks[hub] = asyncio.create_task(self._publish(hub, session_id))
        task.add_done_callback(lambda _: self._tasks.pop(hub))

    async def close(self) -> None:
        """Publish nothing more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _publish(self, hub: Hub, topic: str) -> None:
        seq = hub.last_seq - hub.ended
        look: object = None

        def take() -> str:
            nonlocal seq, look
            former, look = look, _look(hub)
            with_state = hub in self._owed or look != former
            self._owed.discard(hub)
            text, seq = bulletin(hub, seq, with_state=with_state)
            return text

        while True:
            await self._broadcast.publish(topic, take)
            is_new = hub.last_seq != seq or _look(hub) != look or hub in self._owed
            if hub.closed and not is_new:
                return
            if not self._broadcast.is_followed(topic) and hub not in self._owed:
                return
            if not is_new:
                await hub.news.wait(HEARTBEAT_S)


def bulletin(hub: Hub, since: int, *, with_state: bool) -> tuple[str, int]:
    """Return what is new in a hub since an event, for its mirrors, and the number of its newest event."""
    state = hub.state if with_state else None
    if with_state and hub.ended:
        since = min(since, hub.last_seq - 1)  # a mirror that begins now gets the end too
    messages, until = hub.read(since)
    if messages and isinstance(messages[0].event, Snapshot):  # this is too late, and the mirrors will ask
        since, messages = until, []
    head = Head(hub.generation, since, until, hub.n_captions, hub.forgotten, hub.away_since_ms, hub.open_since_ms)
    return encode(head, [message.text for message in messages], state), until


def _look(hub: Hub) -> object:
    """Return what may change without an event."""
    return hub.title, dict(hub.names), hub.forgotten
