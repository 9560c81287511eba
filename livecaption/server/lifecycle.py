"""The lifecycle of the server: its start, the signal, and the order of the stop.

    bind -> start workers -> listen -> (loading) -> ready -> signal
    drain: no new streams, no more audio, finals, `end`, close 1001           at most drain_timeout
    clean-up: remaining connections, then the workers: stop, else kill, then the store  at most 3 s

The drain comes before aiohttp's own clean-up. That one first drops all inbound bytes, so the close replies of clients
would never be read. Only this module runs an event loop for the server, and only once.
"""

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import socket
from asyncio import selector_events, sslproto
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, NoReturn

from aiohttp import web

from livecaption.config import VARIABLES, Config
from livecaption.errors import ConfigError, EngineUnusable, LivecaptionError, StoreAway, StoreUnusable
from livecaption.ipc import children, logs
from livecaption.live.logs import RateLimited
from livecaption.server import descriptors, listening, parent, tls
from livecaption.server.app import build_app, drain
from livecaption.server.config import ServerConfig
from livecaption.server.connections import Runner
from livecaption.server.keys import KEYS
from livecaption.server.listening import Handed, Listener
from livecaption.server.logs import AccessLog, access_logger, refused_accept
from livecaption.server.loop_watch import dump_stacks_when_asked, watch_loop
from livecaption.server.process_state import EXIT_AWAY, EXIT_CANNOT_START, EXIT_FAULT, EXIT_STOPPED
from livecaption.server.reloading import Reloading
from livecaption.server.services import METRICS, SERVICES
from livecaption.server.signals import SignalInbox
from livecaption.server.systemd import ServiceManager, inherited_sockets
from livecaption.settings import unknown_variables
from livecaption.store.config import StoreConfig
from livecaption.workers.pool import PoolState

CLEANUP_TIMEOUT_S = 3.0
STOP_MARGIN_S = 2.0
"""Time that a stop may take beyond the drain and the workers, before the process is ended by force."""
FORCE_TIMEOUT_S = 0.2
"""Time that a forced stop may take, before the process is ended by force."""
FAREWELL_TIMEOUT_S = 0.1
"""Time to send close code 1001 to all clients in a forced stop."""
READ_BYTES = 4 * 1024
"""Bytes read from a connection in one turn. A body of 1-byte chunks holds the loop for 3.2 ms (with 8 KiB:
6.3 ms). Less would cost large messages more turns."""
LINGERING_S = 1.0
"""Time that an unused request body is read after the response, so that the response arrives (aiohttp: 10 s)."""
COLLECTOR_THRESHOLD = 700
"""New objects for which the garbage collector runs: Python's default. `__main__` sets a higher one for the start."""

logger = logging.getLogger("livecaption")


def run(
    config: Config, signals: SignalInbox, handed: Handed | None = None, manager: ServiceManager | None = None
) -> NoReturn:
    """Serve until a signal, then end the process.

    Args:
        config: the settings. With `processes`, and without a place among them, this process is the parent.
        signals: receives the signals.
        handed: the sockets of the parent, if there is one.
        manager: the parent as a service manager; None: systemd, if it has started this process.

    Exit code 0: stopped in order. 3: the model, the port, the store of transcripts, the certificate or the file of keys
    cannot be used. 70: a bug of livecaption, or a stop that took too long or lost captions. 75: the database of the
    transcripts is away. 128 + n: forced by a second signal.
    """
    logs.configure(config.log)
    logging.getLogger("asyncio").addFilter(RateLimited(refused_accept))
    faulthandler.enable()
    if handed is None and (unknown := unknown_variables(os.environ, VARIABLES)):
        logger.warning("ignored, because no setting has this name: %s", ", ".join(unknown))
    _raise_descriptor_limit(config.server)
    _read_little_at_a_time()
    manager = manager or ServiceManager(os.environ)
    try:
        with asyncio.Runner() as runner:
            if config.server.processes > 1 and config.server.process is None:
                status = runner.run(parent.serve(config, signals, manager))
            else:
                status = runner.run(_serve(config, signals, manager, handed))
    finally:
        children.kill_all()
    # An ordinary exit would free all objects first, which takes 30 ms on an idle machine and 500 ms on a busy one.
    os._exit(status)


@asynccontextmanager
async def running_server(config: Config) -> AsyncIterator[str]:
    """Run a server in this event loop, on a free port of loopback, without a store. Yield its address once it is ready.

    Raises:
        EngineUnusable: the model cannot be loaded; the message has the reason.
    """
    server = replace(config.server, host="127.0.0.1", port=0, tokens="", tls_cert="", tls_key="", tls_self_signed=False)
    server = replace(server, wyoming_port=0, vosk_port=0, whisperlive_port=0)  # a server may be running beside this one
    config = replace(config, server=server, store=StoreConfig())
    runner = _runner(config)
    services = runner.app[SERVICES]
    listener = Listener.bind(server)
    try:
        [url] = await listener.listen(runner, None)
        if await services.pool.wait_until_loaded() is not PoolState.READY:
            raise EngineUnusable(services.pool.failure or "the inference process ended")
        yield url
        await drain(runner.app)
    finally:
        listener.close()
        await runner.cleanup()


async def _serve(config: Config, signals: SignalInbox, manager: ServiceManager, handed: Handed | None) -> int:
    try:
        # Do this before anything is started, so that an error leaves nothing to stop.
        secured = tls.of(config)
        given: list[socket.socket] = []
        if handed is None and (given := inherited_sockets(os.environ)):
            config = replace(config, server=listening.with_address_of(given, config.server))
        runner = _runner(config)
        listener = Listener(handed.sockets, own=handed.own) if handed else Listener.bind(config.server, given)
    except (OSError, ConfigError) as error:
        logger.error("%s", listening.why_not(error, config.server))
        return EXIT_CANNOT_START
    services = runner.app[SERVICES]
    pool, sessions, store = services.pool, services.sessions, services.store
    reloading = Reloading(manager)
    if secured:
        reloading.add("certificate", secured.read_again)
        runner.app[METRICS].certificate_expiry = secured.expiry
    if config.server.tokens:
        reloading.add("tokens", runner.app[KEYS].reload)
    stop = _Stop(runner, reloading)
    signals.attach(asyncio.get_running_loop(), stop)
    dump_stacks_when_asked(pool.dump_stacks)
    try:
        watch = asyncio.ensure_future(watch_loop(manager, lambda: pool.state is PoolState.LOADING))
        starting = asyncio.ensure_future(listener.listen(runner, secured))
        await _first(starting, stop.asked)
        if not starting.done():  # it waits for the database of the transcripts
            logger.info("stopping (%s)", signal.Signals(stop.asked.result()).name)
            starting.cancel()
            await asyncio.wait({starting})
            return EXIT_STOPPED
        await starting
        if handed is None:
            listening.log_start(listener, config.server, config.store, secured=secured)
        renewal = [asyncio.ensure_future(secured.keep_valid())] if secured else []
        storing = store.tasks if store else []
        stop.at_failure_of(*pool.tasks, watch, *renewal, *storing)
        await _first(pool.wait_until_loaded(), stop.asked)
        if pool.state is PoolState.FAILED:
            logger.error("%s", pool.failure)
            return EXIT_CANNOT_START
        if not stop.asked.done():
            _keep_what_is_loaded()
            logger.info("ready")
            manager.notify(READY=1)
        number = await stop.asked
        logger.info("stopping (%s)", signal.Signals(number).name)
        manager.notify(STOPPING=1)
        listener.close()
        await drain(runner.app)
        return EXIT_FAULT if sessions.overran else EXIT_STOPPED
    except StoreUnusable as error:
        logger.error("%s", error)
        return EXIT_AWAY if isinstance(error, StoreAway) else EXIT_CANNOT_START
    except Exception:
        logger.exception("the server failed")
        sessions.fail(LivecaptionError("internal error"))
        await pool.stop()  # answers all open requests as failed, so that the drain does not wait for them
        await drain(runner.app)
        return EXIT_FAULT
    finally:
        listener.close()
        try:
            async with asyncio.timeout(CLEANUP_TIMEOUT_S):
                await runner.cleanup()
        except TimeoutError:
            logger.error("connections and workers did not end within %.0f s", CLEANUP_TIMEOUT_S)
        logger.info("stopped")


class _Stop:
    """The server as the signals see it, and the reasons to end it: a signal, or a failure of a task that it needs."""

    def __init__(self, runner: web.AppRunner, reloading: Reloading) -> None:
        self.reload = reloading.run
        self.asked: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """The result is the signal that requested the stop; the exception is the failure that made it necessary."""
        services = runner.app[SERVICES]
        config = services.config
        self.stop_timeout_s = config.server.drain_timeout_s + config.workers.stop_timeout_s + STOP_MARGIN_S
        self.force_timeout_s = FORCE_TIMEOUT_S
        self._sessions = services.sessions

    def stop(self, number: int) -> None:
        if not self.asked.done():
            self.asked.set_result(number)

    def force(self, number: int) -> None:
        farewell = asyncio.ensure_future(_within(FAREWELL_TIMEOUT_S, self._sessions.close()))
        farewell.add_done_callback(lambda _: self.exit_now(number))

    def exit_now(self, number: int | None) -> None:
        try:
            children.kill_all()
        finally:
            os._exit(EXIT_FAULT if number is None else 128 + number)

    def at_failure_of(self, *tasks: "asyncio.Task[None]") -> None:
        """Stop if one of these tasks ends with an exception."""
        for task in tasks:
            task.add_done_callback(self._note_failure)

    def _note_failure(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) and not self.asked.done():
            self.asked.set_exception(error)


def _raise_descriptor_limit(config: ServerConfig) -> None:
    descriptors.raise_limit()
    n_descriptors = descriptors.limit()
    n_readers = descriptors.max_readers(config, n_descriptors)
    if n_readers < config.max_readers:
        logger.warning(
            "%s file descriptors are enough for %d readers, not for %d (--max-readers): raise the hard limit"
            " (ulimit -Hn, or LimitNOFILE= in systemd)",
            n_descriptors,
            n_readers,
            config.max_readers,
        )


def _read_little_at_a_time() -> None:
    """Bound the bytes that are read from a connection in one turn of the loop.

    asyncio's 256 KiB may hold 43,000 frames of a WebSocket, or as many chunks of a body. Parsing them takes 6 to
    130 ms. There is no public setting. A smaller TCP window would slow down distant clients.
    """
    for protocol in (selector_events._SelectorTransport, sslproto.SSLProtocol):  # type: ignore[attr-defined]
        protocol.max_size = READ_BYTES


def _keep_what_is_loaded() -> None:
    """Exempt modules and all other permanent objects from garbage collection.

    Otherwise each full collection would scan them and block the loop for 50 to 150 ms:
    docs/decisions/0030-garbage-collector.md.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTOR_THRESHOLD)


def _runner(config: Config) -> web.AppRunner:
    return Runner(
        build_app(config),
        unread_timeout_s=config.server.http.unread_timeout_s,
        handle_signals=False,
        shutdown_timeout=0.5,
        keepalive_timeout=config.server.http.keepalive_timeout_s,
        lingering_time=LINGERING_S,
        # No client needs to compress a body, and 3 KB of gzip may be 3 MB, also of a body that is refused.
        auto_decompress=False,
        access_log=access_logger if config.log.access else None,
        access_log_class=AccessLog,
    )


async def _first(*awaitables: Awaitable[Any]) -> None:
    """Wait until any awaitable completes, ignoring its result. Futures that were passed in are not cancelled."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task, awaitable in zip(tasks, awaitables, strict=True):
        if task is not awaitable:
            task.cancel()


async def _within(timeout_s: float, awaitable: Awaitable[None]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await awaitable
