"""Handlers for the sinks of a room: attach, state, detach. No answer has an address or a password."""

from dataclasses import asdict

from aiohttp import web

from livecaption.delivery.destination import Destination, check_sink_name
from livecaption.ipc import logs
from livecaption.live.room_state import check_name
from livecaption.recognition import logged_id
from livecaption.server import auth
from livecaption.server.http import body_of
from livecaption.server.services import SERVICES


async def sinks(request: web.Request) -> web.Response:
    """`GET /v1/rooms/{room}/sinks`: list the sinks of a room, which need not exist."""
    room_name = _checked_room(request)
    attached = request.app[SERVICES].sinks.of(room_name)
    return web.json_response({"sinks": [asdict(sink.status) for sink in attached]})


async def sink(request: web.Request) -> web.Response:
    """`GET /v1/rooms/{room}/sinks/{sink}`: describe a sink."""
    room_name = _checked_room(request)
    return web.json_response(asdict(request.app[SERVICES].sinks.find(room_name, request.match_info["sink"]).status))


async def put(request: web.Request) -> web.Response:
    """`PUT /v1/rooms/{room}/sinks/{sink}`: attach a sink, until it is detached or the server stops."""
    room_name = _checked_room(request)
    destination: Destination = await body_of(request, Destination, lenient=True)
    name = request.match_info["sink"]
    check_sink_name(name)
    attached = await request.app[SERVICES].sinks.attach(room_name, name, destination)
    return web.json_response(asdict(attached.status))


async def delete(request: web.Request) -> web.Response:
    """`DELETE /v1/rooms/{room}/sinks/{sink}`: detach a sink. What waits in it is not sent."""
    room_name = _checked_room(request)
    await request.app[SERVICES].sinks.detach(room_name, request.match_info["sink"])
    return web.Response(status=204)


def _checked_room(request: web.Request) -> str:
    """Return the name of the room, if the client may have and change its sinks.

    Raises:
        ForbiddenOrigin: a page of another site asks.
        Unauthorized, ForbiddenRole, LimitReached, LocalOnly: see `auth.check_access`.
        InvalidMessage: no room can have this name.
    """
    auth.check_origin(request, request.app[SERVICES].config.server)
    auth.check_access(request)
    name = request.match_info["room"]
    check_name(name)
    logs.note(room=logged_id(name))
    return name
