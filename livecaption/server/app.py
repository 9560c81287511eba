"""The routes of the application, and the steps of its start and end."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import partial
from operator import attrgetter

from aiohttp import web

from livecaption.config import Config, is_on_this_machine
from livecaption.decoding.pool import DecoderPool
from livecaption.delivery.sinks import Sinks
from livecaption.errors import StoreAway, StoreFailed
from livecaption.live.anywhere import Anywhere
from livecaption.live.cut_off import CutOff
from livecaption.live.dialects.dialect import Route
from livecaption.live.lobby import Lobby
from livecaption.live.opener import SessionOpener
from livecaption.live.registry import SessionRegistry
from livecaption.live.rooms import Rooms
from livecaption.live.takeover import Takeover
from livecaption.recordings.admission import Recordings
from livecaption.scheduling.config import SchedulerConfig
from livecaption.server import (
    auth,
    changes,
    cors,
    delivered,
    descriptors,
    http,
    links,
    publishers,
    readers,
    rooms,
    shared_sinks,
    sinks,
    transcripts,
)
from livecaption.server.access import access_of
from livecaption.server.addresses import Listening
from livecaption.server.config import ServerConfig
from livecaption.server.elsewhere import POLL, siblings_of, to_the_owner
from livecaption.server.exports import EXPORTS, Exports
from livecaption.server.followed import FOLLOWED, Followed
from livecaption.server.growing import GROWING, GrowingTranscripts
from livecaption.server.keys import KEYS, Keys
from livecaption.server.logs import WITHOUT_REQUESTS, Refusals
from livecaption.server.metrics import Metrics
from livecaption.server.protocols import handlers_of, refusals_in_shape, restorer, routes_of
from livecaption.server.services import METRICS, OWN_PORTS, SERVICES, Services
from livecaption.store.opening import open_patiently, store_of
from livecaption.workers.pool import WorkerPool

logger = logging.getLogger(__name__)


def build_app(config: Config | None = None, routes: Sequence[Route] | None = None) -> web.Application:
    """Return livecaption as an aiohttp application, to run or to mount.

    Its start launches the inference processes and does not wait for them; `/readyz` shows when they are ready.
    `on_shutdown` sends the last captions and closes all sockets, and the clean-up ends the processes. With
    `web.run_app`, a second signal skips both, but the processes end all the same.

    Start the application in the thread that runs the event loop; that thread must live as long as the application. The
    start raises StoreUnusable if transcripts cannot be stored at the configured place (`config.store`). It waits for a
    database that is away for as long as `opening.PATIENCE_S`.

    Args:
        config: None: the defaults.
        routes: the WebSockets that publishers may open, one of which at most is resumable. None: those of the
            protocols in the settings.

    Raises:
        ConfigError: the file of tokens or of sinks cannot be read, or the library of the store is missing.
    """
    config = config or Config()
    if routes is None:
        routes = routes_of(config.server.spoken_protocols)
    destinations = sinks.destinations_of(config.delivery.sinks)
    middlewares = [http.errors_as_json, refusals_in_shape]
    if config.server.process is not None:
        middlewares.append(to_the_owner)
    app = web.Application(middlewares=middlewares, client_max_size=64 * 1024)
    # Sessions wait for a worker as long as for a publisher.
    hold_s = config.server.resume_window_s
    pool = WorkerPool(config.engine, config.workers, SchedulerConfig(), config.partials, hold_s=hold_s)
    decoders = DecoderPool()
    store = store_of(config.store)
    opener = SessionOpener(
        pool,
        decoders,
        store,
        resume_window_s=config.server.resume_window_s,
        limits=config.live.session,
        on_latency=lambda latency: app[METRICS].observe(latency),
    )
    sessions = SessionRegistry(
        pool,
        opener,
        max_streams=config.server.max_streams,
        max_readers=descriptors.max_readers(config.server, descriptors.limit()),
        drain_timeout_s=config.server.drain_timeout_s,
        admission=config.admission,
        limits=config.live.registry,
    )
    keys = app[KEYS] = Keys(config.server)
    anywhere = Anywhere(sessions, store, hold_s)
    known_rooms = Rooms(sessions, store, anywhere, hold_s)
    attached = Sinks(known_rooms, destinations, shared=config.server.process is not None)
    cut_off = CutOff(sessions)
    restore = restorer(routes)
    takeover = None
    if store is not None:
        takeover = Takeover(store, sessions, known_rooms, anywhere, cut_off, restore, config.endpointing, hold_s)
    recordings = Recordings(pool, decoders, config.live.session.audio, drain_timeout_s=config.server.drain_timeout_s)
    app[METRICS] = Metrics(pool, sessions, recordings.counts, store, keys, attached)
    app[SERVICES] = Services(
        config,
        pool,
        sessions,
        anywhere=anywhere,
        rooms=known_rooms,
        lobby=Lobby(),
        wyoming_lobby=Lobby(),
        sinks=attached,
        decoders=decoders,
        recordings=recordings,
        store=store,
        takeover=takeover,
        cut_off=cut_off,
        siblings=siblings_of(config.server.process, app, app[METRICS], anywhere, known_rooms, keys, attached),
    )
    app[OWN_PORTS] = {}
    app[http.OWN_NAMES] = auth.OwnNames()
    app[http.REFUSALS] = Refusals()
    app[links.LISTENING] = Listening()
    app[GROWING] = GrowingTranscripts()
    app[EXPORTS] = Exports()
    app[FOLLOWED] = Followed()
    app.add_routes(_routes(config.server, routes))
    streams = [route.path for route in routes]
    app[auth.ACCESS] = {
        route: access_of(route.method, route.resource.canonical, streams)
        for route in app.router.routes()
        if route.resource is not None
    }
    app.on_response_prepare.append(partial(http.add_headers, config=config.server))
    app.on_startup.append(_look_up_own_names)
    # These are contexts and not `on_cleanup`, which aiohttp skips if another handler of `on_startup` fails. The store
    # comes first and so ends last, because the others store their last finals at their end.
    app.cleanup_ctx.append(_store)
    app.cleanup_ctx.append(_exports)
    app.cleanup_ctx.append(_workers)
    app.cleanup_ctx.append(_decoders)
    app.cleanup_ctx.append(_interrupted_sessions)
    app.cleanup_ctx.append(_siblings)
    app.cleanup_ctx.append(_sinks)
    app.cleanup_ctx.append(_watch_loop)
    app.cleanup_ctx.append(_watch_keys)
    app.on_shutdown.append(drain)
    # This logger would log the subprotocols of a client that offers only unknown ones, and thereby its token.
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)
    logging.getLogger("aiohttp.server").addFilter(WITHOUT_REQUESTS)
    return app


def _routes(config: ServerConfig, routes: Sequence[Route]) -> list[web.AbstractRouteDef]:
    # No HEAD: it would run the handler to the end of a session.
    sockets = [route for route in routes if route.path != "/"]
    streams = [web.get(route.path, partial(publishers.stream, route=route), allow_head=False) for route in sockets]
    api = [
        *sorted([*streams, *handlers_of(config.spoken_protocols)], key=attrgetter("path")),
        web.get("/v1/rooms/{room}", rooms.room),
        web.put("/v1/rooms/{room}", rooms.put),
        web.get("/v1/rooms/{room}/events", readers.room_events, allow_head=False),
        web.get("/v1/rooms/{room}/watch", readers.room_watch, allow_head=False),
        web.get("/v1/rooms/{room}/qr.svg", readers.room_qr_code),
        web.get("/v1/rooms/{room}/transcript.{format}", rooms.transcript),
        web.get(POLL, delivered.line),
        web.get("/v1/rooms/{room}/captions", delivered.line),
        web.get("/v1/rooms/{room}/captions.m3u8", delivered.playlist),
        web.get("/v1/rooms/{room}/captions/{segment}.vtt", delivered.segment),
        web.get("/v1/rooms/{room}/sinks", sinks.sinks),
        web.get("/v1/rooms/{room}/sinks/{sink}", sinks.sink),
        web.put("/v1/rooms/{room}/sinks/{sink}", sinks.put),
        web.delete("/v1/rooms/{room}/sinks/{sink}", sinks.delete),
        web.get("/v1/sessions/{session}/events", readers.events, allow_head=False),
        web.get("/v1/sessions/{session}/watch", readers.watch, allow_head=False),
        web.get("/v1/sessions/{session}/qr.svg", readers.qr_code),
        web.get("/v1/sessions/{session}", transcripts.session),
        web.patch("/v1/sessions/{session}", transcripts.rename),
        web.delete("/v1/sessions/{session}", transcripts.delete),
        web.get("/v1/sessions/{session}/transcript.{format}", transcripts.transcript),
        web.get("/v1/sessions/{session}/sinks", sinks.sinks),
        web.get("/v1/sessions/{session}/sinks/{sink}", sinks.sink),
        web.put("/v1/sessions/{session}/sinks/{sink}", sinks.put),
        web.delete("/v1/sessions/{session}/sinks/{sink}", sinks.delete),
        web.get("/v1/info", http.info),
        web.get("/healthz", http.healthz),
        web.get("/readyz", http.readyz),
    ]
    operators = [
        web.get("/v1/sessions", transcripts.sessions),
        web.get("/v1/stats", http.stats),
        web.get("/metrics", http.metrics),
    ]
    return [
        *cors.shared(api),
        # Without a token, pages of other origins would have what is for the operator by being allowed.
        *(cors.shared(operators) if config.needs_key else operators),
        web.get("/", partial(publishers.root, routes=routes)),
        web.get(http.WATCH, readers.watch_page),
        web.get("/watch/{room}/", readers.watch_page_below),
        web.get("/sessions", http.sessions_page),
        web.get("/stats", http.stats_page),
        web.static("/static", http.STATIC),
    ]


async def drain(app: web.Application) -> None:
    """Send the last captions, close all sockets, and answer all recordings. Idempotent.

    This is a handler of aiohttp's `on_shutdown`.
    """
    services = app[SERVICES]
    await asyncio.gather(services.sessions.drain(), services.recordings.drain())
    services.rooms.close()
    if services.siblings is not None:
        await services.siblings.handover.finish(services.config.server.drain_timeout_s)


async def _look_up_own_names(app: web.Application) -> None:
    """Start the look-up of the machine's names early. Neither the start nor the loop waits for the network."""
    config = app[SERVICES].config.server
    if not is_on_this_machine(config.host) and not config.needs_key:
        app[http.OWN_NAMES].look_up()


async def _siblings(app: web.Application) -> AsyncIterator[None]:
    """Answer the other processes, if there are any."""
    siblings = app[SERVICES].siblings
    if siblings is None:
        yield
        return
    await siblings.open()
    yield
    await siblings.close()


async def _sinks(app: web.Application) -> AsyncIterator[None]:
    """Attach sinks once interrupted sessions are there, so that their earlier captions are not sent again."""
    await app[SERVICES].sinks.start()
    if (siblings := app[SERVICES].siblings) is not None:
        await shared_sinks.learn(app[SERVICES].sinks, siblings)
    yield
    await app[SERVICES].sinks.close()


async def _watch_loop(app: web.Application) -> AsyncIterator[None]:
    with app[METRICS].watching_loop():
        yield


async def _watch_keys(app: web.Application) -> AsyncIterator[None]:
    watch = asyncio.ensure_future(app[KEYS].watch())
    yield
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch


async def _store(app: web.Application) -> AsyncIterator[None]:
    store = app[SERVICES].store
    if store is None:
        yield
        return
    await open_patiently(store)
    yield
    await store.close()


async def _exports(app: web.Application) -> AsyncIterator[None]:
    yield
    app[EXPORTS].close()
    app[FOLLOWED].close()


async def _interrupted_sessions(app: web.Application) -> AsyncIterator[None]:
    """Restore the sessions that earlier servers have left open, and note what others change from now on."""
    app[SERVICES].anywhere.changed = partial(changes.apply, app)
    if (takeover := app[SERVICES].takeover) is not None:
        try:
            await takeover.adopt()
        except StoreFailed as error:
            raise StoreAway(error.message) from None
    yield
    await app[SERVICES].anywhere.close()


async def _decoders(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[SERVICES].decoders.close()


async def _workers(app: web.Application) -> AsyncIterator[None]:
    app[SERVICES].pool.start()
    yield
    await app[SERVICES].pool.stop()
