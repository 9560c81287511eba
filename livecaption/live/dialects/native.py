"""The native protocol, version 1: JSON text messages <-> our types. Pure.

A message is judged once, here, and is a typed value from then on. Unknown fields are ignored, an
unknown type or a wrong value is refused; `bool` is no number, and text must be encodable.
"""

import json
import math
from dataclasses import dataclass, replace
from typing import Any

from livecaption.audio.formats import AudioFormat
from livecaption.errors import ConfigError, InvalidMessage, MessageTooBig
from livecaption.messages import Flush, Ping, Resume, Stop, encode, encode_final, encode_snapshot
from livecaption.pipeline.options import StreamOptions
from livecaption.recognition import TASKS, TranscriptionOptions
from livecaption.speech.endpointing import PRESETS, EndpointingConfig

__all__ = [
    "MAX_TEXT_BYTES",
    "PROTOCOL_VERSION",
    "SUBPROTOCOL",
    "ClientMessage",
    "Flush",
    "Ping",
    "Resume",
    "Start",
    "Stop",
    "encode",
    "encode_final",
    "encode_snapshot",
    "parse",
]

PROTOCOL_VERSION = 1
SUBPROTOCOL = "livecaption.v1"
MAX_TEXT_BYTES = 16 * 1024
"""A `start` with every option is below 4 KiB; JSON is parsed only below this size."""
MAX_PROMPT_CHARACTERS = 1000
MAX_HOTWORDS = 100
MAX_HOTWORD_CHARACTERS = 100
MAX_TITLE_CHARACTERS = 200
MAX_ID_CHARACTERS = 100
MAX_STREAM_MS = 10 * 365 * 86_400_000
"""Of stream time that a client may name: ten years."""


@dataclass(frozen=True, slots=True)
class Start:
    """Publisher -> server, first: what the audio will be and what is wanted."""

    options: StreamOptions


ClientMessage = Start | Resume | Flush | Stop | Ping


def parse(text: str, endpointing: EndpointingConfig) -> ClientMessage:
    """Read a text message of a client. `endpointing` is what `start` may change.

    Raises:
        MessageTooBig: it is larger than `MAX_TEXT_BYTES`.
        InvalidMessage: it is not what the protocol allows; the message names the field.
    """
    if len(text) > MAX_TEXT_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT_BYTES:
        raise MessageTooBig(f"a text message may have {MAX_TEXT_BYTES} bytes")
    try:
        message = json.loads(text)
    # Deep nesting is a RecursionError, and a number of 5000 digits a ValueError.
    except (ValueError, RecursionError):
        raise InvalidMessage("the message is not JSON") from None
    if not isinstance(message, dict):
        raise InvalidMessage("the message is not a JSON object")
    kind = message.get("type")
    if kind == "start" and message.get("resume") is not None:
        # The session keeps what it was started with: nothing else of the message counts.
        return _resume(message["resume"])
    if kind == "start":
        return Start(_start(message, endpointing))
    if kind == "flush":
        return Flush(_id(message))
    if kind == "stop":
        return Stop()
    if kind == "ping":
        return Ping(_id(message))
    raise InvalidMessage("type must be start, flush, stop or ping", code="unknown_type")


def _start(message: dict[str, Any], endpointing: EndpointingConfig) -> StreamOptions:
    audio = AudioFormat(
        message.get("encoding", "pcm_s16le"), message.get("sample_rate", 16_000), message.get("channels", 1)
    )
    task = message.get("task", "transcribe")
    if task not in TASKS:
        raise InvalidMessage("task must be transcribe or translate", code="unsupported_task")
    hotwords = message.get("hotwords") or []
    if not isinstance(hotwords, list) or len(hotwords) > MAX_HOTWORDS:
        raise InvalidMessage(f"hotwords must be a list of at most {MAX_HOTWORDS} texts")
    transcription = TranscriptionOptions(
        language=_text(message, "language", 20) or None,
        task=task,
        words=_flag(message, "words", default=False),
        prompt=_text(message, "prompt", MAX_PROMPT_CHARACTERS),
        hotwords=tuple(_checked_text(word, "hotwords", MAX_HOTWORD_CHARACTERS) for word in hotwords),
    )
    return StreamOptions(
        audio=audio,
        transcription=transcription,
        partials=_flag(message, "partials", default=True),
        endpointing=_endpointing(message.get("endpointing"), endpointing),
        title=_text(message, "title", MAX_TITLE_CHARACTERS),
        private=_flag(message, "private", default=False),
    )


def _resume(given: Any) -> Resume:
    if not isinstance(given, dict):
        raise InvalidMessage("resume must be an object")
    last_seq = given.get("last_seq")
    if type(last_seq) is not int or last_seq < 0:
        raise InvalidMessage("resume.last_seq must be a number of an event")
    audio_from_ms = given.get("audio_from_ms", 0)
    if type(audio_from_ms) is not int or not 0 <= audio_from_ms <= MAX_STREAM_MS:
        raise InvalidMessage("resume.audio_from_ms must be a time of the stream in milliseconds")
    session, token = _text(given, "session", MAX_ID_CHARACTERS), _text(given, "token", MAX_ID_CHARACTERS)
    return Resume(session, token, last_seq, audio_from_ms)


def _endpointing(given: Any, default: EndpointingConfig) -> EndpointingConfig:
    if given is None:
        return default
    if not isinstance(given, dict):
        raise InvalidMessage("endpointing must be an object")
    if given.get("preset") is not None:
        if not isinstance(given["preset"], str) or given["preset"] not in PRESETS:
            raise InvalidMessage(f"endpointing.preset must be one of {', '.join(PRESETS)}")
        default = PRESETS[given["preset"]]
    changes: dict[str, Any] = {}
    for wire_name, name in (("silence_ms", "hangover_ms"), ("max_utterance_ms", "max_utterance_ms")):
        if given.get(wire_name) is not None:
            value = given[wire_name]
            if type(value) is not int:
                raise InvalidMessage(f"endpointing.{wire_name} must be an integer")
            changes[name] = value
    if "hangover_ms" in changes:
        # Who names a silence means it in mid-phrase too.
        changes["mid_phrase_hangover_ms"] = changes["hangover_ms"]
    try:
        return replace(default, **changes)
    except ConfigError as error:
        raise InvalidMessage(
            "endpointing: "
            + error.message.replace("mid_phrase_hangover_ms", "silence_ms").replace("hangover_ms", "silence_ms")
        ) from None


def _flag(message: dict[str, Any], name: str, *, default: bool) -> bool:
    value = message.get(name, default)
    if type(value) is not bool:
        raise InvalidMessage(f"{name} must be true or false")
    return value


def _text(message: dict[str, Any], name: str, max_characters: int) -> str:
    value = message.get(name)
    return "" if value is None else _checked_text(value, name, max_characters)


def _checked_text(value: Any, name: str, max_characters: int) -> str:
    if not isinstance(value, str) or len(value) > max_characters:
        raise InvalidMessage(f"{name} must be a text of at most {max_characters} characters")
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can spell and no caption can carry
        raise InvalidMessage(f"{name} is not valid Unicode") from None
    return value


def _id(message: dict[str, Any]) -> str | int | None:
    value = message.get("id")
    if isinstance(value, str):
        return _checked_text(value, "id", MAX_ID_CHARACTERS)
    if value is None or (type(value) is int and abs(value) < 2**53):
        return value
    if type(value) is float and math.isfinite(value) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    raise InvalidMessage("id must be a text or an integer")
