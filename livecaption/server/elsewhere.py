"""Requests for what another process of this server has: a session, a room where somebody speaks, a free slot.

A session lives in one process, and so does a room while a part of it runs. A client that comes to another one is handed
over: see `handover`. Where that process does not answer, this one takes the session over, as after its death.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple
from datetime import UTC, datetime
from functools import partial

from aiohttp import web
from aiohttp.typedefs import Handler

from livecaption.delivery.sinks import Sinks
from livecaption.errors import LivecaptionError, StoreFailed, Unavailable
from livecaption.live.accounts import Use
from livecaption.live.anywhere import Anywhere
from livecaption.live.rooms import Rooms
from livecaption.live.slots import RETRY_AFTER_S
from livecaption.server import auth, bodies, shared_sinks
from livecaption.server.config import Place
from livecaption.server.handover import given_by
from livecaption.server.keys import Keys
from livecaption.server.metrics import Metrics
from livecaption.server.services import SERVICES, Services
from livecaption.server.siblings import Siblings
from livecaption.workers.pool import PoolState

CHANGED = "changed"
"""The message that a room is to be read again."""
CHANGED_SESSION = "changed-session"
"""The message that a stored session was deleted or renamed."""
LOOK_INTERVAL_S = 0.1
LOOK_S = 10.0
"""Time in s in which the process that has a session is looked for. By then the next process has started, or the
publisher is back. Longer: readers of a process that hangs wait for longer. Shorter: on a busy machine some are refused
for no reason."""
POLL = "/captions"
"""The only address whose query names a room, because that of StreamText does."""
USES = "uses"
"""The question for the streams of each key, and their audio."""
WRONG = "wrong"
"""The message that wrong tokens came from an address: the address, and their number."""
OTHERS_MAY_HAVE_ROOM = ("overloaded", "loading", "failed")
"""Codes of refusals of a stream with which another process may accept it."""


def siblings_of(
    place: Place | None,
    app: web.Application,
    figures: Metrics,
    anywhere: Anywhere,
    rooms: Rooms,
    keys: Keys,
    sinks: Sinks,
) -> Siblings | None:
    """Return the other processes, with what this one answers them; None: this is the only one."""
    if place is None:
        return None

    async def is_elsewhere(name: str) -> bool:
        return not rooms.has(name) and await siblings.first_that("has", name) is not None

    async def uses_elsewhere() -> Sequence[Mapping[str, Use]]:
        found = await siblings.ask_others(USES)
        return [{sha256: Use(*use) for sha256, use in uses.items()} for uses in found.values()]

    siblings = Siblings(
        place,
        {
            "stats": lambda _: figures.snapshot(),
            "metrics": lambda _: figures.families(),
            "ready": lambda _: takes_streams(app[SERVICES]),
            "has": partial(_has, app),
            CHANGED: rooms.let_go,
            CHANGED_SESSION: anywhere.receive_change,
            USES: lambda _: {sha256: astuple(use) for sha256, use in keys.accounts.uses(datetime.now(UTC)).items()},
            WRONG: lambda about: keys.note_wrong(*json.loads(about)),
            **shared_sinks.answers(sinks),
        },
    )
    anywhere.report_change = partial(siblings.tell, CHANGED_SESSION)
    rooms.changed = partial(siblings.tell, CHANGED)
    rooms.is_elsewhere = is_elsewhere
    keys.uses_elsewhere = uses_elsewhere
    sinks.report = partial(shared_sinks.report_sending, siblings)
    keys.report_wrong = lambda address, n: siblings.tell(WRONG, json.dumps((address, n)))
    return siblings


def takes_streams(services: Services) -> bool:
    """Return whether this process would accept a new stream."""
    try:
        services.sessions.check_admission()
    except LivecaptionError:
        return False
    return services.pool.state is not PoolState.RECOVERING


async def given_to_one_with_room(request: web.Request, error: LivecaptionError) -> bool:
    """Give a publisher that was refused to a process that would accept it. Return False if there is none."""
    return error.code in OTHERS_MAY_HAVE_ROOM and await _given(request, "ready")


async def given_to_owner(request: web.Request, name: str) -> bool:
    """Give a client to the process that has the session or room of this name. Return False if it is this or none."""
    return bool(name) and not _has(request.app, name) and await _given(request, "has", name)


@web.middleware
async def to_the_owner(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give requests about a session or room to the process that has it.

    Where a process has died, they wait until another one has its session, or the next one has started.
    """
    if request.match_info.http_exception is not None:
        return await handler(request)  # the path or the method is unknown, so no process answers otherwise
    name = request.match_info.get("session") or asked_room(request)  # the id of a session names its own room too
    if name and request.app[auth.ACCESS][request.match_info.route].role is not None:
        auth.check_access(request)  # a stranger's body is not waited for
    clock = asyncio.get_running_loop().time
    until_s = clock() + LOOK_S
    while clock() < until_s:
        if await given_to_owner(request, name):
            return gone()
        if not name or _has(request.app, name) or not await _is_left(request.app, name):
            return await handler(request)
        await asyncio.sleep(LOOK_INTERVAL_S)
    raise Unavailable("the process of this session does not answer now", retry_after_s=RETRY_AFTER_S)


def asked_room(request: web.Request) -> str:
    """Return the name of the room that a request is about; empty: of none."""
    return request.match_info.get("room") or (request.query.get("event", "") if request.path == POLL else "")


def gone() -> web.Response:
    """Return the response to a request that was handed over. Nobody receives it."""
    return web.Response(status=204)


async def _given(request: web.Request, question: str, about: str = "") -> bool:
    """Give a client to a process that answers a question with yes. Return False if there is none."""
    siblings = request.app[SERVICES].siblings
    if siblings is None:
        return False
    apart_from = given_by(request, siblings.numbers)
    while (number := await siblings.first_that(question, about, apart_from)) is not None:
        await bodies.arrival(request)
        if await siblings.handover.give(request, number):
            request["handed over"] = True
            return True
        apart_from.add(number)
    return False


def _has(app: web.Application, name: str) -> bool:
    services = app[SERVICES]
    return services.sessions.known(name) is not None or services.rooms.has(name)


async def _is_left(app: web.Application, session_id: str) -> bool:
    """Return whether a session that no process has can go on, and cannot be read here meanwhile."""
    store = app[SERVICES].store
    if store is None or store.broadcast is not None:
        return False
    with suppress(StoreFailed):
        return await store.resumption(session_id) is not None
    return False
