"""Read the captions of a session or room: each final once, across lost connections and restarts of the server."""

import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ssl import SSLContext
from typing import ClassVar, Self, TypeAlias

import aiohttp

from livecaption.client.opening import (
    ABNORMAL_CLOSE_CODES,
    Reconnected,
    Reconnecting,
    Socket,
    StreamClosed,
    StreamError,
    opener,
    reconnect,
    wait_until_accepted,
    watch_url,
)
from livecaption.events import (
    End,
    Event,
    Final,
    Gap,
    Partial,
    Room,
    Snapshot,
    SpeakerNamed,
    SpeechEnd,
    SpeechStart,
    Status,
    Translation,
)
from livecaption.messages import parse_event


@dataclass(frozen=True, slots=True)
class Part:
    """The events that follow are of this session, and partials so far are out of date. The server never sends this.

    It comes first, with each part of a room, and again if the reader has missed events.

    Attributes:
        session: its id.
        title: its title, or empty.
        language: its language; None: it is detected.
        tracks: languages into which its finals are translated.
    """

    type: ClassVar[str] = "part"
    session: str
    title: str
    language: str | None
    tracks: tuple[str, ...]


ReaderEvent: TypeAlias = (
    Room
    | Part
    | SpeechStart
    | Partial
    | SpeechEnd
    | Final
    | Translation
    | SpeakerNamed
    | Status
    | Gap
    | End
    | Reconnecting
    | Reconnected
)
"""All events that a reader yields. A type checker reports a `match` that forgets one and ends with `assert_never`."""


class Reader:
    """A reader that the server has accepted, made by `watch`. One task may iterate over it."""

    def __init__(self, open_at: Callable[[str], Awaitable[Socket]], socket: Socket, track: str | None) -> None:
        self._open_at = open_at
        self._socket = socket
        self._track = track
        self._coming: deque[ReaderEvent] = deque()
        self._is_away = False
        self._left: StreamClosed | None = None
        self._room: Room | None = None
        self._session = ""
        self._epoch = ""
        self._position = ""  # the number of the last event, with its epoch
        self._names: dict[tuple[str, int], str] = {}  # of the speakers of each session
        # What was yielded: (session, utterance) of finals, and (session, utterance, language) of translations.
        self._yielded: set[tuple[str, int] | tuple[str, int, str]] = set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReaderEvent:
        """Return the next event. After everything of a session, or of a room that has ended, there is none.

        After `Reconnecting`, it connects again and returns `Reconnected`.

        Raises:
            StreamRefused: the server does not have the session or room any more.
            StreamClosed: the server closed the connection for good, or violated the protocol; or the block of
                `watch` was left.
            ConnectionError: the server could not be reached for ten minutes.
        """
        if self._is_away:
            self._socket = await reconnect(self._reopen)
            self._is_away = False
            return Reconnected()
        while not self._coming:
            message = await self._socket.receive()
            if self._left is not None:
                raise self._left
            if message.type is aiohttp.WSMsgType.TEXT:
                self._coming += self._take(message.data)
            elif message.type is aiohttp.WSMsgType.BINARY:
                pass  # no event is binary
            elif self._socket.close_code in ABNORMAL_CLOSE_CODES:
                self._is_away = True
                return Reconnecting()
            elif self._socket.close_code == aiohttp.WSCloseCode.OK:
                raise StopAsyncIteration
            else:
                reason = str(message.extra or "") or "the server closed the connection"
                raise StreamClosed(self._socket.close_code or aiohttp.WSCloseCode.ABNORMAL_CLOSURE, reason)
        return self._coming.popleft()

    async def _reopen(self) -> Socket:
        if self._left is not None:
            raise self._left
        return await self._open_at(self._position)

    async def _leave(self) -> None:
        self._left = StreamClosed(aiohttp.WSCloseCode.OK, "the reader was left")
        await self._socket.close()

    def _take(self, text: str) -> list[ReaderEvent]:
        try:
            fields = json.loads(text)
            event = parse_event(fields)
            seq = fields.get("seq")
        except (ValueError, AttributeError) as error:
            raise StreamClosed(aiohttp.WSCloseCode.PROTOCOL_ERROR, f"not an event: {error}") from None
        if isinstance(event, Snapshot):
            self._session, self._epoch = event.session, event.epoch
        if seq is not None:
            self._position = f"{self._epoch}-{seq}"
        return [each for each in self._events(event) if self._is_new(each)]

    @staticmethod
    def _events(event: Event | None) -> Iterator[ReaderEvent]:
        """Yield the events for which one of the server stands."""
        match event:
            case Snapshot():
                yield Part(event.session, event.title, event.language, event.tracks or ())
                yield from (SpeakerNamed(each.speaker, each.name) for each in event.names or ())
                for final in event.finals:
                    yield replace(final, translations=None)
                    for each in final.translations or ():
                        yield Translation(final.utterance, each.language, each.text)
                yield from event.partials or ([event.partial] if event.partial else [])
            case Room() | SpeechStart() | Partial() | SpeechEnd() | Final() | Translation() | Status() | Gap() | End():
                yield event
            case SpeakerNamed():
                yield event
            case _:
                pass  # for publishers, or of a newer server

    def _is_new(self, event: ReaderEvent) -> bool:
        """Return False for what was yielded before, and for translations of other tracks. Note what is yielded."""
        key: tuple[str, int] | tuple[str, int, str]
        match event:
            case Room():
                # The server repeats it, so that pages notice a lost connection.
                is_new, self._room = event != self._room, event
                return is_new
            case SpeakerNamed(speaker, name):
                is_new = self._names.get((self._session, speaker)) != name
                self._names[self._session, speaker] = name
                return is_new
            case Final(utterance=utterance):
                key = self._session, utterance
            case Translation(utterance=utterance, language=language):
                if self._track not in (None, language):
                    return False
                key = self._session, utterance, language
            case _:
                return True
        is_new = key not in self._yielded
        self._yielded.add(key)
        return is_new


@asynccontextmanager
async def watch(
    url: str,
    name: str,
    *,
    track: str | None = None,
    reader_token: str | None = None,
    ssl: SSLContext | None = None,
    wait_s: float = 0.0,
    waiting: Callable[[StreamError], None] | None = None,
) -> AsyncIterator[Reader]:
    """Read the captions of a session or room. Leaving the block closes the connection.

    The finals so far come first, then events as they happen. Each final comes once. A task that still reads when the
    block is left ends with `StreamClosed`.

    Args:
        url: the server, as in `connect`.
        name: the id of a session, or the name of a room. A room goes on with its next part, until it has ended.
        track: language of the translations that are wanted; None: all.
        reader_token: needed for a private session or room: `Ready.reader_token` of its publisher.
        ssl: as in `connect`.
        wait_s: time for which to wait for a server that has no place for the reader yet.
        waiting: called with the refusal each time before waiting.

    Raises:
        ValueError: `url` is not the address of a server.
        ConnectionError: the server cannot be reached, or TLS failed.
        StreamRefused: the server refused: there is no such session or room, or the reader token is wrong.
    """
    async with opener(watch_url(url, name), reader_token, ssl) as open_socket:

        async def open_at(position: str) -> Socket:
            return await open_socket({"last_event_id": position} if position else {})

        reader = Reader(open_at, await wait_until_accepted(lambda: open_at(""), wait_s, waiting), track)
        try:
            yield reader
        finally:
            await reader._leave()
