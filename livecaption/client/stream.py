"""A stream that the server has accepted: sending, reading, and reconnecting after a lost connection."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Self, TypeAlias

import aiohttp

from livecaption.audio.formats import CONTAINER, AudioFormat
from livecaption.audio.replay import ReplayBuffer
from livecaption.client.opening import (
    ABNORMAL_CLOSE_CODES,
    Reconnected,
    Reconnecting,
    Socket,
    StreamClosed,
    StreamRefused,
    reconnect,
)
from livecaption.events import (
    Ack,
    End,
    ErrorReport,
    Event,
    Flushed,
    Gap,
    Ready,
    Room,
    Snapshot,
    SpeakerNamed,
    StreamedEvent,
)
from livecaption.messages import Flush, Name, Ping, Resume, Stop, StreamSettings, encode_request, parse_event

MAX_MESSAGE_BYTES = 64 * 1024
"""Size of the longest audio message: 2 s of 16 kHz PCM. Longer ones would delay a `flush` or `stop` after them."""

REASON_TIMEOUT_S = 2.0
"""Time that a failed send waits until the reading task has received the reason for the close."""

MAX_UNACKNOWLEDGED_BYTES = 32 * 1024 * 1024
"""Audio that is kept to be resent. Beyond it, `send_audio` waits; nothing is dropped. Because the server acknowledges
audio once a second, this also bounds the speed of a recording: 250 times real time at 16 kHz in float."""

HTTP_UNAVAILABLE = 503
"""Status of the refusal that also comes before the upgrade, if the session has lost its slot."""

StreamEvent: TypeAlias = StreamedEvent | Reconnecting | Reconnected
"""All events that a stream yields. A type checker reports a `match` that forgets one and ends with `assert_never`."""


class Stream:
    """A stream that the server has accepted, made by `connect`. At most one task may read, and one may send.

    Attributes:
        ready: event with which the server accepted the stream.
        last_seq: number of the last event that was read.
    """

    ready: Ready

    def __init__(self, open_for: Callable[[str | None], Awaitable[Socket]], socket: Socket) -> None:
        self._open_for = open_for
        self._socket = socket
        self._sending = asyncio.Lock()
        self._resending: asyncio.Task[None] | None = None
        self._is_away = False  # the connection is lost, and `Reconnecting` was returned
        self._sent: ReplayBuffer | None = None  # None: the session cannot be resumed
        self._room = asyncio.Event()
        self.last_seq = 0
        self._fatal_error: ErrorReport | None = None
        self._ended = False
        self._closed: StreamClosed | None = None
        self._closing = asyncio.Event()

    async def send_audio(self, audio: bytes) -> None:
        """Send audio of any length, cut anywhere.

        Wait while the socket accepts no more, or while `MAX_UNACKNOWLEDGED_BYTES` are not acknowledged.

        Raises:
            StreamClosed: the stream is over; the audio was not sent.
        """
        view = memoryview(audio)
        for begin in range(0, len(view), MAX_MESSAGE_BYTES):
            await self._send(bytes(view[begin : begin + MAX_MESSAGE_BYTES]))

    async def flush(self, flush_id: str | int | None = None) -> None:
        """End the open utterance now. `Flushed(flush_id)` arrives after its final."""
        await self._send(encode_request(Flush(flush_id)))

    async def ping(self, ping_id: str | int | None = None) -> None:
        """Request a `Pong(ping_id)`."""
        await self._send(encode_request(Ping(ping_id)), keep=False)

    async def name(self, speaker: int, name: str) -> None:
        """Give a speaker a name of 1 to 80 characters. `SpeakerNamed` arrives, or an `ErrorReport`; it is not fatal."""
        await self._send(encode_request(Name(speaker, name.strip())))

    async def stop(self, *, end_room: bool = False) -> None:
        """Mark the end of the audio. The remaining events arrive, then `End`.

        The room of the stream is in a break then, or over if `end_room`.
        """
        await self._send(encode_request(Stop(end_room)))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        """Return the next event; the last one is `End`.

        After `Reconnecting`, it connects again and returns `Reconnected`.

        Raises:
            StreamClosed: the stream is over without an `End`, or the block of `connect` was left.
        """
        if self._ended:
            raise StopAsyncIteration
        if self._closed is not None:
            raise self._closed
        if self._is_away:
            assert self._sent is not None
            await self._resume(self._sent)
            self._is_away = False
            return Reconnected()
        event = await self._receive()
        if isinstance(event, ErrorReport) and event.fatal:
            self._fatal_error = event
        if self._sent is not None:
            if isinstance(event, Ack):
                self._sent.acknowledge(event.received_ms)
                self._room.set()
            elif isinstance(event, Flushed):
                self._sent.answered(encode_request(Flush(event.id)))
            elif isinstance(event, SpeakerNamed):
                self._sent.answered(encode_request(Name(event.speaker, event.name)))
        if isinstance(event, End):
            self._ended = True
            self._close(aiohttp.WSCloseCode.OK, f"the server ended the stream ({event.reason})")
        return event

    async def _begin(self, settings: StreamSettings) -> None:
        await self._send(encode_request(settings))
        event = await self._receive()
        while not isinstance(event, Ready):
            if isinstance(event, ErrorReport) and event.fatal:
                raise StreamClosed(aiohttp.WSCloseCode.POLICY_VIOLATION, event.message, event)
            event = await self._receive()
        self.ready = event
        if event.resume_window_ms and settings.encoding != CONTAINER:
            audio_format = AudioFormat(settings.encoding, settings.sample_rate, settings.channels or 1)
            self._sent = ReplayBuffer(audio_format)

    async def _leave(self) -> None:
        self._close(aiohttp.WSCloseCode.OK, "the stream was left")
        if self._resending is not None:
            self._resending.cancel()
            await asyncio.wait({self._resending})
        await self._socket.close()

    async def _receive(self) -> StreamEvent:
        """Return the next event of a type that this client supports, or the loss of the connection."""
        while True:
            message = await self._socket.receive()
            if self._closed is not None:
                raise self._closed
            if message.type is aiohttp.WSMsgType.TEXT:
                event = self._take(message.data)
                if event is not None:
                    return event
            elif message.type is aiohttp.WSMsgType.BINARY:
                pass  # no event is binary
            elif self._sent is not None and not self._fatal_error and self._socket.close_code in ABNORMAL_CLOSE_CODES:
                self._is_away = True
                return Reconnecting()
            elif message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED):
                code = self._socket.close_code or aiohttp.WSCloseCode.ABNORMAL_CLOSURE
                raise self._close(code, str(message.extra or "") or "the server closed the stream")
            elif message.type is aiohttp.WSMsgType.ERROR:
                raise self._close(aiohttp.WSCloseCode.ABNORMAL_CLOSURE, f"the connection was lost: {message.data}")

    async def _resume(self, sent: ReplayBuffer) -> None:
        """Reconnect, and resend the audio that the server does not have.

        Raises:
            StreamClosed: the session is gone, the server could not be reached within `MAX_ABSENCE_S`, or the stream was
                left meanwhile.
        """

        async def attempt() -> tuple[Socket, int]:
            if self._closed is not None:
                raise self._closed
            socket = await self._open_for(self.ready.session)
            return socket, await self._claim(socket, sent.begin_ms)

        try:
            socket, received_ms = await reconnect(attempt)
        except StreamClosed:
            raise
        except ConnectionError as error:
            raise self._close(aiohttp.WSCloseCode.ABNORMAL_CLOSURE, str(error)) from None
        if self._resending is not None:
            await asyncio.wait({self._resending})  # it ends soon, because its connection is lost
        if self._closed is not None:
            await socket.close()
            raise self._closed
        self._socket = socket
        # Audio that is pushed before this task begins is resent by it. After that, `_send` waits for its end.
        self._resending = asyncio.create_task(self._send_again(sent, received_ms))

    async def _claim(self, socket: Socket, audio_from_ms: int) -> int:
        """Claim the session over a new connection. Return the position from which audio is resent, in ms.

        `audio_from_ms` is the oldest audio that this client still has.

        Raises:
            StreamRefused: the session waits, and the server cannot take it now.
            StreamClosed: the session is gone, or the server violated the protocol.
            ConnectionError: the connection is lost again.
        """
        claim = Resume(self.ready.session, self.ready.resume_token, self.last_seq, audio_from_ms)
        try:
            await socket.send_str(encode_request(claim))
            message = await socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise ConnectionError("the connection was lost")
            event, _ = self._parse(message.data)
        except BaseException:
            await socket.close()
            raise
        if isinstance(event, Ready):
            return event.received_ms
        await socket.close()
        if isinstance(event, ErrorReport):
            if event.retry_after_s is not None:
                raise StreamRefused(HTTP_UNAVAILABLE, event.code, event.message, event.retry_after_s)
            self._fatal_error = event
        raise self._close(aiohttp.WSCloseCode.POLICY_VIOLATION, "the server does not have the session any more")

    async def _send_again(self, sent: ReplayBuffer, received_ms: int) -> None:
        try:
            for data in sent.since(received_ms):
                await self._send_over(self._socket, data)
        except (aiohttp.ClientError, ConnectionError):
            pass  # the connection was lost again; the reading task will notice

    def _parse(self, text: str) -> tuple[Event | None, int | None]:
        """Return the event of a message, None if its type is unknown, and its number."""
        try:
            fields = json.loads(text)
            return parse_event(fields), fields.get("seq")
        except (ValueError, AttributeError) as error:
            raise self._close(aiohttp.WSCloseCode.PROTOCOL_ERROR, f"not an event: {error}") from None

    def _take(self, text: str) -> StreamEvent | None:
        event, seq = self._parse(text)
        # Only events that belong to the connection and not to the session have no number, such as early errors.
        if seq is not None:
            if seq != self.last_seq + 1 and not (isinstance(event, Gap) and seq > self.last_seq):
                gap = f"event {seq!r} follows event {self.last_seq}"
                raise self._close(aiohttp.WSCloseCode.PROTOCOL_ERROR, gap)
            self.last_seq = seq
        return None if isinstance(event, Snapshot | Room) else event  # those are for readers

    async def _send(self, data: bytes | str, *, keep: bool = True) -> None:
        """Send a message, and keep it to be resent if the connection is lost."""
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
                    await self._raise_reason()
        if self._sent is not None:
            await self._wait_for_room(self._sent)

    @staticmethod
    async def _send_over(socket: Socket, data: bytes | str) -> None:
        await (socket.send_bytes(data) if isinstance(data, bytes) else socket.send_str(data))

    async def _wait_for_room(self, sent: ReplayBuffer) -> None:
        while sent.n_unacknowledged_bytes > MAX_UNACKNOWLEDGED_BYTES and self._closed is None:
            self._room.clear()
            await self._room.wait()

    async def _raise_reason(self) -> None:
        """Wait until the reading task has read the server's last messages, and raise the reason.

        Raises:
            StreamClosed: always.
        """
        try:
            await asyncio.wait_for(self._closing.wait(), REASON_TIMEOUT_S)
        except TimeoutError:
            self._close(aiohttp.WSCloseCode.ABNORMAL_CLOSURE, "the connection was lost")
        assert self._closed is not None  # because `_closing` is set
        raise self._closed from None

    def _close(self, code: int, reason: str) -> StreamClosed:
        """Record why the stream is over. The first reason is kept."""
        if self._closed is None:
            error = self._fatal_error
            self._closed = StreamClosed(code, error.message if error else reason, error)
            self._closing.set()
            self._room.set()
        return self._closed
