"""An accepted stream: sending, reading, and coming back after a lost connection."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Self

import aiohttp

from livecaption.audio.formats import CONTAINER, AudioFormat
from livecaption.audio.replay import ReplayBuffer
from livecaption.events import Ack, End, ErrorReport, Event, Final, Flushed, Gap, Ready
from livecaption.messages import Flush, Ping, Resume, Stop, encode_request, parse_event

MAX_MESSAGE_BYTES = 64 * 1024
"""Longest audio message sent: 2 s of 16 kHz PCM. Longer ones delay a `flush` or `stop` behind them."""

REASON_TIMEOUT_S = 2.0
"""How long a failed send waits for the reader to learn why the server went away."""

MAX_UNACKNOWLEDGED_BYTES = 32 * 1024 * 1024
"""Audio that is kept to be sent again. Who sends more without an answer waits; nothing is dropped. The server answers
once a second, so it also bounds how fast a recording is sent: to 250 times real time at 16 kHz in float."""

RETRY_S = 0.1
MAX_RETRY_S = 2.0

ABNORMAL_CLOSE_CODES = (None, aiohttp.WSCloseCode.ABNORMAL_CLOSURE, aiohttp.WSCloseCode.SERVICE_RESTART)
"""Close codes that are nobody's decision about the stream: no Close came, or a proxy's."""

Socket = aiohttp.ClientWebSocketResponse[Any]


class StreamError(ConnectionError):
    """Base of what can go wrong with a stream."""


class StreamRefused(StreamError):
    """The server did not accept the stream, or the address is not a livecaption server's.

    Attributes:
        http_status: 401, 403, 429, 503 ...
        code: the server's word for it, such as `unauthorized`; empty: the answer was not livecaption's.
        message: for people.
        retry_after_s: seconds after which trying again makes sense; None: it does not.
    """

    def __init__(self, http_status: int, code: str, message: str, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


class StreamClosed(StreamError):
    """The stream is over without an `End`: nothing can be sent and nothing more will come.

    Attributes:
        code: WebSocket close code; 1006: the connection was lost; 1002: the server broke the protocol.
        reason: for people.
        error: what the server reported as its reason, if it did.
    """

    def __init__(self, code: int, reason: str, error: ErrorReport | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.error = error


class Stream:
    """An accepted stream. Made by `connect`; used by at most one reading and one sending task.

    Attributes:
        ready: what the server said when it accepted the stream.
        last_seq: number of the last event read.
    """

    ready: Ready

    def __init__(self, open_socket: Callable[[str | None], Awaitable[Socket]], socket: Socket) -> None:
        self._open_socket = open_socket
        self._socket = socket
        self._sending = asyncio.Lock()
        self._resending: asyncio.Task[None] | None = None
        self._sent: ReplayBuffer | None = None  # None: the session cannot be resumed
        self._room = asyncio.Event()
        self.last_seq = 0
        self._fatal_error: ErrorReport | None = None
        self._ended = False
        self._closed: StreamClosed | None = None
        self._closing = asyncio.Event()

    async def send_audio(self, audio: bytes) -> None:
        """Send audio of any length, cut anywhere. Waits while the server takes no more, or has not said of
        `MAX_UNACKNOWLEDGED_BYTES` that it has them.

        Raises:
            StreamClosed: the stream is over; the audio went nowhere.
        """
        view = memoryview(audio)
        for begin in range(0, len(view), MAX_MESSAGE_BYTES):
            await self._send(bytes(view[begin : begin + MAX_MESSAGE_BYTES]))

    async def flush(self, flush_id: str | int | None = None) -> None:
        """End the open utterance now; `Flushed(flush_id)` comes once its final is out."""
        await self._send(encode_request(Flush(flush_id)))

    async def ping(self, ping_id: str | int | None = None) -> None:
        """Ask for `Pong(ping_id)`."""
        await self._send(encode_request(Ping(ping_id)), keep=False)

    async def stop(self) -> None:
        """No more audio. What is left comes, then `End`."""
        await self._send(encode_request(Stop()))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """The next event; the last one is `End`.

        Raises:
            StreamClosed: the stream is over without an `End`.
        """
        if self._ended:
            raise StopAsyncIteration
        if self._closed is not None:
            raise self._closed
        event = await self._receive()
        if isinstance(event, ErrorReport) and event.fatal:
            self._fatal_error = event
        if self._sent is not None:
            if isinstance(event, Ack):
                self._sent.acknowledge(event.received_ms)
                self._room.set()
            elif isinstance(event, Flushed):
                self._sent.answered(encode_request(Flush(event.id)))
            elif isinstance(event, Final):
                self._sent.cover(event.end_ms)
        if isinstance(event, End):
            self._ended = True
            self._close(aiohttp.WSCloseCode.OK, f"the server ended the stream ({event.reason})")
        return event

    async def _begin(self, start: dict[str, Any]) -> None:
        await self._send(json.dumps(start))
        event = await self._receive()
        while not isinstance(event, Ready):
            if isinstance(event, ErrorReport) and event.fatal:
                raise StreamClosed(aiohttp.WSCloseCode.POLICY_VIOLATION, event.message, event)
            event = await self._receive()
        self.ready = event
        if event.resume_window_ms and start["encoding"] != CONTAINER:
            audio_format = AudioFormat(start["encoding"], start["sample_rate"], start["channels"])
            self._sent = ReplayBuffer(audio_format)

    async def _leave(self) -> None:
        if self._resending is not None:
            self._resending.cancel()
            await asyncio.wait({self._resending})
        await self._socket.close()

    async def _receive(self) -> Event:
        """The next event of a type that this client knows."""
        while True:
            message = await self._socket.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                event = self._take(message.data)
                if event is not None:
                    return event
            elif self._sent is not None and not self._fatal_error and self._socket.close_code in ABNORMAL_CLOSE_CODES:
                await self._resume(self._sent)
            elif message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED):
                code = self._socket.close_code or aiohttp.WSCloseCode.ABNORMAL_CLOSURE
                raise self._close(code, str(message.extra or "") or "the server closed the stream")
            elif message.type is aiohttp.WSMsgType.ERROR:
                raise self._close(aiohttp.WSCloseCode.ABNORMAL_CLOSURE, f"the connection was lost: {message.data}")

    async def _resume(self, sent: ReplayBuffer) -> None:
        """Connect again and go on where the server is.

        Raises:
            StreamClosed: the session is gone, or the server was not reached while it kept it.
        """
        clock = asyncio.get_running_loop().time
        give_up_s = clock() + self.ready.resume_window_ms / 1000
        wait_s = RETRY_S
        while True:
            try:
                socket = await self._open_socket(self.ready.session)
                received_ms = await self._claim(socket, sent.begin_ms)
                break
            except StreamClosed:
                raise
            except StreamRefused as refusal:
                if refusal.retry_after_s is None:
                    raise self._close(aiohttp.WSCloseCode.ABNORMAL_CLOSURE, refusal.message) from None
            except (ConnectionError, TypeError):
                pass  # a TypeError is what aiohttp makes of a connection that is lost in mid-answer
            if clock() >= give_up_s:
                raise self._close(aiohttp.WSCloseCode.ABNORMAL_CLOSURE, "the connection was lost")
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, MAX_RETRY_S)
        if self._resending is not None:
            await asyncio.wait({self._resending})  # its connection is lost, so it does not take long
        self._socket = socket
        # What is pushed until this task begins is part of it; from then on, `_send` waits for its end.
        self._resending = asyncio.create_task(self._send_again(sent, received_ms))

    async def _claim(self, socket: Socket, audio_from_ms: int) -> int:
        """Ask for the session over a new connection; up to where the server has its audio, or we have it no more."""
        claim = Resume(self.ready.session, self.ready.resume_token, self.last_seq, audio_from_ms)
        try:
            await socket.send_str(encode_request(claim))
            event = parse_event(json.loads(await socket.receive_str()))
        except BaseException:
            await socket.close()
            raise
        if isinstance(event, Ready):
            return event.received_ms
        await socket.close()
        if isinstance(event, ErrorReport):
            self._fatal_error = event
        raise self._close(aiohttp.WSCloseCode.POLICY_VIOLATION, "the server does not know the session any more")

    async def _send_again(self, sent: ReplayBuffer, received_ms: int) -> None:
        try:
            for data in sent.since(received_ms):
                await self._send_over(self._socket, data)
        except (aiohttp.ClientError, ConnectionError):
            pass  # lost once more; the reader is about to see it

    def _take(self, text: str) -> Event | None:
        try:
            fields = json.loads(text)
            seq = fields.get("seq")
            event = parse_event(fields)
        except (ValueError, AttributeError) as error:
            raise self._close(aiohttp.WSCloseCode.PROTOCOL_ERROR, f"not an event: {error}") from None
        # Only what concerns this connection alone (an error before the session exists) has no number.
        if seq is not None:
            if seq != self.last_seq + 1 and not (isinstance(event, Gap) and seq > self.last_seq):
                gap = f"event {seq!r} follows event {self.last_seq}"
                raise self._close(aiohttp.WSCloseCode.PROTOCOL_ERROR, gap)
            self.last_seq = seq
        return event

    async def _send(self, data: bytes | str, *, keep: bool = True) -> None:
        """Send, and keep for the case that the connection is lost."""
        async with self._sending:
            while self._resending is not None and not self._resending.done():
                await asyncio.wait({self._resending})
            if self._closed is not None:
                raise self._closed
            if self._sent is not None and keep:
                self._sent.push(data)
            try:
                await self._send_over(self._socket, data)
            except (aiohttp.ClientError, ConnectionError):
                if self._sent is None:
                    await self._learn_why()
        if self._sent is not None:
            await self._wait_for_room(self._sent)

    @staticmethod
    async def _send_over(socket: Socket, data: bytes | str) -> None:
        await (socket.send_bytes(data) if isinstance(data, bytes) else socket.send_str(data))

    async def _wait_for_room(self, sent: ReplayBuffer) -> None:
        while sent.n_unacknowledged_bytes > MAX_UNACKNOWLEDGED_BYTES and self._closed is None:
            self._room.clear()
            await self._room.wait()

    async def _learn_why(self) -> None:
        """The reader is about to find the server's last words in its buffer.

        Raises:
            StreamClosed: always.
        """
        try:
            await asyncio.wait_for(self._closing.wait(), REASON_TIMEOUT_S)
        except TimeoutError:
            self._close(aiohttp.WSCloseCode.ABNORMAL_CLOSURE, "the connection was lost")
        assert self._closed is not None  # `_closing` says so
        raise self._closed from None

    def _close(self, code: int, reason: str) -> StreamClosed:
        """Note why the stream is over; the first reason stays."""
        if self._closed is None:
            error = self._fatal_error
            self._closed = StreamClosed(code, error.message if error else reason, error)
            self._closing.set()
            self._room.set()
        return self._closed
