"""Handlers for rooms: registration, state, and transcripts over all parts. Their events: `server.readers`."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

from aiohttp import hdrs, web

from livecaption.captions import transcript as captions
from livecaption.captions.labels import Names
from livecaption.captions.speakers import highest_speaker
from livecaption.captions.transcript import in_sequence, in_spoken_order, lay_out_as, names_in_sequence
from livecaption.errors import InvalidMessage
from livecaption.events import Final
from livecaption.ipc import logs
from livecaption.live.anywhere import may_go_on
from livecaption.live.dialects.commands import RoomClaim
from livecaption.live.dialects.native import title_of
from livecaption.live.room import Room
from livecaption.live.room_parts import Part
from livecaption.live.room_state import RoomState, check_name, check_secret
from livecaption.live.tokens import reader_token
from livecaption.messages import plain
from livecaption.recognition import logged_id
from livecaption.server import auth
from livecaption.server.exports import EXPORTS, Export
from livecaption.server.http import body_of
from livecaption.server.services import SERVICES, Services
from livecaption.server.transcripts import CONTENT_TYPES, asked_format, send_transcript
from livecaption.store.rows import SessionState
from livecaption.store.store import Store


@dataclass(frozen=True, slots=True)
class RoomChange:
    """The body of `PUT /v1/rooms/{room}`. Fields that are None change nothing.

    Attributes:
        secret: the publisher secret. It is in the body, because addresses are kept in histories and logs.
        state: `ended`: the event is over.
    """

    secret: str
    title: str | None = None
    private: bool | None = None
    state: str | None = None


async def put(request: web.Request) -> web.Response:
    """`PUT /v1/rooms/{room}`: make a room before its first part, change its title, or end it."""
    config = request.app[SERVICES].config.server
    auth.check_origin(request, config)
    auth.check_access(request)
    name = request.match_info["room"]
    change = await _change(request)
    check_name(name)
    check_secret(change.secret)
    rooms = request.app[SERVICES].rooms
    room = await rooms.enter(RoomClaim(name, change.secret), private=bool(change.private), prepares=True)
    logs.note(room=logged_id(room.about.name))
    await rooms.put(room, change.title, ended=change.state is not None)
    answer = plain(room.description())
    if room.private:
        answer["reader_token"] = reader_token(change.secret, room.about.name)
    return web.json_response(answer)


async def room(request: web.Request) -> web.Response:
    """`GET /v1/rooms/{room}`: describe a room."""
    return web.json_response(plain((await readable(request, request.match_info["room"])).description()))


async def transcript(request: web.Request) -> web.StreamResponse:
    """`GET /v1/rooms/{room}/transcript.{vtt,srt,txt,json}`: export all parts as far as they exist.

    Times count from the beginning of the first part, by the clock on the wall: see `captions.transcript.beginnings_ms`.
    """
    name, line_length, track = asked_format(request)
    room = await readable(request, request.match_info["room"])
    parts = parts_of(room)
    n_captions = await _n_captions(request.app[SERVICES], parts)
    export = Export(tuple(part.id for part in parts), name, line_length, n_captions, track)
    names: dict[int, str] = {}
    text = await request.app[EXPORTS].text(
        export,
        partial(_finals, request, parts, names),
        partial(lay_out_as, name, line_length, track, names),
        lambda: request.transport is not None,
    )
    # No part of it can be requested, because what comes next may change what is there.
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: f"{CONTENT_TYPES[name]}; charset=utf-8"})
    await send_transcript(request, response, memoryview(text))
    return response


async def _change(request: web.Request) -> RoomChange:
    """Return what the request asks for.

    Raises:
        InvalidMessage: it is not what the protocol allows.
    """
    change: RoomChange = await body_of(request, RoomChange, lenient=True)
    if change.title is not None:
        change = replace(change, title=title_of({"title": change.title}))
    if change.state not in (None, RoomState.ENDED.value):
        raise InvalidMessage("state must be ended: every other state follows from the parts")
    return change


async def readable(request: web.Request, name: str) -> Room:
    """Return the room of this name, if its readers or the operator ask for it. Use it before the next `await`.

    Raises:
        UnknownSession: there is no such room.
        Unauthorized: the room is private, and the request shows no token for it.
    """
    room = await request.app[SERVICES].rooms.find(name)
    auth.check_reader(request, room.check_reader)
    logs.note(room=logged_id(room.about.name))
    return room


def parts_of(room: Room) -> list[Part]:
    """Return the parts of the room's present event, with their present lengths."""
    room.description()  # notes the lengths
    return room.listed


async def _n_captions(services: Services, parts: Iterable[Part]) -> int | None:
    """Return the number of captions that these parts have while one of them goes on, here or elsewhere; else None."""
    n_captions, goes_on = 0, False
    for part in parts:
        if (session := services.anywhere.known(part.id)) is not None:
            n_captions += session.hub.n_captions
            goes_on |= not session.hub.ended
        elif services.store is not None and part.state is not SessionState.ENDED:
            record = await services.store.session(part.id)
            if record is not None and await may_go_on(services.store, record):
                n_captions += record.n_finals
                goes_on = True
    return n_captions if goes_on else None


async def _finals(request: web.Request, parts: list[Part], names: dict[int, str]) -> Iterable[Final]:
    """Read the finals of these parts, moved to the times of the room. Their speakers' names are added to `names`."""
    services = request.app[SERVICES]
    read: list[captions.Part] = []
    for part in parts:
        session = services.anywhere.known(part.id)
        if session is not None:
            finals = in_spoken_order(session.hub.finals)
            read.append(_part(part, finals, highest_speaker(finals), session.hub.names))
        elif services.store is not None:
            read.append(await stored_part(services.store, part))
    names |= names_in_sequence(read)
    return in_sequence(read)


async def stored_part(store: Store, part: Part) -> captions.Part:
    """Return the finals of a part in spoken order, and its speakers; of an unknown one, none."""
    record = await store.session(part.id)
    if record is None:
        return _part(part, (), 0, {})
    return _part(part, await store.finals(part.id), record.n_speakers, record.names)


def _part(part: Part, finals: Iterable[Final], n_speakers: int, names: Names) -> captions.Part:
    return captions.Part(part.started_at_ms, part.duration_ms, finals, n_speakers, dict(names))
