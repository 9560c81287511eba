"""This package has the HTTP server and its process: routes, access, start and stop.

    app          routes, start and end           lifecycle   start, order of the stop
    http         pages and health checks         readers     readers' WebSockets and server-sent events
    transcripts  stored sessions over HTTP       exports     transcripts, laid out in threads
    auth         origin, host, token             metrics     figures, for Prometheus and as JSON
    forwarded    clients behind proxies          cors        pages of other origins
    signals      stop signals -> the loop        systemd     notifications to the service manager
    reloading    files that are read again       listening   sockets, and the addresses for people
    tls          the certificate, and renewals   chain       certificates of the operator
    descriptors  how many readers are possible   sending     bodies to slow clients

`build_app` returns the aiohttp application, to run or to mount in another one.
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
