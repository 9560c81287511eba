"""Open a stream: the URL, the options, and the refusal by the server."""

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypedDict, Unpack
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from livecaption.client.stream import Socket, Stream, StreamClosed, StreamRefused
from livecaption.events import End, Event

STREAM_PATH = "/v1/stream"

HEARTBEAT_S = 10.0
"""Interval of the keep-alive. If no answer arrives for half of it, the connection counts as lost, as after a laptop's
sleep. A shorter interval would end connections that are only slow for a moment."""


class StreamSettings(TypedDict, total=False):
    """The keyword arguments of `connect`, for functions that pass them on."""

    encoding: str
    sample_rate: int
    channels: int | None
    channel_mode: str
    language: str | Sequence[str] | None
    task: str
    translate: Sequence[str]
    partials: bool
    words: bool
    prompt: str
    hotwords: Sequence[str]
    endpointing: Mapping[str, int | str] | None
    title: str | None
    private: bool
    room: str | None
    room_secret: str
    take_over: bool
    former: str | None
    token: str | None


@asynccontextmanager
async def connect(
    url: str,
    *,
    encoding: str = "pcm_s16le",
    sample_rate: int = 16_000,
    channels: int | None = None,
    channel_mode: str = "mix",
    language: str | Sequence[str] | None = None,
    task: str = "transcribe",
    translate: Sequence[str] = (),
    partials: bool = True,
    words: bool = False,
    prompt: str = "",
    hotwords: Sequence[str] = (),
    endpointing: Mapping[str, int | str] | None = None,
    title: str | None = None,
    private: bool = False,
    room: str | None = None,
    room_secret: str = "",
    take_over: bool = False,
    former: str | None = None,
    token: str | None = None,
) -> AsyncIterator[Stream]:
    """Open a stream. Leaving the block closes it.

    Args:
        url: `http://host:port`, or https, ws, wss; with a path if the server is mounted below one.
        encoding: `pcm_s16le`, `pcm_s24le`, `pcm_s32le`, `pcm_f32le`, `pcm_f64le`, `mulaw`, `alaw`; or `auto`: a
            container such as WebM or MP3.
        sample_rate: in Hz, 8000 to 96000; ignored for `auto`.
        channels: 1 to 8, interleaved. For `auto` it is ignored, or the largest number of channels that are kept apart.
            None: 1, or 2 for `auto` with `separate`.
        channel_mode: `mix`, or `separate`: each channel is captioned apart, and the events of utterances have its
            number. It takes as much of the server as a stream.
        language: code, tag of BCP 47 or English name, such as `en`, `en-US` or `English`; None: detect it in each
            utterance; several: those to expect.
        task: `transcribe`, or `translate` to English.
        translate: languages into which each final is translated; a `Translation` follows it for each.
        partials: whether the server sends captions of open utterances.
        words: whether finals have the times of their words.
        prompt: text that precedes the audio, or is similar to it.
        hotwords: names and terms that are likely to occur.
        endpointing: `preset` (`fast`, `balanced`, `accurate`), `silence_ms`, `max_utterance_ms`. The server chooses the
            values that are left out.
        title: title that readers see.
        private: whether readers need the `reader_token` of `Ready`.
        room: name of the room that the stream is a part of, so that readers have one link for all parts of an event.
        room_secret: secret of the room, 16 to 200 characters. The client that begins the first part chooses it.
        take_over: whether a stream that runs in the room is to end. Otherwise the server rejects this one.
        former: `ready.resume_token` of this program's last stream in the room. If that is the part that runs, it ends
            without `take_over`, also if the server has not noticed its loss.
        token: the server's token, if it has one.

    Raises:
        ValueError: `url` is not the address of a server.
        ConnectionError: the server cannot be reached, or TLS failed.
        StreamRefused: the server refused the stream; without `retry_after_s`, it will not accept it later either.
        StreamClosed: the server rejected the options.
    """
    start: dict[str, Any] = {
        "type": "start",
        "encoding": encoding,
        "sample_rate": sample_rate,
        "language": language,
        "task": task,
        "partials": partials,
        "words": words,
        "prompt": prompt,
        "hotwords": list(hotwords),
    }
    if channels is not None:
        start["channels"] = channels
    if channel_mode != "mix":
        start["channel_mode"] = channel_mode
    if endpointing is not None:
        start["endpointing"] = dict(endpointing)
    if title is not None:
        start["title"] = title
    if translate:
        start["translate"] = list(translate)
    if private:
        start["private"] = True
    if room is not None:
        start["room"] = {"name": room, "secret": room_secret, "take_over": take_over}
        if former is not None:
            start["room"]["former"] = former
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = b""

    async def keep_refusal(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        nonlocal body
        response = await send(request)
        if response.status >= 400:
            # Keep the body, because `ws_connect` discards it.
            body = await response.read()
        return response

    async def open_socket(session: str | None) -> Socket:
        # A full server accepts a client that names its session, or a room that somebody else speaks in.
        params = {"resume": session} if session is not None else {"room": room} if room is not None else {}
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


async def transcribe(
    url: str, chunks: AsyncIterable[bytes], receive: Callable[[Event], None], **options: Unpack[StreamSettings]
) -> End:
    """Send audio to its end and receive events meanwhile: a whole stream in one call.

    Args:
        url: the address, as in `connect`.
        chunks: the audio, in pieces of any length. It is sent as fast as `chunks` yields it.
        receive: called with every event from `Ready` to `End`, in order.
        options: the settings, as in `connect`.

    Raises:
        StreamClosed: the stream ended without an `End`.

    All errors of `connect` are raised too, and all that `chunks` or `receive` raise.
    """

    async def send() -> None:
        try:
            async for chunk in chunks:
                await stream.send_audio(chunk)
            await stream.stop()
        except StreamClosed:
            pass  # reading raises the same error, after the last events

    async with connect(url, **options) as stream:
        receive(stream.ready)
        try:
            async with asyncio.TaskGroup() as tasks:
                sender = tasks.create_task(send())
                async for event in stream:
                    receive(event)
                # A server that drains ends the stream before all audio is sent.
                sender.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
    assert isinstance(event, End)  # iterating ends with `End` or raises
    return event


def stream_url(url: str) -> str:
    """Return the URL of the stream endpoint of a server.

    Raises:
        ValueError: the URL is not http, https, ws or wss.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
        raise ValueError(f"{url!r} is not a server's address, such as http://localhost:8000")
    path = parts.path.rstrip("/")
    if not path.endswith(STREAM_PATH):
        path += STREAM_PATH
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def _refusal(url: str, status: int, body: bytes) -> StreamRefused:
    """Return the error for an HTTP response that came instead of the upgrade."""
    try:
        fields = json.loads(body)
        return StreamRefused(status, fields["code"], fields["message"], fields.get("retry_after_s"))
    except (ValueError, TypeError, KeyError):
        return StreamRefused(status, "", f"{url} is not a livecaption server: it answered {status}", None)
