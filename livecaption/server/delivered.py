"""Handlers for programs that fetch the captions of a room: line by line, and as segments for HLS players."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from urllib.parse import urlencode

from aiohttp import hdrs, web

from livecaption.captions.hls import MAX_TIMESTAMP, Segmentation
from livecaption.captions.polling import DEFAULT_LENGTH, MAX_LENGTH, Line, newest_position, next_line
from livecaption.captions.transcript import beginnings_ms
from livecaption.errors import InvalidQuery, UnknownSession
from livecaption.live.anywhere import may_go_on
from livecaption.live.room import Room
from livecaption.live.room_parts import Part
from livecaption.live.room_state import RoomState
from livecaption.server.elsewhere import asked_room
from livecaption.server.followed import (
    FOLLOWED,
    Kept,
    KeptTexts,
    KeptTimeline,
    Key,
    PartFinals,
    PartState,
    Shelf,
    T,
)
from livecaption.server.http import error_response, log_refusal
from livecaption.server.rooms import parts_of, readable
from livecaption.server.services import SERVICES
from livecaption.server.transcripts import asked_line_length, asked_track, number
from livecaption.store.store import Store

DEFAULT_DURATION_S = 6
MAX_DURATION_S = 60
DEFAULT_WINDOW = 10
MAX_WINDOW = 5_000
"""Segments in a playlist: eight hours of 6 s. Each takes a line of 100 bytes, and all 3 ms of the event loop."""
PARAMETERS = ("duration", "start", "mpegts", "track", "line_length", "reader_token")
"""The parameters of a playlist that its segments need too."""
MAX_START_MS = 7 * 24 * 3_600_000
"""Time between the beginning of the video and that of the event, at most."""
SILENCE_CERTAIN_MS = 3_000
"""Time on the wall after which silence is certain to be silence: networks delay audio, and an utterance is noticed
after it has begun. Longer: segments are listed later. Shorter: captions of delayed audio are shown late."""


async def line(request: web.Request) -> web.Response:
    """`GET /captions?event=` and `GET /v1/rooms/{room}/captions`: the line behind the position `?last=`."""
    try:
        room = await readable(request, asked_room(request))
    except UnknownSession as error:
        log_refusal(request, error)
        # Programs read these fields in any case, and take a negative position as: not now.
        return error_response(error, content="", lastPosition=-1, languageCode="")
    last, length = _position(request), number(request, "length", default=DEFAULT_LENGTH, at_most=MAX_LENGTH)
    track = asked_track(request, "language")
    texts = (await _polled(request, room, track)).texts
    parts = parts_of(room)
    begun = [
        (at_ms, texts[part.id]) for part, at_ms in zip(parts, beginnings_ms(parts), strict=True) if part.id in texts
    ]
    found = Line("", newest_position(begun), "") if last is None else next_line(begun, last, length)
    return web.json_response(
        {"content": found.content, "lastPosition": found.position, "languageCode": found.language},
        headers={hdrs.CONTENT_LANGUAGE: found.language} if found.language else None,
    )


async def playlist(request: web.Request) -> web.Response:
    """`GET /v1/rooms/{room}/captions.m3u8`: the media playlist of the captions. See `captions.hls`."""
    kept, segmentation = await _segmented(request)
    query = urlencode({name: request.query[name] for name in PARAMETERS if name in request.query})
    text = segmentation.playlist(kept.timeline, kept.began_at_ms, query, is_over=kept.is_over)
    return web.Response(text=text, content_type="application/vnd.apple.mpegurl", charset="utf-8")


async def segment(request: web.Request) -> web.Response:
    """`GET /v1/rooms/{room}/captions/{segment}.vtt`: a segment that the playlist lists, or has listed."""
    kept, segmentation = await _segmented(request)
    asked = request.match_info["segment"]
    is_number = asked.isascii() and asked.isdecimal() and len(asked) < 10
    if not is_number or int(asked) >= segmentation.n_segments(kept.timeline, is_over=kept.is_over):
        raise UnknownSession("there is no such segment, or not yet", code="unknown_segment")
    return web.Response(text=segmentation.segment(kept.timeline, int(asked)), content_type="text/vtt", charset="utf-8")


async def _segmented(request: web.Request) -> tuple[KeptTimeline, Segmentation]:
    """Return the cues that the request asks for, and how it cuts them.

    Raises:
        UnknownSession, Unauthorized, ForbiddenRole, LimitReached: see `rooms.readable`.
        InvalidQuery: a parameter is wrong.
    """
    room = await readable(request, request.match_info["room"])
    track, line_length = asked_track(request, "track"), asked_line_length(request)
    kept = await _timeline(request, room, track, line_length)
    return kept, _segmentation(request, kept.began_at_ms)


async def _timeline(request: web.Request, room: Room, track: str | None, line_length: int) -> KeptTimeline:
    """Return the cues of the room's present event, with all that is known now."""
    if not room.listed:
        return KeptTimeline(_now_ms(), track, line_length)
    followed, began_at_ms = request.app[FOLLOWED], room.listed[0].started_at_ms
    key, make = _key(room, track, line_length), partial(KeptTimeline, began_at_ms, track, line_length)
    kept = await _kept(request, room, followed.timelines, key, make)
    async with kept.changing:
        if not kept.is_over:
            with followed.place():
                # First, because what is known then is among the finals that are read afterwards.
                until_ms = _known_until_ms(request, room, kept)
                changed = await _changed(request, room, kept)
                await followed.work(partial(kept.take, changed, until_ms), partial(_is_connected, request))
    return kept


async def _polled(request: web.Request, room: Room, track: str | None) -> KeptTexts:
    """Return the texts of the room's present event, with all that is settled now."""
    if not room.listed:
        return KeptTexts(track)
    followed = request.app[FOLLOWED]
    kept = await _kept(request, room, followed.polled, _key(room, track, 0), partial(KeptTexts, track))
    async with kept.changing:
        known = request.app[SERVICES].anywhere.known
        open_ids = [part.id for part in room.listed if part.id not in kept.complete]
        if all(session in kept.states and known(session) for session in open_ids):
            kept.take(await _changed(request, room, kept))  # a few finals
        else:
            with followed.place():
                changed = await _changed(request, room, kept)
                await followed.work(partial(kept.take, changed), partial(_is_connected, request))
    return kept


async def _kept(request: web.Request, room: Room, shelf: Shelf[T], key: Key, make: Callable[[], T]) -> T:
    """Return what is kept of the room, or a new one.

    Raises:
        InvalidQuery: the room does not have the track.
        Unavailable: too many other requests for something new wait.
    """
    kept = shelf.get(key, _ids(room))
    if kept is None and key[2] is not None:
        with request.app[FOLLOWED].place():
            await _check_track(request, room, key[2])
        kept = shelf.get(key, _ids(room))  # another request may have come first
    if kept is None:
        kept = make()
        shelf.put(key, kept)
    return kept


def _ids(room: Room) -> set[str]:
    return {part.id for part in room.listed}


async def _check_track(request: web.Request, room: Room, track: str) -> None:
    """Check that a part of the room is in this language, or translated into it.

    Raises:
        InvalidQuery: none is.
    """
    services = request.app[SERVICES]
    for part in room.listed:
        session = services.anywhere.known(part.id)
        tracks: Sequence[str] = ()
        if session is not None:
            tracks = session.options.tracks
        elif services.store is not None:
            tracks = await services.store.tracks(part.id)
        if track == part.language or track in tracks:
            return
    raise InvalidQuery(f"the room has no captions in {track}")


def _key(room: Room, track: str | None, line_length: int) -> Key:
    return room.about.name.lower(), room.about.event, track, line_length


def _is_connected(request: web.Request) -> bool:
    return request.transport is not None


def _known_until_ms(request: web.Request, room: Room, kept: KeptTimeline) -> int | None:
    """Return the time of the timeline before which all finals of utterances that are over are known.

    None: the event is over, once its parts are.
    """
    if room.state is RoomState.ENDED:
        return None
    limits_ms = [_now_ms() - SILENCE_CERTAIN_MS - kept.began_at_ms]
    for part in room.listed:
        session = request.app[SERVICES].anywhere.known(part.id)
        if session is None or session.hub.ended:
            continue
        if (away_since_ms := session.hub.away_since_ms) is not None:
            # Its audio may come later. What was listed before stays, also that of a server before this one.
            limits_ms.append(away_since_ms - SILENCE_CERTAIN_MS - kept.began_at_ms)
    return min(limits_ms)


async def _changed(request: web.Request, room: Room, kept: Kept) -> list[PartFinals]:
    """Return the parts of a room of which something is new."""
    services = request.app[SERVICES]
    found: list[PartFinals] = []
    parts = parts_of(room)
    for part, began_at_ms in zip(parts, beginnings_ms(parts), strict=True):
        if part.id in kept.complete:
            continue
        kept.sessions.add(part.id)
        session = services.anywhere.known(part.id)
        if session is not None:
            hub = session.hub
            state = PartState(hub.n_captions, hub.open_since_ms, hub.ended)
            if kept.states.get(part.id) != state:
                found.append(PartFinals(part.id, began_at_ms, hub.finals, state, dict(hub.names)))
        elif services.store is not None:
            stored = await _changed_in_store(services.store, part, began_at_ms, kept.states.get(part.id))
            if stored is not None:
                found.append(stored)
    return found


async def _changed_in_store(store: Store, part: Part, began_at_ms: int, taken: PartState | None) -> PartFinals | None:
    """Return what the store has of a part that is not here; None: nothing new. It may go on behind its last final."""
    record = await store.session(part.id)
    if record is None:
        return PartFinals(part.id, began_at_ms, (), PartState(0, None, is_over=True), {})
    is_over = not await may_go_on(store, record)
    state = PartState(record.n_finals, None if is_over else record.duration_ms, is_over)
    if state == taken:
        return None
    return PartFinals(part.id, began_at_ms, await store.finals(part.id), state, record.names)


def _segmentation(request: web.Request, began_at_ms: int) -> Segmentation:
    """Return how the request cuts segments.

    Raises:
        InvalidQuery: it cannot be cut that way.
    """
    return Segmentation(
        duration_s=number(request, "duration", default=DEFAULT_DURATION_S, at_most=MAX_DURATION_S),
        start_ms=_start_ms(request.query["start"], began_at_ms) if "start" in request.query else 0,
        mpegts=number(request, "mpegts", default=0, at_least=0, at_most=MAX_TIMESTAMP - 1),
        window=number(request, "window", default=DEFAULT_WINDOW, at_most=MAX_WINDOW),
    )


def _start_ms(given: str, began_at_ms: int) -> int:
    try:
        start = datetime.fromisoformat(given.replace(" ", "+"))  # a `+` in a query is a space
        start_ms = round(start.timestamp() * 1000) - began_at_ms
    except (ValueError, OverflowError):
        start = None
    if start is None or start.tzinfo is None or abs(start_ms) > MAX_START_MS:
        raise InvalidQuery("start must be a time with its zone, such as 2027-01-15T08:00:00Z, near that of the event")
    return start_ms


def _position(request: web.Request) -> int | None:
    """Return the position behind which the client asks; None: the newest one.

    Raises:
        InvalidQuery: it is none.
    """
    last = request.query.get("last", "0")
    return None if last == "-1" else number(request, "last", default=0, at_least=0, at_most=2**53)


def _now_ms() -> int:
    return round(time.time() * 1000)
