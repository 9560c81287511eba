"""The protocols that clients may speak: a row each, which `--protocols` switches."""

from collections.abc import Callable, Collection, Sequence

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from livecaption.errors import LivecaptionError, UnknownAddress, WrongMethod
from livecaption.ipc import logs
from livecaption.live.dialects import (
    deepgram,
    deepgram_shapes,
    first_message,
    native,
    openai_errors,
    openai_realtime,
    vosk,
    whisper_live,
)
from livecaption.live.dialects.dialect import HttpAnswer, Restore, Route
from livecaption.server import http
from livecaption.server.deepgram import handlers as recordings_for_deepgram
from livecaption.server.openai import handlers as openai
from livecaption.server.services import SERVICES

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
REFUSALS: dict[str, tuple[tuple[str, ...], Callable[[LivecaptionError, str], HttpAnswer]]] = {
    "openai": (("/v1/audio", "/v1/models", "/v1/realtime"), openai_errors.refusal),
    "deepgram": (("/v1/listen",), deepgram_shapes.refusal),
}
"""The addresses that belong to a protocol, with all below them, and how it refuses a request."""


def routes_of(protocols: Collection[str]) -> list[Route]:
    """Return the routes of these protocols, and that of `/` for those whose clients connect there."""
    routes = [route for name in protocols for route in ROUTES.get(name, ())]
    at_root = first_message.route(name for name in protocols if name in first_message.ACCEPT)
    return routes if at_root is None else [*routes, at_root]


def handlers_of(protocols: Collection[str]) -> list[web.RouteDef]:
    """Return the requests of these protocols."""
    return [handler for name in protocols for handler in HANDLERS.get(name, ())]


@web.middleware
async def refusals_in_shape(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer requests for what a protocol does not have here in its own shape: its clients read no other."""
    try:
        return await handler(request)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
        refusal = _refusal_at(request.path, request.app[SERVICES].config.server.spoken_protocols)
        if refusal is None:
            raise
        ours: LivecaptionError = UnknownAddress("this server has no such address")
        if isinstance(error, web.HTTPMethodNotAllowed):
            ours = WrongMethod(f"this address takes no {request.method}")
        http.log_refusal(request, ours)
        refused = http.answer(refusal(ours, logs.request_id()))
        if hdrs.ALLOW in error.headers:
            refused.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        return refused


def _refusal_at(path: str, protocols: Collection[str]) -> Callable[[LivecaptionError, str], HttpAnswer] | None:
    for name in protocols:
        places, refusal = REFUSALS.get(name, ((), None))
        if any(path == place or path.startswith(f"{place}/") for place in places):
            return refusal
    return None


def restorer(routes: Sequence[Route]) -> Restore | None:
    """Return how a stored session is read, or None if no protocol is resumable.

    Raises:
        ValueError: several protocols are resumable. The store does not name the protocol of a session.
    """
    restorers = [route.restore for route in routes if route.restore is not None]
    if len(restorers) > 1:
        raise ValueError("one protocol at most can be resumable, because the store does not name that of a session")
    return restorers[0] if restorers else None
