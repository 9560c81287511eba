"""The protocols that clients may speak: a row each, which `--protocols` switches."""

from collections.abc import Iterable

from aiohttp import web

from livecaption.live.dialects import deepgram, native
from livecaption.live.dialects.dialect import Route
from livecaption.server.deepgram import handlers as recordings_for_deepgram
from livecaption.server.openai import handlers as openai

ROUTES: dict[str, tuple[Route, ...]] = {
    "native": (native.ROUTE,),
    "deepgram": (deepgram.ROUTE,),
}
"""The WebSockets of each protocol."""

HANDLERS: dict[str, tuple[web.RouteDef, ...]] = {
    "openai": (
        web.post("/v1/audio/transcriptions", openai.transcriptions),
        web.post("/v1/audio/translations", openai.translations),
        web.get("/v1/models", openai.models),
        web.get("/v1/models/{model:.+}", openai.model),
    ),
    "deepgram": (web.post("/v1/listen", recordings_for_deepgram.listen),),
}
"""The requests of each protocol."""


def routes_of(protocols: Iterable[str]) -> list[Route]:
    """Return the routes of these protocols."""
    return [route for name in protocols for route in ROUTES.get(name, ())]


def handlers_of(protocols: Iterable[str]) -> list[web.RouteDef]:
    """Return the requests of these protocols."""
    return [handler for name in protocols for handler in HANDLERS.get(name, ())]
