"""The objects that the handlers of one application share, and their keys. Nothing below the handlers uses them."""

from dataclasses import dataclass

from aiohttp import web

from livecaption.config import Config
from livecaption.decoding.pool import DecoderPool
from livecaption.delivery.sinks import Sinks
from livecaption.live.anywhere import Anywhere
from livecaption.live.cut_off import CutOff
from livecaption.live.lobby import Lobby
from livecaption.live.registry import SessionRegistry
from livecaption.live.rooms import Rooms
from livecaption.live.takeover import Takeover
from livecaption.recordings.admission import Recordings
from livecaption.server.metrics import Metrics
from livecaption.server.siblings import Siblings
from livecaption.store.store import Store
from livecaption.workers.pool import WorkerPool


@dataclass(frozen=True, slots=True)
class Services:
    """Made by `build_app`; lives as long as the application."""

    config: Config
    pool: WorkerPool
    sessions: SessionRegistry
    anywhere: Anywhere
    rooms: Rooms
    lobby: Lobby
    """Its clients come over HTTP, and have shown a key where the server has any."""
    wyoming_lobby: Lobby
    """Its clients have no keys, and take no places of others."""
    sinks: Sinks
    decoders: DecoderPool
    recordings: Recordings
    store: Store | None
    """None: nothing is kept."""
    takeover: Takeover | None
    """None without a store."""
    cut_off: CutOff
    siblings: Siblings | None
    """None: this is the only process of the server."""


SERVICES: web.AppKey[Services] = web.AppKey("livecaption", Services)
OWN_PORTS: web.AppKey[dict[int, str]] = web.AppKey("ports of protocols", dict)
"""The names of protocols that have a port of their own, by that port."""
METRICS: web.AppKey[Metrics] = web.AppKey("livecaption metrics", Metrics)
