"""Connections of Wyoming, which come over TCP and not over HTTP. They have no address, no headers and no keys."""

import asyncio
import logging
import secrets
from contextlib import ExitStack, suppress

from aiohttp import web

from livecaption.errors import LivecaptionError
from livecaption.events import ErrorReport
from livecaption.ipc import logs
from livecaption.live.byte_stream import ByteStream
from livecaption.live.connection import Connection
from livecaption.live.dialects.wyoming import Model, Wyoming, likely_model
from livecaption.live.dialects.wyoming_events import EventFraming
from livecaption.server.services import SERVICES, Services

logger = logging.getLogger(__name__)


async def serve(app: web.Application, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Talk with one client until its connection is over. Called for each that connects."""
    services = app[SERVICES]
    peer = writer.get_extra_info("peername")  # None if the connection is closed already
    logs.begin(logs.Subject(secrets.token_hex(8), peer[0] if peer else ""))
    stream = ByteStream(reader, writer, EventFraming(), services.config.live.socket)
    config = services.config
    dialect = Wyoming(config.endpointing, lambda: _model(services), ends_commands=config.server.wyoming_endpointing)
    try:
        with ExitStack() as place:
            place.enter_context(services.wyoming_lobby.waiting())
            await services.sessions.find_room()
            connection = Connection(
                stream, dialect, services.sessions, services.rooms, None, place, None, admits_late=True
            )
            await connection.run()
    except LivecaptionError as error:
        services.sessions.refused[error.code] += 1
        logger.info("a connection of Wyoming is refused: %s", error.code, extra={"code": error.code})
        await _refuse(stream, dialect, error)
    except Exception:
        logger.exception("a connection of Wyoming failed")
        stream.abort()


async def _refuse(stream: ByteStream, dialect: Wyoming, error: LivecaptionError) -> None:
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(stream.limits.close_timeout_s):
            for message in dialect.encode(ErrorReport.of(error, fatal=True), None):
                await stream.send(message)
    await stream.close(error.close_code, error.code)


def _model(services: Services) -> Model:
    loaded = services.pool.loaded
    return likely_model(services.config.engine.model) if loaded is None else (loaded.model, loaded.languages)
