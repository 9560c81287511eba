"""The keys by which the handlers of one application find the objects that they share."""

from aiohttp import web

from livecaption.live.services import Services
from livecaption.server.metrics import Metrics

SERVICES: web.AppKey[Services] = web.AppKey("livecaption", Services)
METRICS: web.AppKey[Metrics] = web.AppKey("livecaption metrics", Metrics)
