"""All sessions of this server: admission, look-up, and the common end."""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from livecaption.errors import LivecaptionError, Unavailable, UnknownSession
from livecaption.live.claims import Claims
from livecaption.live.config import RegistryLimits
from livecaption.live.connections import Connections
from livecaption.live.dialects.commands import Open, Reattach
from livecaption.live.opener import RoomOfSession, SessionOpener
from livecaption.live.peer import Peer, Socket
from livecaption.live.published import News
from livecaption.live.roll_call import RollCall
from livecaption.live.session import LiveSession
from livecaption.live.slots import RETRY_AFTER_S, Slots
from livecaption.live.state import Ending
from livecaption.pipeline.options import StreamOptions
from livecaption.scheduling.admission import LimitReason
from livecaption.scheduling.config import AdmissionConfig
from livecaption.store.rows import InterruptedSession
from livecaption.workers.pool import PoolState, WorkerPool

READERS_RETRY_AFTER_S = 10.0
"""Time after which a refused reader may ask again. Readers stay long, so asking more often is useless."""
GIVE_UP_MARGIN_S = 1.0
"""Part of the drain time that is kept for streams whose finals did not come: their last events and their close."""

logger = logging.getLogger(__name__)


class SessionRegistry:
    """Admission, the open sessions and those that ended just now, and their common end.

    Args:
        pool: transcribes; the number of streams depends on its load.
        opener: makes the sessions.
        max_streams: streams at a time; None: as many as the workers can serve.
        max_readers: readers at a time, of all sessions together.
        drain_timeout_s: how long `drain` waits for the last captions.
        admission: the times by which admission decides.
        limits: how many sessions are kept, and for how long.
    """

    def __init__(
        self,
        pool: WorkerPool,
        opener: SessionOpener,
        *,
        max_streams: int | None,
        max_readers: int,
        drain_timeout_s: float,
        admission: AdmissionConfig,
        limits: RegistryLimits,
    ) -> None:
        self._pool = pool
        self._opener = opener
        self._slots = Slots(
            pool,
            max_streams,
            admission,
            limits.take_after_s,
            on_taken=lambda name: self._take_slot(self._sessions[name]),
            on_freed=lambda: self._fewer.set(),
        )
        self._roll_call = RollCall()
        self.max_readers = max_readers
        self._drain_timeout_s = drain_timeout_s
        self._limits = limits
        self.refused: Counter[str] = Counter()
        """Streams refused since the start, by the code that they were sent."""
        self.connections = Connections()
        self.n_resumed = 0
        """Publishers that came back since the start."""
        self.n_readers = 0
        """Readers that are here, of all sessions together."""
        self.n_readers_refused = 0
        """Readers refused since the start, because there were too many."""
        self._ended_received_ms = 0  # of sessions that are over
        self._sessions: dict[str, LiveSession] = {}  # all that can be found
        self._open: set[LiveSession] = set()  # those of them that are not over
        self._ended: deque[str] = deque()  # ids, the oldest first
        self._without_slot: list[LiveSession] = []  # parked ones, the oldest first
        self.claims = Claims(limits.max_claims)
        self._fewer = asyncio.Event()  # set when a session ends or a slot is given back
        self._drain: asyncio.Future[None] | None = None
        self.overran = False
        """True if a drain ended before all finals were sent."""

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def ids(self) -> list[str]:
        """The ids of all sessions that can be found."""
        return list(self._sessions)

    @property
    def limit(self) -> int:
        """The number of streams that may be open now."""
        return self._slots.limit.n

    @property
    def limit_reason(self) -> LimitReason:
        """The measurement or setting that decides the limit."""
        return self._slots.limit.reason

    @property
    def n_accepted(self) -> int:
        """Streams accepted since the start."""
        return self._slots.n_accepted

    @property
    def received_ms(self) -> int:
        """Audio taken over from all streams since the start."""
        return self._ended_received_ms + sum(session.received_ms for session in self._open)

    @property
    def n_parked(self) -> int:
        """Sessions whose publisher's connection is lost."""
        return sum(session.parked for session in self._sessions.values())

    # Sessions come and go

    def open(
        self,
        connection: Peer,
        command: Open,
        slot: ExitStack,
        *,
        is_admitted: bool,
        resumable: bool,
        room: RoomOfSession | None = None,
        replaced: LiveSession | None = None,
    ) -> LiveSession:
        """Open a session for the publisher on this connection.

        Args:
            slot: holds its slot among the streams; this method takes it over, also where it raises.
            is_admitted: whether `slot` holds one already.
            resumable: whether its protocol lets a publisher come back.
            room: the room that it is a part of.
            replaced: the session that ends with it. It gives up its slots, unless this method raises.

        Raises:
            InvalidMessage: the model cannot do what the options ask for, or there are more channels than slots.
            Unavailable: there are not enough slots for all channels now.
        """
        former = replaced.id if replaced is not None and self._slots.holds(replaced.id) else None
        with slot:
            self._opener.check(command)  # nobody gives up a slot for a stream that is refused
            if not is_admitted and former is None:
                slot.enter_context(self.admitted())
                is_admitted = True
            n_channels = command.options.n_channels_apart or 1
            self._slots.add_channels(n_channels, slot, n_held=int(is_admitted), former=former)
            session = self._opener.new(
                command, self._session_parked, self._session_ended, resumable=resumable, room=room
            )
            session.start(connection)
            self._add(session, slot.pop_all())
        return session

    def check_open(self, command: Open, n_held: int) -> None:
        """Check that `open` would accept this, where it replaces no session of this server. It raises the same."""
        self._opener.check(command)
        self._slots.check_channels(command.options.n_channels_apart or 1, n_held=n_held)

    def reopen(self, earlier: InterruptedSession, options: StreamOptions, news: News | None = None) -> LiveSession:
        """Go on with a session of another server: it waits for its publisher from now on.

        Its slot is not taken by others: its publisher has lost the connection because of the server. `news` is that of
        its room.
        """
        session = self._opener.interrupted(earlier, options, self._session_parked, self._session_ended, news)
        session.start(None)
        slot = None
        if session.has_audio:
            slot = ExitStack()
            for _ in range(options.n_channels_apart or 1):
                slot.enter_context(self._slots.hold())
        self._add(session, slot)
        return session

    def reattach(self, session: LiveSession, connection: Peer, command: Reattach) -> None:
        """Give the session to the publisher on this connection, which `check_resume` has accepted.

        Raises:
            InvalidMessage: the session has given up its slots, and this server has fewer.
            Unavailable: the session has given up its slot, and there is no other.
        """
        if not self._slots.holds(session.id) and not session.hub.closed:
            with ExitStack() as slot:
                slot.enter_context(self.admitted())
                self._slots.add_channels(session.options.n_channels_apart or 1, slot)
                self._slots.keep(session.id, slot.pop_all(), session.options.n_channels_apart or 1)
        self._slots.note_back(session.id)
        self.n_resumed += 1
        session.resume(connection, command)

    def _add(self, session: LiveSession, slot: ExitStack | None) -> None:
        self._sessions[session.id] = session
        if slot is not None:
            self._slots.keep(session.id, slot, session.options.n_channels_apart or 1)
        self._open.add(session)
        if self.draining:  # it began between the admission and now
            session.drain()

    def _session_parked(self, session: LiveSession) -> None:
        """Free the slot of a session without audio: connecting and vanishing would fill the server."""
        if session.has_audio:
            self._slots.note_away(session.id)
        else:
            self._take_slot(session)

    def publisher_left(self, session: LiveSession) -> None:
        """Note that the publisher has left for good: the session only waits for its last finals."""
        self._slots.note_away(session.id, for_good=True)

    def _take_slot(self, session: LiveSession) -> None:
        """Free the slot of a session without a publisher. Only some such sessions wait, because others may follow."""
        self._slots.free(session.id)
        if not session.parked:
            return
        others = [
            one for one in self._without_slot if one is not session and one.parked and not self._slots.holds(one.id)
        ]
        self._without_slot = [*others, session]
        if len(self._without_slot) > self._limits.max_without_slot:
            self._without_slot.pop(0).end_audio(Ending("disconnect"))

    def _session_ended(self, session: LiveSession) -> None:
        """Free the slot of a session that is over; it can be found for a while, unless another server has it."""
        if session not in self._open:
            return  # it has left
        self._open.discard(session)
        self._ended_received_ms += session.received_ms
        self._slots.free(session.id)
        self._fewer.set()
        if not session.hub.ended:
            del self._sessions[session.id]
            return
        asyncio.get_running_loop().call_later(self._limits.keep_ended_s, self._sessions.pop, session.id, None)
        self._ended.append(session.id)
        if len(self._ended) > self._limits.max_ended:
            self._sessions.pop(self._ended.popleft(), None)
        if session.hub.forgotten:
            del self._sessions[session.id]

    def leave(self, session_id: str, ending: Ending, *, is_lost: bool) -> bool:
        """Let another server go on with a session: see `LiveSession.leave`. Return False if it is not here."""
        if (session := self._sessions.get(session_id)) is None or session not in self._open:
            return False
        session.leave(ending, is_lost=is_lost)
        self._session_ended(session)
        return True

    def send_away(self) -> list[LiveSession]:
        """Park all sessions that can go on elsewhere, and close their connections. Return these sessions."""
        for socket in self.connections:
            socket.send_away()
        return [session for session in self._open if session.outlives_server and session.parked]

    def forget(self, session_id: str) -> None:
        """Forget a session that was deleted. If it runs, forget its captions so far, and the rest at its end."""
        if (session := self.known(session_id)) is not None:
            session.hub.forget()
            if session not in self._open:
                del self._sessions[session_id]

    def find(self, session_id: str) -> LiveSession:
        """Return the session of this name, open or just over. If there is none, raise UnknownSession."""
        session = self.known(session_id)
        if session is None:
            raise UnknownSession("there is no such session, or it is forgotten")
        return session

    def known(self, session_id: str) -> LiveSession | None:
        """Return the session of this name, open or just over, or None."""
        return self._sessions.get(session_id)

    def check_admission(self) -> None:
        """Check that one more stream would be admitted now.

        Raises:
            Unavailable: `loading`, `failed`, `draining` or `overloaded`.
        """
        if self.draining:
            raise Unavailable("the server is stopping", code="draining", retry_after_s=RETRY_AFTER_S)
        self.check_loaded()
        if self._pool.state in (PoolState.FAILED, PoolState.STOPPED):
            raise Unavailable("no inference process runs", code="failed", retry_after_s=30.0)
        if self._slots.to_take() is None:
            raise Unavailable("as many streams as this server takes are open", retry_after_s=RETRY_AFTER_S)

    def check_loaded(self) -> None:
        """Check that a model is loaded, without which no stream is judged. If not, raise Unavailable (`loading`)."""
        if self._pool.state is PoolState.LOADING:
            raise Unavailable("the model is loading", code="loading", retry_after_s=RETRY_AFTER_S)

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Hold one of the slots for a stream. If there is none, raise Unavailable: see `check_admission`."""
        self.check_admission()
        self._slots.take()
        with self._slots.hold():
            yield

    async def find_room(self) -> None:
        """If there is no room for a new stream, notice publishers that are gone."""
        if not self.draining and self._slots.to_take() is None:
            await self._roll_call.hold(self.connections)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Count a reader while it reads.

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

    # The common end

    @contextmanager
    def connected(self, socket: Socket) -> Iterator[None]:
        """Note a connection that a drain must close too."""
        with self.connections.containing(socket):
            if self.draining:  # it began between the admission and now
                socket.drain()
            yield

    @property
    def draining(self) -> bool:
        """True if no more streams are taken because all are to end."""
        return self._drain is not None

    async def drain(self) -> None:
        """End every session with its last caption, within the drain time-out. Idempotent."""
        if self._drain is None:
            self._drain = asyncio.ensure_future(self._drain_all())
        await asyncio.shield(self._drain)

    def fail(self, error: LivecaptionError) -> None:
        """End every session with this error, which is a fault of ours. `drain` waits for them."""
        for session in list(self._open):
            session.fail(error)
        for socket in self.connections:
            socket.fail(error)

    async def close(self) -> None:
        """Close every socket with 1001 at once, also where something is still owed."""
        await asyncio.gather(*(socket.close() for socket in self.connections))

    async def _drain_all(self) -> None:
        logger.info("draining %d streams", len(self))
        self._pool.drop_partials()
        for socket in self.connections:
            socket.drain()
        for session in list(self._open):
            session.drain()
        if await self._gone_within(self._drain_timeout_s - GIVE_UP_MARGIN_S):
            return
        if n_lost := sum([session.give_up_finals() for session in list(self._open)]):
            self.overran = True
            logger.error("finals of %d streams did not come in time", n_lost)
        if not await self._gone_within(GIVE_UP_MARGIN_S):
            logger.error("%d streams did not close in time", len(self))

    async def _gone_within(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, timeout_s)):
                while len(self) or self._open:
                    self._fewer.clear()
                    await self._fewer.wait()
        except TimeoutError:
            return False
        return True
