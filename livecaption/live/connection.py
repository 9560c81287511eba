"""One WebSocket of a publisher: messages in, those of its session out. Speaks any dialect.

    CONNECTED --opened, reattached--> PUBLISHING a session --lost, replaced, session over--> closed

The session is somebody else's (`LiveSession`), and outlives the connection.
"""

import asyncio
import logging
import time
from contextlib import ExitStack
from datetime import UTC, datetime

import aiojobs
from aiohttp import WSCloseCode, WSMsgType

from livecaption.errors import LivecaptionError, TooSlow, WrongState
from livecaption.events import ErrorReport, Event
from livecaption.ipc import logs
from livecaption.live.accounts import Account
from livecaption.live.dialects.commands import Audio, Configure, Control, Finish, Open, Reattach, Reply
from livecaption.live.dialects.dialect import Dialect
from livecaption.live.event_log import Message
from livecaption.live.logs import FEW_REFUSALS
from livecaption.live.outbox import Outbox
from livecaption.live.registry import SessionRegistry
from livecaption.live.rooms import Rooms
from livecaption.live.session import LiveSession
from livecaption.live.state import Ending
from livecaption.live.takeover import Takeover
from livecaption.live.transport import Transport
from livecaption.live.websocket import DATA
from livecaption.recognition import logged_id

STOOD_STILL_S = 1.0
"""Delay of a time-out in s that shows that this process was stopped. What came meanwhile is not read yet. Longer: after
a short stop, publishers are refused whose first message waits. Shorter: a busy process gives silent ones more time."""
CLEAN_CLOSE_CODES = (0, WSCloseCode.OK, WSCloseCode.GOING_AWAY)
"""Codes of a Close by which a client leaves for good: none named, done, and a browser's tab that is closed (RFC 6455,
7.4.1). After any other, and without a Close, the session waits for it."""

logger = logging.getLogger(__name__)
logger.addFilter(FEW_REFUSALS)


class Connection:
    """One connection, used once: `await Connection(...).run()` in the handler, after the upgrade.

    Args:
        dialect: the protocol of the client.
        sessions: opens and finds the session.
        rooms: opens it in its room.
        takeover: gets it from another server; None: no other one can have it.
        slot: holds the slot of a stream, unless a session is claimed.
        claimed: the session that the client has named to resume it, or that speaks in the room that it has named.
        account: the account of its key; None: the server has no keys.
        may_idle: see `Route`.
        admits_late: whether it is admitted when it opens a session. Then `slot` holds its place in the lobby.
    """

    def __init__(
        self,
        socket: Transport,
        dialect: Dialect,
        sessions: SessionRegistry,
        rooms: Rooms,
        takeover: Takeover | None,
        slot: ExitStack,
        claimed: str | None,
        account: Account | None = None,
        *,
        may_idle: bool = False,
        admits_late: bool = False,
    ) -> None:
        self._socket = socket
        self.protocol = dialect.protocol
        self._dialect = dialect
        self._sessions = sessions
        self._rooms = rooms
        self._takeover = takeover
        self._slot = slot
        self._claimed = claimed
        self._account = account
        self.may_idle = may_idle
        self._admits_late = admits_late
        self._claim = ExitStack()
        self._outbox = Outbox(socket)
        self.last_received_s = time.monotonic()
        self._session: LiveSession | None = None
        self._n_errors = 0
        self._ending: Ending | None = None
        self._closing = asyncio.Event()

    async def run(self) -> None:
        """Talk until the connection is lost, another has taken over, or the session is over; then close it."""
        scheduler = aiojobs.Scheduler(limit=None, close_timeout=self._socket.limits.close_timeout_s)
        sender = await scheduler.spawn(self._outbox.run())
        self._await_start()
        try:
            with self._sessions.connected(self), self._claim:
                if self._claimed is not None:
                    self._claim.enter_context(self._sessions.claims.waiting(self._claimed, self))
                reader = await scheduler.spawn(self._read())
                await self._closing.wait()
                await reader.close()
        finally:
            if self._ending is None:  # the handler was cancelled, as some applications do where a connection is lost
                self.connection_lost()
            self._overdue.cancel()
            self._outbox.finish()
            try:
                await sender.wait()
                await scheduler.close()
                assert self._ending is not None  # `connection_lost` sees to it
                # Anybody can claim a session, and send much until it is refused: that is not read on.
                refused = self._claimed is not None and self._session is None
                code, reason = self._dialect.close(self._ending)
                logger.debug("a publisher's connection is closed: %d", code)
                await self._outbox.close(code, reason, await_answer=not refused)
            finally:
                if self._session is not None:
                    self._session.connection_closed(self)

    # Calls of the session

    @property
    def is_gone(self) -> bool:
        """True if nothing reaches the peer any more."""
        return self._outbox.aborted

    def deliver(self, message: Message) -> None:
        """Send an event of the session."""
        for encoded in message.encoded(self._dialect):
            self._outbox.offer(encoded)

    def send(self, event: Event) -> None:
        """Send an event that concerns this connection alone, and therefore has no number."""
        for encoded in self._dialect.encode(event, None):
            self._outbox.offer(encoded)

    def tick(self, stream_ms: int) -> None:
        """Execute what the dialect wants at this time."""
        try:
            self._execute_all(self._dialect.tick(stream_ms))
        except LivecaptionError as error:
            (self._session or self).fail(error)

    def finish(self, ending: Ending) -> None:
        """Take nothing more; close once all that was offered is sent. The first call counts."""
        if self._ending is None:
            self._ending = ending
            self._closing.set()

    def connection_lost(self, *, clean: bool = False) -> None:
        """Take the connection for lost: nothing reaches the peer any more."""
        self._outbox.discard()
        if self._ending is None and self._session is not None:
            self._session.connection_lost(self, clean=clean)
            if not self._session.parked:
                self._sessions.publisher_left(self._session)
        self.finish(Ending("disconnect"))

    # Calls of the registry

    def drain(self) -> None:
        """Shorten the time-outs, because the server stops; close where there is no session."""
        self._outbox.shorten_timeouts()
        if self._session is None:
            self.finish(self._ending_by_a_stop)

    def send_away(self) -> None:
        """Close, so that the client resumes its session at another server if it can go on there. Here it is parked."""
        session = self._session
        if session is not None and session.outlives_server and session.takes_audio and self._ending is None:
            session.connection_lost(self, clean=False)
            self.finish(Ending("restarting"))

    def fail(self, error: LivecaptionError) -> None:
        """Refuse a client that has no session: send it the error, and close."""
        if self._session is None and self._ending is None:
            logger.info("a stream is refused: %s", error.code, extra={"code": error.code})
            self.send(ErrorReport.of(error, fatal=True))
            self.finish(Ending("error", error))

    async def close(self) -> None:
        """Close at once because the server stops, also where messages wait."""
        await self._outbox.close(*self._dialect.close(self._ending_by_a_stop))

    @property
    def _ending_by_a_stop(self) -> Ending:
        """The reason of a close at once. A client may find its session, or the one that it claims, again."""
        may_return = self._claimed is not None if self._session is None else self._session.outlives_server
        return Ending("restarting" if may_return else "draining")

    async def drop_if_dead(self) -> None:
        """Take the connection for lost if its publisher is silent and answers no ping."""
        timeout_s = self._socket.limits.answer_timeout_s
        is_silent = time.monotonic() - self.last_received_s >= timeout_s
        if self._session is not None and is_silent and not await self._socket.answers(timeout_s):
            self.connection_lost()

    # Reading

    async def _read(self) -> None:
        """Read until the client leaves or makes a fatal mistake. Cancelled once the connection is to be closed."""
        try:
            for command in self._dialect.connected():
                await self._execute_first(command)
            clean = await self._read_messages()
            if not self._closing.is_set():
                self._note_last_message(clean=clean)
        except LivecaptionError as error:
            (self._session or self).fail(error)
        except Exception:
            logger.exception("a stream failed")
            (self._session or self).fail(LivecaptionError("internal error"))

    def _note_last_message(self, *, clean: bool) -> None:
        """Note that nothing more comes. A peer that may still read gets the answer to what it has sent."""
        if not self._socket.is_half_open or (self._session is not None and self._session.takes_audio):
            self.connection_lost(clean=clean)
        elif self._session is None:
            self.finish(Ending("disconnect"))
        # Else once the session is over.

    async def _read_messages(self) -> bool:
        """Read until the client leaves; return whether it has closed the connection cleanly."""
        while True:
            # No `timeout`: a timer for each message costs 3 us (of 110, 40 ms at 48 kHz). The session looks.
            self.last_received_s = time.monotonic()
            message = await self._socket.receive()
            if message.type not in DATA:
                return message.type is WSMsgType.CLOSE and message.data in CLEAN_CLOSE_CODES
            if self._closing.is_set():
                # Another connection may have taken over; audio that it sends again must not be taken twice.
                return False
            try:
                await self._receive(message.data)
            except LivecaptionError as error:
                self._report(error)

    async def _receive(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self._dialect.limits.check(message)
            commands = self._dialect.receive(message)
        else:
            commands = self._dialect.receive(message)
            self._dialect.limits.check(message)  # after it was judged whether it may come now, which needs no reading
        for command in commands:
            if isinstance(command, Audio):
                await self._opened.receive_audio(command.data)
            else:
                await self._execute_first(command)

    def _report(self, error: LivecaptionError) -> None:
        """Report a mistake of the client, or raise it where the stream ends with it."""
        self._n_errors += 1
        if self._session is None or error.fatal or self._n_errors >= self._dialect.limits.max_errors:
            raise error
        self._session.report(error)

    # Executing

    @property
    def _opened(self) -> LiveSession:
        if self._session is None:
            raise WrongState("there is no session yet")
        return self._session

    async def _execute_first(self, command: Control) -> None:
        """Execute a command that may be the first one. To open or to find a session may need a look into the store."""
        if isinstance(command, Open | Reattach):
            self._overdue.cancel()  # the client has done its part
        if isinstance(command, Open):
            try:
                await self._open(command)
            except LivecaptionError as error:
                self._sessions.refused[error.code] += 1
                raise
        elif isinstance(command, Reattach) and self._takeover is not None:
            await self._takeover.fetch(command)
            if not self._closing.is_set():  # it may be by now
                self._reattach(command)
        else:
            self._execute(command)

    def _execute_all(self, commands: list[Control]) -> None:
        for command in commands:
            self._execute(command)

    def _execute(self, command: Control) -> None:
        match command:
            case Reattach():
                self._reattach(command)
            case Reply(message):
                self._outbox.offer(message)
            case Open():
                raise WrongState("a session is opened by the first message")
            case Finish(end_room=True):
                self._opened.execute(command)
                self._rooms.end(self._opened)
            case Configure():
                session = self._opened
                former = session.options.format
                session.execute(command)
                if session.options.format != former:
                    logger.info("session=%s goes on: %s", logged_id(session.id), session.options.format)
            case _:
                self._opened.execute(command)

    async def _open(self, command: Open) -> None:
        self._claim.close()
        is_admitted = self._claimed is None and not self._admits_late
        if self._admits_late:
            self._leave_lobby()
        resumable = self._dialect.resumable
        if (claim := command.room) is None:
            self._check_limits()
            self._session = self._sessions.open(self, command, self._slot, is_admitted=is_admitted, resumable=resumable)
            self._note_key(self._session)
            return
        room = await self._rooms.enter(claim, private=command.options.private)
        if room.speaker is None:  # nobody's part at another server ends for a stream that is refused here
            self._check_limits()
            if not is_admitted:
                self._sessions.check_admission()
            self._sessions.check_open(command, int(is_admitted))
        async with self._rooms.taken(room, claim, private=command.options.private):
            if not self._closing.is_set():  # it may be by now
                self._check_limits(room.speaker)
                self._session = self._rooms.open(
                    room, self, command, claim, self._slot, is_admitted=is_admitted, resumable=resumable
                )
                self._note_key(self._session)

    def _leave_lobby(self) -> None:
        """Ask for admission now.

        Raises:
            Unavailable: see `SessionRegistry.check_admission`.
        """
        self._slot.close()
        self._sessions.check_admission()

    def _reattach(self, command: Reattach) -> None:
        session = self._sessions.find(command.session)
        session.check_resume(command)
        logs.note(session=logged_id(session.id), room=logged_id(session.about.room or ""))
        self._check_limits(session)
        self._slot.close()
        self._claim.close()
        self._sessions.reattach(session, self, command)
        self._session = session
        self._note_key(session)

    def _check_limits(self, former: LiveSession | None = None) -> None:
        """Check that the key may have one more stream, in place of `former`."""
        if self._account is not None:
            self._account.check(datetime.now(UTC), former)

    def _note_key(self, session: LiveSession) -> None:
        if self._account is not None:
            self._account.add(session)
            name = self._account.key.name
            logger.info("session=%s has the key %r", logged_id(session.id), name, extra={"key": name})

    def _await_start(self) -> None:
        self._overdue = asyncio.get_running_loop().call_later(
            self._socket.limits.start_timeout_s, self._start_is_overdue
        )

    def _start_is_overdue(self) -> None:
        if asyncio.get_running_loop().time() - self._overdue.when() > STOOD_STILL_S:
            self._await_start()
        elif self._session is None:
            self.fail(TooSlow(f"no start within {self._socket.limits.start_timeout_s:.0f} s"))
