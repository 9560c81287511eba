"""Handlers for the sinks of a room or session: attach, state, detach. No answer has an address or a password."""

import logging
import os
import stat
from dataclasses import asdict
from pathlib import Path

from aiohttp import web

from livecaption.delivery import destination
from livecaption.delivery.destination import Destination, check_sink_name
from livecaption.delivery.sources import Key, SessionSource, Source, room_key, session_key
from livecaption.ipc import logs
from livecaption.live.room_state import check_name
from livecaption.live.session import LiveSession
from livecaption.recognition import logged_id
from livecaption.server import auth
from livecaption.server.http import body_of
from livecaption.server.services import SERVICES
from livecaption.server.shared_sinks import report_attached, report_detached
from livecaption.settings import read_toml

logger = logging.getLogger(__name__)


async def sinks(request: web.Request) -> web.Response:
    """`GET /v1/rooms/{room}/sinks`, `/v1/sessions/{session}/sinks`: list the sinks. The room need not exist."""
    attached = request.app[SERVICES].sinks.of(_checked_key(request))
    return web.json_response({"sinks": [asdict(sink.status) for sink in attached]})


async def sink(request: web.Request) -> web.Response:
    """`GET .../sinks/{sink}`: describe a sink."""
    key = _checked_key(request)
    return web.json_response(asdict(request.app[SERVICES].sinks.find(key, request.match_info["sink"]).status))


async def put(request: web.Request) -> web.Response:
    """`PUT .../sinks/{sink}`: attach a sink, until it is detached, its session is over, or the server stops."""
    _checked_key(request)
    destination: Destination = await body_of(request, Destination, lenient=True)
    name = request.match_info["sink"]
    check_sink_name(name)
    services, source = request.app[SERVICES], _source(request)
    attached = await services.sinks.attach(source, name, destination)
    if services.siblings is not None and source.is_shared:
        await report_attached(services.siblings, request.match_info["room"], name, destination)
    return web.json_response(asdict(attached.status))


async def delete(request: web.Request) -> web.Response:
    """`DELETE .../sinks/{sink}`: detach a sink. What waits in it is not sent."""
    key, name = _checked_key(request), request.match_info["sink"]
    services = request.app[SERVICES]
    is_shared = services.sinks.find(key, name).source.is_shared
    await services.sinks.detach(key, name)
    if services.siblings is not None and is_shared:
        await report_detached(services.siblings, request.match_info["room"], name)
    return web.Response(status=204)


def _checked_key(request: web.Request) -> Key:
    """Return the key of the room or session, if the client may have and change its sinks.

    Raises:
        ForbiddenOrigin: a page of another site asks.
        Unauthorized, ForbiddenRole, LimitReached, LocalOnly: see `auth.check_access`.
        InvalidMessage: no room can have this name.
        UnknownSession: there is no such session, nor a sink of it that has something left to send.
    """
    services = request.app[SERVICES]
    auth.check_origin(request, services.config.server)
    auth.check_access(request)
    if "room" in request.match_info:
        name = request.match_info["room"]
        check_name(name)
        logs.note(room=logged_id(name))
        return room_key(name)
    key = session_key(request.match_info["session"])
    if not services.sinks.of(key):
        _session(request)
    logs.note(session=logged_id(request.match_info["session"]))
    return key


def _source(request: web.Request) -> Source:
    """Return the room or session itself.

    Raises:
        UnknownSession: there is no such session.
    """
    services = request.app[SERVICES]
    if "room" in request.match_info:
        return services.sinks.room(request.match_info["room"])
    return SessionSource(_session(request), services.rooms)


def _session(request: web.Request) -> LiveSession:
    return request.app[SERVICES].sessions.find(request.match_info["session"])


def destinations_of(name: str) -> dict[tuple[str, str], Destination]:
    """Read the file of sinks; without a name, there are none.

    Raises:
        ConfigError: it cannot be read.
    """
    if not name:
        return {}
    file = Path(name)
    found = destination.parse(read_toml(file), name)
    if os.name == "posix" and file.stat().st_mode & stat.S_IROTH:
        logger.warning("all users of this machine can read %s, which has secrets: chmod 600 %s", name, name)
    return found
