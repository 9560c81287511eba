"""aiohttp: sockets in, sockets out.

    app         what is served where           lifecycle  start, the order of the stop
    signals     stop signals -> the loop       systemd    what the service manager is told
    publisher   one speaker's WebSocket        sessions   all of them: admission, drain
    hub         numbers events, fans them out  outbox     sends, each with a deadline
    protocols/  messages <-> our types         auth       origin, host, token
    http        pages and health               decoding   a thread for each container stream
    recording   finals -> store, then readers  transcripts  what the store has, over HTTP

`build_app` mounts all of it in an application of yours.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livecaption.server.app import build_app

__all__ = ["build_app"]


def __getattr__(name: str) -> Any:
    # `livecaption --help` imports this package for its settings and must not load aiohttp.
    if name == "build_app":
        from livecaption.server.app import build_app

        return build_app
    raise AttributeError(name)
