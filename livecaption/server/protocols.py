"""The protocols that publishers may speak: a row each, which `--protocols` switches."""

from collections.abc import Iterable

from livecaption.live.dialects import deepgram, native, openai_realtime
from livecaption.live.dialects.dialect import Route

ROUTES: dict[str, tuple[Route, ...]] = {
    "native": (native.ROUTE,),
    "openai": (openai_realtime.ROUTE,),
    "deepgram": (deepgram.ROUTE,),
}
"""The WebSockets of each protocol."""


def routes_of(protocols: Iterable[str]) -> list[Route]:
    """Return the routes of these protocols."""
    return [route for name in protocols for route in ROUTES.get(name, ())]
