"""Audio -> a livecaption server -> events: the asyncio client of the native protocol.

    async with connect("http://localhost:8000", sample_rate=48_000) as stream:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(speak(stream))
            async for event in stream:
                if isinstance(event, Final):
                    print(event.text)

    async def speak(stream: Stream) -> None:
        async for pcm in microphone():
            await stream.send_audio(pcm)
        await stream.stop()

Sending and reading are independent: one task may send while another reads. Read all the time,
also while you have nothing to send: the connection's keep-alive is answered by reading, and a
connection that is lost is made anew by reading. The session goes on then, for as long as the server
keeps it, also where the server died meanwhile and was started anew: finals that were missed come late,
audio that did not arrive or has no final yet is sent again, and the utterance that was open begins anew
with its number. What cannot be had back comes as a `Gap`; one of no length is no loss of captions.

Runs in anybody's event loop and never blocks it. Knows nothing of microphones, files or codecs.
"""

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields as dataclass_fields
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from livecaption.audio.formats import CONTAINER, AudioFormat
from livecaption.audio.replay import ReplayBuffer
from livecaption.events import (
    Ack,
    CaptionWord,
    End,
    ErrorReport,
    Event,
    Final,
    Flushed,
    Gap,
    Partial,
    Pong,
    Ready,
    SpeechEnd,
    SpeechStart,
    Status,
)

STREAM_PATH = "/v1/stream"

MAX_MESSAGE_BYTES = 64 * 1024
"""Longest audio message sent: 2 s of 16 kHz PCM. Longer ones delay a `flush` or `stop` behind them."""

REAL_TIME_MESSAGE_MS = 40
"""Audio in one message of `real_time`; browsers send 20 to 100 ms. Adds its half to every latency."""

REASON_TIMEOUT_S = 2.0
"""How long a failed send waits for the reader to learn why the server went away."""

MAX_UNACKNOWLEDGED_BYTES = 32 * 1024 * 1024
"""Audio that is kept to be sent again. Who sends more without an answer waits; nothing is dropped. The server answers
once a second, so it also bounds how fast a recording is sent: to 250 times real time at 16 kHz in float."""

HEARTBEAT_S = 10.0
"""After half as long again without any sign of life the connection counts as lost. A laptop that wakes up finds out by
it; shorter would break connections that only stutter."""

RETRY_S = 0.1
MAX_RETRY_S = 2.0

ABNORMAL_CLOSE_CODES = (None, aiohttp.WSCloseCode.ABNORMAL_CLOSURE, aiohttp.WSCloseCode.SERVICE_RESTART)
"""Close codes that are nobody's decision about the stream: no Close came, or a proxy's."""

Socket = aiohttp.ClientWebSocketResponse[Any]

_EVENTS: dict[str, type[Event]] = {
    event.type: event
    for event in (Ready, SpeechStart, Partial, SpeechEnd, Final, Flushed, Pong, Ack, Status, ErrorReport, Gap, End)
}


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


@asynccontextmanager
async def connect(
    url: str,
    *,
    encoding: str = "pcm_s16le",
    sample_rate: int = 16_000,
    channels: int = 1,
    language: str | None = None,
    task: str = "transcribe",
    partials: bool = True,
    words: bool = False,
    prompt: str = "",
    hotwords: Sequence[str] = (),
    endpointing: Mapping[str, int | str] | None = None,
    title: str | None = None,
    private: bool = False,
    token: str | None = None,
) -> AsyncIterator["Stream"]:
    """Open a stream; leaving the block closes it, whatever was said in between.

    Args:
        url: `http://host:port`, or https, ws, wss; with a path if the server sits below one.
        encoding: `pcm_s16le`, `pcm_f32le`, `mulaw`, `alaw`, or `auto`: a container such as WebM or MP3.
        sample_rate: in Hz, 8000 to 96000; of no meaning for `auto`.
        channels: 1 to 8, interleaved; of no meaning for `auto`.
        language: ISO 639-1 code; None: detect.
        task: `transcribe`, or `translate` to English.
        partials: whether captions come while somebody speaks.
        words: whether finals carry the times of their words.
        prompt: text that comes before, or of the same kind.
        hotwords: names and terms to listen for.
        endpointing: `preset` (`fast`, `balanced`, `accurate`), `silence_ms`, `max_utterance_ms`; what is left out is
            the server's choice.
        title: what viewers see.
        private: whether readers need the `reader_token` of `Ready`.
        token: the server's secret, if it has one.

    Raises:
        ValueError: `url` is no address of a server.
        ConnectionError: nobody listens there, or TLS failed.
        StreamRefused: the server does not want the stream, now or at all.
        StreamClosed: the server rejected the options.
    """
    start: dict[str, Any] = {
        "type": "start",
        "encoding": encoding,
        "sample_rate": sample_rate,
        "channels": channels,
        "language": language,
        "task": task,
        "partials": partials,
        "words": words,
        "prompt": prompt,
        "hotwords": list(hotwords),
    }
    if endpointing is not None:
        start["endpointing"] = dict(endpointing)
    if title is not None:
        start["title"] = title
    if private:
        start["private"] = True
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = b""

    async def keep_refusal(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        nonlocal body
        response = await send(request)
        if response.status >= 400:
            # `ws_connect` throws it away.
            body = await response.read()
        return response

    async def open_socket(session: str | None) -> Socket:
        params = {} if session is None else {"resume": session}
        try:
            return await http.ws_connect(stream_url(url), headers=headers, params=params, heartbeat=HEARTBEAT_S)
        except aiohttp.WSServerHandshakeError as error:
            raise _refusal(url, error.status, body) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionError(f"cannot reach {url}: {error or type(error).__name__}") from None

    async with aiohttp.ClientSession(middlewares=[keep_refusal]) as http:
        stream = Stream(open_socket, await open_socket(None))
        try:
            await stream._begin(start)
            yield stream
        finally:
            await stream._leave()


async def transcribe(url: str, chunks: AsyncIterable[bytes], receive: Callable[[Event], None], **options: Any) -> End:
    """Send audio to its end while events are received: a whole stream in one call.

    Args:
        url: as for `connect`.
        chunks: the audio, in pieces of any length; its pace is the pace of the stream.
        receive: called with every event from `Ready` to `End`, in order.
        options: as for `connect`.

    Raises:
        what `connect` raises, StreamClosed, and whatever `chunks` or `receive` raise.
    """

    async def send() -> None:
        try:
            async for chunk in chunks:
                await stream.send_audio(chunk)
            await stream.stop()
        except StreamClosed:
            pass  # the reader learns the same, after the last events

    async with connect(url, **options) as stream:
        receive(stream.ready)
        try:
            async with asyncio.TaskGroup() as tasks:
                sender = tasks.create_task(send())
                async for event in stream:
                    receive(event)
                # A server that drains ends the stream while there is more to send.
                sender.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
    assert isinstance(event, End)  # iterating ends with `End` or raises
    return event


async def real_time(chunks: AsyncIterable[bytes], bytes_per_s: int) -> AsyncIterator[bytes]:
    """Recorded audio as a microphone would give it: in short messages, each once its end has been said."""
    clock = asyncio.get_running_loop().time
    message_bytes = bytes_per_s * REAL_TIME_MESSAGE_MS // 1000
    begin_s: float | None = None
    n_bytes = 0
    waiting = bytearray()
    async for chunk in chunks:
        # Not earlier: a decoder that is slow to start must not be followed by a burst.
        begin_s = begin_s or clock()
        waiting += chunk
        while len(waiting) >= message_bytes:
            n_bytes += message_bytes
            # Measured from the beginning, so that late wake-ups do not add up.
            await asyncio.sleep(max(0.0, begin_s + n_bytes / bytes_per_s - clock()))
            yield bytes(waiting[:message_bytes])
            del waiting[:message_bytes]
    if waiting and begin_s is not None:
        await asyncio.sleep(max(0.0, begin_s + (n_bytes + len(waiting)) / bytes_per_s - clock()))
        yield bytes(waiting)


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
        await self._send(_flush(flush_id))

    async def ping(self, ping_id: str | int | None = None) -> None:
        """Ask for `Pong(ping_id)`."""
        await self._send(json.dumps({"type": "ping", "id": ping_id}), keep=False)

    async def stop(self) -> None:
        """No more audio. What is left comes, then `End`."""
        await self._send(json.dumps({"type": "stop"}))

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
                self._sent.answered(_flush(event.id))
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
        # Nobody may send before what was lost is sent again.
        await self._sending.acquire()
        self._socket = socket
        self._resending = asyncio.create_task(self._send_again(sent, received_ms))

    async def _claim(self, socket: Socket, audio_from_ms: int) -> int:
        """Ask for the session over a new connection; up to where the server has its audio, or we have it no more."""
        claim = {
            "session": self.ready.session,
            "token": self.ready.resume_token,
            "last_seq": self.last_seq,
            "audio_from_ms": audio_from_ms,
        }
        try:
            await socket.send_str(json.dumps({"type": "start", "resume": claim}))
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
        finally:
            self._sending.release()

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


def stream_url(url: str) -> str:
    """The address of the stream endpoint of a server.

    Raises:
        ValueError: not an http, https, ws or wss address.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
        raise ValueError(f"{url!r} is not a server's address, such as http://localhost:8000")
    path = parts.path.rstrip("/")
    if not path.endswith(STREAM_PATH):
        path += STREAM_PATH
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def parse_event(fields: Mapping[str, Any]) -> Event | None:
    """The event of a message's fields; None: a type of a newer server. Unknown fields are ignored.

    Raises:
        ValueError: a field of a known type is missing.
    """
    event_type = _EVENTS.get(fields.get("type", ""))
    if event_type is None:
        return None
    known = _known_fields(event_type, fields)
    if known.get("words") is not None:
        known["words"] = tuple(_build(CaptionWord, _known_fields(CaptionWord, word)) for word in known["words"])
    event: Event = _build(event_type, known)
    return event


def _flush(flush_id: str | int | None) -> str:
    return json.dumps({"type": "flush", "id": flush_id})


def _known_fields(kind: type[Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: fields[field.name] for field in dataclass_fields(kind) if field.name in fields}


def _build(kind: type[Any], known: dict[str, Any]) -> Any:
    try:
        return kind(**known)
    except TypeError:
        missing = sorted({field.name for field in dataclass_fields(kind)} - known.keys())
        raise ValueError(f"{kind.__name__} without {', '.join(missing)}") from None


def _refusal(url: str, status: int, body: bytes) -> StreamRefused:
    """What an HTTP answer instead of the upgrade means."""
    try:
        fields = json.loads(body)
        return StreamRefused(status, fields["code"], fields["message"], fields.get("retry_after_s"))
    except (ValueError, TypeError, KeyError):
        return StreamRefused(status, "", f"{url} is not a livecaption server: it answered {status}", None)
