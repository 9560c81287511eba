"""The objects that the handlers of one application share, and their keys. Nothing below the handlers uses them."""

from dataclasses import dataclass

from aiohttp import web

from livecaption.config import Config
from livecaption.decoding.pool import DecoderPool
from livecaption.delivery.sinks import Sinks
from livecaption.live.registry import SessionRegistry
from livecaption.live.rooms import Rooms
from livecaption.server.metrics import Metrics
from livecaption.store.transcripts import TranscriptStore
from livecaption.workers.pool import WorkerPool


@dataclass(frozen=True, slots=True)
class Services:
    """Made by `build_app`; lives as long as the application."""

    config: Config
    pool: WorkerPool
    sessions: SessionRegistry
    rooms: Rooms
    sinks: Sinks
    decoders: DecoderPool
    store: TranscriptStore | None
    """None: nothing is kept."""


SERVICES: web.AppKey[Services] = web.AppKey("livecaption", Services)
METRICS: web.AppKey[Metrics] = web.AppKey("livecaption metrics", Metrics)
