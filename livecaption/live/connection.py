"""One WebSocket of a publisher: messages in, those of its session out.

    CONNECTED --start--> PUBLISHING a session --lost, replaced, session over--> closed

The session is somebody else's (`LiveSession`), and outlives the connection.
"""

import asyncio
import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass

import aiojobs
from aiohttp import WSCloseCode, WSMessage, WSMsgType

from livecaption.errors import InvalidMessage, LivecaptionError, MessageTooBig, TooSlow, WrongState
from livecaption.events import ErrorReport
from livecaption.live.dialects import native
from livecaption.live.logs import FEW_REFUSALS
from livecaption.live.outbox import Outbox
from livecaption.live.services import Services
from livecaption.live.session import LiveSession
from livecaption.live.websocket import CLOSE_TIMEOUT_S, WebSocket

START_TIMEOUT_S = 10.0
MAX_ERRORS = 20
"""Bad messages before a stream is closed: enough to learn from, too few to fill a log."""
MAX_AUDIO_BYTES = 1024 * 1024
"""Of one message: 32 s of 16 kHz PCM."""
CLEAN_CLOSE_CODES = (0, WSCloseCode.OK, WSCloseCode.GOING_AWAY)
"""Codes of a Close by which a client leaves for good: none named, done, and a browser's tab that is closed (RFC 6455,
7.4.1). After any other, and without a Close, the session waits for it."""

logger = logging.getLogger(__name__)
logger.addFilter(FEW_REFUSALS)


@dataclass(frozen=True, slots=True)
class _Close:
    code: int
    text: str = ""


class Connection:
    """Use once: `await Connection(...).run()` in the handler, after the upgrade.

    Args:
        slot: holds the slot of a stream, unless a session is claimed.
        claimed: the session that the client has named to resume it.
    """

    def __init__(self, socket: WebSocket, services: Services, slot: ExitStack, claimed: str | None) -> None:
        self._socket = socket
        self._services = services
        self._slot = slot
        self._claimed = claimed
        self._claim = ExitStack()
        self.outbox = Outbox(socket)
        self.last_received_s = time.monotonic()
        self._session: LiveSession | None = None
        self._n_errors = 0
        self._close: _Close | None = None
        self._closing = asyncio.Event()

    @property
    def received_ms(self) -> int:
        """Of audio before there is a session: none."""
        return 0

    async def run(self) -> None:
        """Until the connection is lost, another has taken over, or the session is over; then it is closed."""
        scheduler = aiojobs.Scheduler(limit=None, close_timeout=CLOSE_TIMEOUT_S)
        sender = await scheduler.spawn(self.outbox.run())
        overdue = asyncio.get_running_loop().call_later(START_TIMEOUT_S, self._start_is_overdue)
        try:
            with self._services.sessions.registered(self), self._claim:
                if self._claimed is not None:
                    self._claim.enter_context(self._services.sessions.claiming(self._claimed, self))
                reader = await scheduler.spawn(self._read())
                await self._closing.wait()
                await reader.close()
        finally:
            if self._close is None:  # the handler was cancelled, as some applications do where a connection is lost
                self.connection_lost()
            overdue.cancel()
            self.outbox.finish()
            try:
                await sender.wait()
                await scheduler.close()
                assert self._close is not None  # `connection_lost` sees to it
                # Anybody can claim a session, and send much until it is refused: that is not read on.
                refused = self._claimed is not None and self._session is None
                await self.outbox.close(self._close.code, self._close.text, await_answer=not refused)
            finally:
                if self._session is not None:
                    self._session.connection_closed(self)

    def finish(self, code: int, text: str = "") -> None:
        """Take nothing more; close with this code once all that was offered is sent. The first call counts."""
        if self._close is None:
            self._close = _Close(code, text)
            self._closing.set()

    def send_error(self, error: LivecaptionError, *, fatal: bool) -> None:
        """An error that concerns this connection alone, and therefore has no number."""
        self.outbox.offer(native.encode(ErrorReport(error.code, error.message, fatal, error.retry_after_s), None))

    def drain(self) -> None:
        """The server stops."""
        self.outbox.shorten_timeouts()
        if self._session is None:
            self.finish(WSCloseCode.GOING_AWAY, "the server stops")

    def give_up_finals(self) -> bool:
        """There are none of the connection's own."""
        return False

    def fail(self, error: LivecaptionError) -> None:
        """A fatal error before there is a session: tell, and close with its code."""
        if self._session is None and self._close is None:
            logger.info("a stream is refused: %s", error.code)
            self.send_error(error, fatal=True)
            self.finish(error.close_code, error.code)

    async def close(self) -> None:
        """Close with 1001 at once, whatever is still owed."""
        await self.outbox.close(WSCloseCode.GOING_AWAY, "the server stops")

    def connection_lost(self, *, clean: bool = False) -> None:
        """The peer is gone: nothing reaches it any more."""
        self.outbox.discard()
        if self._close is None and self._session is not None:
            self._session.connection_lost(self, clean=clean)
        self.finish(WSCloseCode.OK)

    async def _read(self) -> None:
        """Read until the client leaves or sends what is fatal. Cancelled once the connection is to be closed."""
        try:
            clean = await self._read_messages()
            if not self._closing.is_set():
                self.connection_lost(clean=clean)
        except LivecaptionError as error:
            (self._session or self).fail(error)
        except Exception:
            logger.exception("a stream failed")
            (self._session or self).fail(LivecaptionError("internal error"))

    async def _read_messages(self) -> bool:
        """Read until the client leaves; return whether it has closed the connection cleanly."""
        while True:
            # No `timeout`: a timer for each message costs 3 us (of 110, 40 ms at 48 kHz). The session looks.
            self.last_received_s = time.monotonic()
            message = await self._socket.receive()
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return message.type is WSMsgType.CLOSE and message.data in CLEAN_CLOSE_CODES
            if self._closing.is_set():
                # Another connection may have taken over; what it sends again must not be taken twice.
                return False
            try:
                await self._receive(message)
            except LivecaptionError as error:
                self._n_errors += 1
                if error.fatal or self._n_errors >= MAX_ERRORS:
                    raise
                assert self._session is not None  # before `start` every error is fatal
                self._session.report(error)

    async def _receive(self, message: WSMessage) -> None:
        if message.type is WSMsgType.BINARY:
            if self._session is None:
                raise WrongState("audio before start")
            if len(message.data) > MAX_AUDIO_BYTES:
                raise MessageTooBig(f"a binary message may have {MAX_AUDIO_BYTES} bytes")
            await self._session.receive_audio(message.data)
            return
        try:
            parsed = native.parse(message.data, self._services.config.endpointing)
        except InvalidMessage as error:
            error.fatal = self._session is None
            raise
        if self._session is not None:
            self._session.receive(parsed)
        elif isinstance(parsed, native.Start):
            self._start(parsed, message.data)
        elif isinstance(parsed, native.Resume):
            self._resume(parsed)
        else:
            raise WrongState("the first message must be start")

    def _start(self, start: native.Start, message: str) -> None:
        self._claim.close()
        if self._claimed is not None:  # the client came to resume, and thought better of it
            self._slot.enter_context(self._services.sessions.admitted())
        with self._slot:
            self._session = LiveSession.new(start.options, message, self._services)
            self._session.begin(self, self._slot.pop_all())

    def _resume(self, resume: native.Resume) -> None:
        session = self._services.sessions.find(resume.session)
        session.check_resume(resume)
        self._slot.close()
        self._claim.close()
        session.take_slot()
        self._session = session
        session.resume(self, resume)

    def _start_is_overdue(self) -> None:
        if self._session is None:
            self.fail(TooSlow(f"no start within {START_TIMEOUT_S:.0f} s"))
