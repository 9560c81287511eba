"""The messages of obs-websocket 5 that a sink of captions needs. Pure.

    OBS                                  livecaption
    ├─ Hello (op 0; perhaps a challenge) ─>
    │                   <─ Identify (op 1) ─┤
    ├─ Identified (op 2) ────────────────>
    │   <─ Request SendStreamCaption (op 6) ─┤
    ├─ RequestResponse (op 7) ───────────>

Source: obs-websocket, docs/generated/protocol.md, RPC version 1.
"""

import base64
import hashlib
import json
from typing import Any

SUBPROTOCOL = "obswebsocket.json"
RPC_VERSION = 1
NO_EVENTS = 0
OUTPUT_NOT_RUNNING = 501
WRONG_PASSWORD = 4009
"""The close code after a wrong answer to the challenge."""

HELLO, IDENTIFY, IDENTIFIED, REQUEST, RESPONSE = 0, 1, 2, 6, 7


class ObsRefusal(Exception):
    """OBS refuses, or sends what it must not send. The message is for people."""


def identify(hello: str, password: str) -> str:
    """Return the answer to Hello.

    Raises:
        ObsRefusal: this is no Hello, or a password is needed and there is none.
    """
    data = _data(hello, HELLO)
    identified: dict[str, Any] = {"rpcVersion": RPC_VERSION, "eventSubscriptions": NO_EVENTS}
    challenge = data.get("authentication")
    if isinstance(challenge, dict):
        if not password:
            raise ObsRefusal("OBS needs a password")
        identified["authentication"] = answer(password, str(challenge.get("salt")), str(challenge.get("challenge")))
    return json.dumps({"op": IDENTIFY, "d": identified})


def answer(password: str, salt: str, challenge: str) -> str:
    """Return the answer to the challenge: base64(SHA-256(base64(SHA-256(password + salt)) + challenge))."""
    return _hash(_hash(password + salt) + challenge)


def check_identified(message: str) -> None:
    """Check that OBS has accepted the client.

    Raises:
        ObsRefusal: it has not.
    """
    _data(message, IDENTIFIED)


def caption(text: str, request_id: str) -> str:
    """Return the request that shows a text."""
    request = {"requestType": "SendStreamCaption", "requestId": request_id, "requestData": {"captionText": text}}
    return json.dumps({"op": REQUEST, "d": request}, ensure_ascii=False)


def is_accepted(message: str, request_id: str) -> bool:
    """Return True if this answers the request, and False if it answers no request or another one.

    Raises:
        ObsRefusal: OBS does not show the text.
    """
    received = _decoded(message)
    data = received.get("d")
    if received.get("op") != RESPONSE or not isinstance(data, dict) or data.get("requestId") != request_id:
        return False
    status = data.get("requestStatus")
    if not isinstance(status, dict) or not status.get("result"):
        code = status.get("code") if isinstance(status, dict) else None
        if code == OUTPUT_NOT_RUNNING:
            raise ObsRefusal("OBS does not stream now")
        raise ObsRefusal(f"OBS refuses the text ({code if isinstance(code, int) else 'without a code'})")
    return True


def _data(message: str, op: int) -> dict[str, Any]:
    received = _decoded(message)
    data = received.get("d")
    if received.get("op") != op or not isinstance(data, dict):
        raise ObsRefusal("this is not obs-websocket 5")
    return data


def _decoded(message: str) -> dict[str, Any]:
    try:
        received = json.loads(message)
    except (ValueError, RecursionError):
        received = None
    if not isinstance(received, dict):
        raise ObsRefusal("this is not obs-websocket 5")
    return received


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
