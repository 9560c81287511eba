"""Handlers for programs that fetch the captions of a room: line by line, and as segments for HLS players."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Container, Sequence
from datetime import datetime
from functools import partial
from urllib.parse import urlencode

from aiohttp import hdrs, web

from livecaption.captions.hls import MAX_TIMESTAMP, Segmentation, Timeline
from livecaption.captions.polling import CHARACTERS, DEFAULT_LENGTH, MAX_LENGTH, Line, newest_position, next_line
from livecaption.captions.transcript import in_sequence, settled_in_track
from livecaption.errors import InvalidQuery, UnknownSession
from livecaption.events import Final
from livecaption.live.room import Part, Room
from livecaption.live.room_state import RoomState
from livecaption.server.exports import REST_S
from livecaption.server.http import error_response, log_refusal
from livecaption.server.rooms import readable, stored_finals
from livecaption.server.services import SERVICES
from livecaption.server.transcripts import asked_line_length, asked_track, number

DEFAULT_DURATION_S = 6
MAX_DURATION_S = 60
DEFAULT_WINDOW = 10
MAX_WINDOW = 5_000
"""Segments in a playlist: eight hours of 6 s. Each takes a line of 100 bytes, and all 3 ms of the event loop."""
PARAMETERS = ("duration", "start", "mpegts", "track", "line_length", "reader_token")
"""The parameters of a playlist that its segments need too."""
PartFinals = tuple[Part, Sequence[Final], bool]
"""A part, its finals so far, and whether these are all."""
MAX_TIMELINES = 64
"""Rooms, languages and line lengths whose cues are kept. An hour of speech has 100 KB."""
MAX_START_MS = 7 * 24 * 3_600_000
"""Time between the beginning of the video and that of the event, at most."""
MARGIN_MS = 1_000
"""Time after the end of a part by which all positions in it are over: finals that end together differ by 1 ms."""
SILENCE_CERTAIN_MS = 3_000
"""Time on the wall after which silence is certain to be silence: networks delay audio, and an utterance is noticed
after it has begun. Longer: segments are listed later. Shorter: captions of delayed audio are shown late."""


async def line(request: web.Request) -> web.Response:
    """`GET /captions?event=` and `GET /v1/rooms/{room}/captions`: the line behind the position `?last=`."""
    name = request.match_info.get("room") or request.query.get("event", "")
    try:
        room = await readable(request, name)
    except UnknownSession as error:
        log_refusal(request, error)
        # Programs read these fields in any case, and take a negative position as: not now.
        return error_response(error, content="", lastPosition=-1, languageCode="")
    last, length = _position(request), number(request, "length", default=DEFAULT_LENGTH, at_most=MAX_LENGTH)
    track = asked_track(request, "language")
    newest_ms = 0 if last is None else last // CHARACTERS
    began_at_ms = _one_after_the_other(room)
    delivered = [part.id for part in room.listed if began_at_ms[part.id] + part.duration_ms + MARGIN_MS < newest_ms]
    parts = [
        (began_at_ms[part.id], settled_in_track(finals, track, is_over=is_over))
        for part, finals, is_over in await _parts(request, room, delivered)
    ]
    found = Line("", newest_position(parts), "") if last is None else next_line(parts, last, length)
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


class KeptTimeline:
    """The cues of one event of a room in one language.

    Attributes:
        timeline: the cues.
        began_at_ms: the beginning of its first part, in ms of the Unix clock.
        is_over: whether nothing follows.
        complete: the ids of the parts of which it has everything.
    """

    def __init__(self, began_at_ms: int, track: str | None, line_length: int) -> None:
        self.timeline = Timeline(line_length)
        self.began_at_ms = began_at_ms
        self.is_over = False
        self.complete: set[str] = set()
        self.changing = asyncio.Lock()
        self._track = track
        self._n_taken: dict[str, int] = {}  # finals of each part

    def fits(self, parts: Sequence[Part]) -> bool:
        """Return True if no part was deleted that is in it."""
        return self._n_taken.keys() <= {part.id for part in parts}

    def take(self, parts: Sequence[PartFinals], until_ms: int | None) -> None:
        """Take what is new. Called in threads: a day of speech takes seconds.

        Args:
            parts: the parts that are not complete.
            until_ms: the time of the timeline before which they have all finals; None: the event is over.
        """
        for part, finals, is_over in parts:
            settled = settled_in_track(finals, self._track, is_over=is_over)
            new = settled[self._n_taken.get(part.id, 0) :]
            self._n_taken[part.id] = len(settled)
            for final in in_sequence([(self.began_at_ms, []), (part.started_at_ms, new)]):
                self.timeline.push(final)
                time.sleep(REST_S)
            if is_over:
                self.complete.add(part.id)
            if len(settled) < len(finals) and until_ms is not None:
                awaited_ms = part.started_at_ms - self.began_at_ms + finals[len(settled)].start_ms
                until_ms = min(until_ms, awaited_ms)
        if until_ms is None:
            self.timeline.finish()
            self.is_over = True
        else:
            self.timeline.advance(until_ms)


class Timelines:
    """The cues of rooms that players ask for. Used by the event loop."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int, str | None, int], KeptTimeline] = OrderedDict()

    async def of(self, request: web.Request, room: Room, track: str | None, line_length: int) -> KeptTimeline:
        """Return the cues of the room's present event, with all that is known now."""
        key = (room.about.name.lower(), room.about.event, track, line_length)
        kept = self._kept.get(key)
        listed = room.listed
        if not listed:
            return KeptTimeline(_now_ms(), track, line_length)
        if kept is None or not kept.fits(listed):
            kept = self._kept[key] = KeptTimeline(listed[0].started_at_ms, track, line_length)
        self._kept.move_to_end(key)
        if len(self._kept) > MAX_TIMELINES:
            self._kept.popitem(last=False)
        async with kept.changing:
            if not kept.is_over:
                # First, because what is known then is among the finals that are read afterwards.
                until_ms = _known_until_ms(request, room, kept)
                await asyncio.to_thread(kept.take, await _parts(request, room, kept.complete), until_ms)
        return kept


TIMELINES: web.AppKey[Timelines] = web.AppKey("timelines", Timelines)


async def _segmented(request: web.Request) -> tuple[KeptTimeline, Segmentation]:
    """Return the cues that the request asks for, and how it cuts them.

    Raises:
        UnknownSession, Unauthorized, ForbiddenRole, LimitReached: see `rooms.readable`.
        InvalidQuery: a parameter is wrong.
    """
    room = await readable(request, request.match_info["room"])
    track, line_length = asked_track(request, "track"), asked_line_length(request)
    kept = await request.app[TIMELINES].of(request, room, track, line_length)
    return kept, _segmentation(request, kept.began_at_ms)


def _known_until_ms(request: web.Request, room: Room, kept: KeptTimeline) -> int | None:
    """Return the time of the timeline before which all finals are known; None: the event is over."""
    if room.state is RoomState.ENDED:
        return None
    limits_ms = [_now_ms() - SILENCE_CERTAIN_MS - kept.began_at_ms]
    for part in room.listed:
        session = request.app[SERVICES].sessions.known(part.id)
        if session is None or session.hub.ended:
            continue
        if not session.hub.has_publisher:  # its audio may come later
            limits_ms.append(kept.timeline.until_ms)
        if session.hub.open_since_ms is not None:
            limits_ms.append(part.started_at_ms - kept.began_at_ms + session.hub.open_since_ms)
    return min(limits_ms)


async def _parts(request: web.Request, room: Room, without: Container[str]) -> list[PartFinals]:
    """Return the parts of a room apart from some."""
    services = request.app[SERVICES]
    found: list[PartFinals] = []
    for part in room.listed:
        if part.id in without:
            continue
        session = services.sessions.known(part.id)
        if session is not None:
            found.append((part, session.hub.finals, session.hub.ended))
        elif services.store is not None:
            stored = await services.store.read(partial(stored_finals, part.id))
            found.append((part, list(stored), True))
    return found


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


def _one_after_the_other(room: Room) -> dict[str, int]:
    """Return when each part began, in ms of the Unix clock, but not before the end of the one before it.

    Audio of a recording is sent faster than it lasts, so the next part may begin while the clock is behind.
    """
    room.description()  # notes the present lengths of the parts
    began_at_ms: dict[str, int] = {}
    end_ms = 0
    for part in room.listed:
        began_at_ms[part.id] = max(part.started_at_ms, end_ms)
        end_ms = began_at_ms[part.id] + part.duration_ms
    return began_at_ms


def _now_ms() -> int:
    return round(time.time() * 1000)
