"""HTTP and the process: what is served where, who may connect, start and stop.

    app          what is served where            lifecycle   start, the order of the stop
    http         pages and health                readers     readers' WebSockets and server-sent events
    transcripts  what the store has, over HTTP   exports     layouts of transcripts, made beside the loop
    auth         origin, host, token             metrics     figures, for Prometheus and as JSON
    signals      stop signals -> the loop        systemd     what the service manager is told
    descriptors  how many readers fit            sending     bodies to clients that may not read

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
