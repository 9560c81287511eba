"""The protocols that clients may speak: a row each, which `--protocols` switches."""

from collections.abc import Collection

from aiohttp import web

from livecaption.live.dialects import deepgram, first_message, native, openai_realtime, vosk, whisper_live
from livecaption.live.dialects.dialect import Route
from livecaption.server.deepgram import handlers as recordings_for_deepgram
from livecaption.server.openai import handlers as openai

ROUTES: dict[str, tuple[Route, ...]] = {
    "native": (native.ROUTE,),
    "openai": (openai_realtime.ROUTE,),
    "deepgram": (deepgram.ROUTE,),
    "whisperlive": (whisper_live.ROUTE, whisper_live.ALIAS),
    "vosk": (vosk.ROUTE,),
}
"""The WebSockets of each protocol."""
AT_OWN_PORT = {"vosk": vosk.ROUTE, "whisperlive": whisper_live.ROUTE}
"""The protocols that are spoken at `/` of a port of their own."""

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


def routes_of(protocols: Collection[str]) -> list[Route]:
    """Return the routes of these protocols, and that of `/` for those whose clients connect there."""
    routes = [route for name in protocols for route in ROUTES.get(name, ())]
    at_root = first_message.route(name for name in protocols if name in first_message.ACCEPT)
    return routes if at_root is None else [*routes, at_root]


def handlers_of(protocols: Collection[str]) -> list[web.RouteDef]:
    """Return the requests of these protocols."""
    return [handler for name in protocols for handler in HANDLERS.get(name, ())]
