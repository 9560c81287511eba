"""Two protocols that livecaption does not speak, as foreign as real ones are.

`Chunks` answers each message of audio with exactly one message, as Vosk does. `Deltas` sends text that is only ever
appended to, and leaves it to the client when a turn is over, as OpenAI's realtime protocol may.
"""

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from livecaption.audio.formats import AudioFormat
from livecaption.errors import InvalidMessage, LivecaptionError, Unauthorized, WrongState
from livecaption.events import End, ErrorReport, Event, Final, Flushed, Partial
from livecaption.live.dialects.commands import (
    Audio,
    Command,
    Configure,
    Control,
    Discard,
    Finish,
    Flush,
    Open,
    Reply,
)
from livecaption.live.dialects.dialect import Handshake, HttpAnswer, Limits, Route
from livecaption.live.state import Ending
from livecaption.pipeline.options import StreamOptions
from livecaption.speech.endpointing import EndpointingConfig

CLOSE_CODES = {"stop": 1000, "disconnect": 1000, "draining": 1012, "error": 4000, "replaced": 1008}


def read(message: str) -> str:
    """Return the one word of a text message."""
    try:
        word = json.loads(message)
    except (ValueError, RecursionError):
        raise InvalidMessage("not JSON") from None
    if not isinstance(word, str | int):
        raise InvalidMessage("a word, please")
    return str(word)


class Chunks:
    """Opens when connected. `"8000"` changes the rate, `"eof"` ends; audio gets `{"partial"}` or `{"text"}`."""

    protocol: ClassVar[str] = "foreign"
    resumable: ClassVar[bool] = False
    limits: ClassVar[Limits] = Limits(max_text_bytes=200, max_binary_bytes=100_000)
    claimed: str = ""
    claimed_room: str = ""

    def __init__(self, endpointing: EndpointingConfig) -> None:
        self._options = StreamOptions(endpointing=endpointing)
        self._partial = ""
        self._finals: deque[str] = deque()

    def connected(self) -> list[Control]:
        return [Open(self._options)]

    def receive(self, message: str | bytes) -> list[Command]:
        if isinstance(message, str):
            word = read(message)
            if word == "eof":
                return [Finish()]
            if not word.isdecimal() or not 8000 <= int(word[:6]) <= 48_000:
                raise InvalidMessage("a rate or eof, please")
            return [Configure(replace(self._options, audio=AudioFormat("pcm_s16le", int(word), 1)))]
        answer = {"text": self._finals.popleft()} if self._finals else {"partial": self._partial}
        return [Audio(message), Reply(json.dumps(answer))]

    def encode(self, event: Event, seq: int | None) -> Sequence[str | bytes]:
        match event:
            case Partial(text=text):
                self._partial = text
            case Final(text=text):
                self._partial = ""
                self._finals.append(text)
            case ErrorReport(code=code, fatal=True):
                return [json.dumps({"error": code})]
            case End():
                rest, self._finals = self._finals, deque()
                return [json.dumps({"text": text}) for text in rest]
        return []

    def tick(self, stream_ms: int) -> list[Control]:
        return []

    def close(self, ending: Ending) -> tuple[int, str]:
        return CLOSE_CODES[ending.reason], ""


class Deltas:
    """Opens with `"open"`. Then `"commit"` ends a turn, `"clear"` drops it, `"bye"` ends.

    Text comes as `+` and what is new, and a turn ends with a message of one byte.
    """

    protocol: ClassVar[str] = "foreign"
    resumable: ClassVar[bool] = False
    limits: ClassVar[Limits] = Limits(max_text_bytes=200, max_binary_bytes=100_000)
    claimed: str = ""
    claimed_room: str = ""

    def __init__(self, endpointing: EndpointingConfig, *, manual: bool) -> None:
        self._options = StreamOptions(endpointing=replace(endpointing, manual=manual))
        self._is_open = False
        self._n_sent = 0
        self._ticks = 0

    def connected(self) -> list[Control]:
        return []

    def receive(self, message: str | bytes) -> list[Command]:
        if not isinstance(message, str):
            if not self._is_open:
                raise WrongState("open first")
            return [Audio(message)]
        word = read(message)
        commands: dict[str, Command] = {"commit": Flush(), "clear": Discard(), "bye": Finish()}
        if word == "open" and not self._is_open:
            self._is_open = True
            return [Open(self._options)]
        if word not in commands or not self._is_open:
            raise InvalidMessage("another word, please", fatal=not self._is_open)
        return [commands[word]]

    def encode(self, event: Event, seq: int | None) -> Sequence[str | bytes]:
        match event:
            case Partial(stable=text):
                return self._append(text)
            case Final(text=text):
                sent = [*self._append(text), b"."]
                self._n_sent = 0
                return sent
            case Flushed():
                return ["committed"]
            case ErrorReport(code=code):
                return [f"!{code}"]
        return []

    def tick(self, stream_ms: int) -> list[Control]:
        self._ticks += 1
        return [Reply(f"@{stream_ms}")] if self._ticks == 1 else []

    def close(self, ending: Ending) -> tuple[int, str]:
        return CLOSE_CODES[ending.reason], ending.reason

    def _append(self, text: str) -> list[str | bytes]:
        new = text[self._n_sent :]
        self._n_sent = max(self._n_sent, len(text))
        return [f"+{new}"] if new else []


def refusal(error: LivecaptionError, request_id: str) -> HttpAnswer:
    return HttpAnswer(418, f"no: {error.code}", {"X-Refused": error.code, "X-Of": request_id})


def accept_chunks(handshake: Handshake, endpointing: EndpointingConfig) -> Chunks:
    if "forbidden" in handshake.query:
        raise Unauthorized("forbidden")
    return Chunks(endpointing)


def accept_deltas(handshake: Handshake, endpointing: EndpointingConfig) -> Deltas:
    return Deltas(endpointing, manual=True)


def shown_keys(handshake: Handshake) -> list[bytes]:
    return [handshake.query.get("key", "").encode()]


CHUNKS = Route("/chunks", (), accept_chunks, refusal, shown_keys)
DELTAS = Route("/deltas", ("deltas",), accept_deltas, refusal, shown_keys)
