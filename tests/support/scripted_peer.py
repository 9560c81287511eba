"""Messages of a server that follows a script, for tests of the client."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

READY = {"type": "ready", "session": "s1", "resume_token": "r", "protocol": 1, "model": "m", "language": "en"}
READY |= {"received_ms": 0, "seq": 1}
FINAL = {"type": "final", "utterance": 0, "text": "hello", "start_ms": 0, "end_ms": 900, "language": "en"}
FINAL |= {"confidence": 0.5, "latency_ms": 300}
END = {"type": "end", "received_ms": 1000, "utterances": 1, "reason": "stop"}

Script = Callable[[web.WebSocketResponse, dict[str, Any]], Awaitable[None]]
ServerOf = Callable[[Script], Awaitable[str]]
