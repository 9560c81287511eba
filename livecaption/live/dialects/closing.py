"""Closes of WebSockets, for protocols that define no codes of their own. Pure."""

from livecaption.live.state import Ending

CLOSE_CODES = {"stop": 1000, "disconnect": 1000, "draining": 1001, "replaced": 1008, "restarting": 1012}
CLOSE_REASONS = {
    "draining": "the server stops",
    "replaced": "another connection has taken over",
    "restarting": "the server stops, and the next one goes on",
}
"""The reasons that are not empty. An error has its own code and reason."""


def close_of(ending: Ending) -> tuple[int, str]:
    """Return code and reason of the Close (RFC 6455, section 7.4)."""
    if ending.error is not None:
        return ending.error.close_code, ending.error.code
    return CLOSE_CODES[ending.reason], CLOSE_REASONS.get(ending.reason, "")
