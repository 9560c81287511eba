"""Open a stream, or send a whole one in one call."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from ssl import SSLContext

from livecaption.client.opening import Socket, StreamClosed, StreamError, opener, stream_url, wait_until_accepted
from livecaption.client.stream import Stream, StreamEvent
from livecaption.events import End
from livecaption.messages import StreamSettings

DEFAULTS = StreamSettings()


@asynccontextmanager
async def connect(
    url: str,
    settings: StreamSettings = DEFAULTS,
    *,
    token: str | None = None,
    ssl: SSLContext | None = None,
    wait_s: float = 0.0,
    waiting: Callable[[StreamError], None] | None = None,
) -> AsyncIterator[Stream]:
    """Open a stream. Leaving the block closes it, and ends tasks that still send or read with `StreamClosed`.

    Args:
        url: `http://host:port`, or https, ws, wss; with a path if the server is mounted below one.
        settings: what the stream is, and what is wanted of it.
        token: the server's token, if it has one.
        ssl: decides which certificates are trusted, such as `ssl.create_default_context(cafile="authority.pem")`. None:
            those of the system's authorities, or of the file that the variable SSL_CERT_FILE names.
        wait_s: time for which to wait for a server that cannot accept the stream yet, because it loads its model, is
            full, or restarts behind a proxy. It is asked again after its `retry_after_s`.
        waiting: called with the refusal each time before waiting.

    Raises:
        ValueError: `url` is not the address of a server.
        ConnectionError: the server cannot be reached, or TLS failed.
        StreamRefused: the server refused the stream; without `retry_after_s`, it will not accept it later either.
        StreamClosed: the server rejected the options.
    """
    room = settings.room

    async def open_for(session: str | None) -> Socket:
        # A full server accepts a client that names its session, or a room that somebody else speaks in.
        params: Mapping[str, str] = {"resume": session} if session else {"room": room.name} if room else {}
        return await open_socket(params)

    async def begin() -> Stream:
        stream = Stream(open_for, await open_for(None))
        try:
            await stream._begin(settings)
        except BaseException:
            await stream._leave()
            raise
        return stream

    async with opener(stream_url(url), token, ssl) as open_socket:
        stream = await wait_until_accepted(begin, wait_s, waiting)
        try:
            yield stream
        finally:
            await stream._leave()


async def transcribe(
    url: str,
    chunks: AsyncIterable[bytes],
    receive: Callable[[StreamEvent], None],
    settings: StreamSettings = DEFAULTS,
    *,
    token: str | None = None,
    ssl: SSLContext | None = None,
    wait_s: float = 0.0,
    waiting: Callable[[StreamError], None] | None = None,
) -> End:
    """Send audio to its end and receive events meanwhile: a whole stream in one call.

    Args:
        url: the address, as in `connect`.
        chunks: the audio, in pieces of any length. It is sent as fast as `chunks` yields it.
        receive: called with every event from `Ready` to `End`, in order.
        settings: as in `connect`.
        token: as in `connect`.
        ssl: as in `connect`.
        wait_s: as in `connect`.
        waiting: as in `connect`.

    Raises:
        StreamClosed: the stream ended without an `End`.

    All errors of `connect` are raised too, and all that `chunks` or `receive` raise, as they are and in no group.
    """

    async def send() -> None:
        try:
            async for chunk in chunks:
                await stream.send_audio(chunk)
            await stream.stop()
        except StreamClosed:
            pass  # reading raises the same error, after the last events

    async with connect(url, settings, token=token, ssl=ssl, wait_s=wait_s, waiting=waiting) as stream:
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
