"""The native protocol, version 1: JSON text messages, and audio as binary ones. Pure.

A message is judged once, here, and is a command from then on. Unknown fields are ignored, an
unknown type or a wrong value is refused; `bool` is no number, and text must be encodable.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from livecaption.audio.formats import CHANNEL_MODES, CONTAINER, AudioFormat, ChannelMode
from livecaption.captions.language_names import language_code
from livecaption.errors import ConfigError, InvalidMessage, LivecaptionError, WrongState
from livecaption.events import MAX_SPEAKERS, Event
from livecaption.live.dialects.address import OPTIONS, start_fields
from livecaption.live.dialects.closing import close_of
from livecaption.live.dialects.commands import (
    Audio,
    Command,
    Control,
    Finish,
    Flush,
    NameSpeaker,
    Open,
    Ping,
    Reattach,
    RoomClaim,
)
from livecaption.live.dialects.dialect import Handshake, HttpAnswer, Limits, Route
from livecaption.live.dialects.json_messages import is_text, json_object
from livecaption.live.dialects.keys import shown_keys
from livecaption.live.dialects.refusals import refusal_headers
from livecaption.live.room_state import MAX_NAME_CHARACTERS, MAX_SECRET_CHARACTERS, check_name, check_secret
from livecaption.live.state import Ending
from livecaption.live.title import checked_name, clean_title
from livecaption.messages import StreamSettings, encode
from livecaption.pipeline.options import StreamOptions
from livecaption.recognition import TASKS, TranscriptionOptions
from livecaption.speech.endpointing import PRESETS, EndpointingConfig

SUBPROTOCOL = "livecaption.v1"
LIMITS = Limits(max_text_bytes=16 * 1024, max_binary_bytes=1024 * 1024)
"""A `start` with every option is below 4 KiB; JSON is parsed only below the limit. 1 MiB are 32 s of 16 kHz PCM."""
MAX_PROMPT_CHARACTERS = 1000
MAX_HOTWORDS = 100
MAX_HOTWORD_CHARACTERS = 100
MAX_LANGUAGE_CHARACTERS = 35
"""The length of a language tag that programs should allow (RFC 5646, section 4.4.1)."""
MAX_LANGUAGES = 20
MAX_TITLE_CHARACTERS = 200
MAX_ID_CHARACTERS = 100
DEFAULTS = StreamSettings()
MAX_STREAM_MS = 10 * 365 * 86_400_000
"""The latest stream time that a client may name: ten years."""


class Native:
    """One publisher's conversation.

    Args:
        endpointing: the server's own settings, which `start` may change.
        claimed, claimed_room: see `Dialect`.
        address: the fields of `start` that are in the address, which then opens the session; empty: a message does.

    Raises:
        InvalidMessage: a wrong option in the address.
    """

    protocol: ClassVar[str] = "native"
    resumable: ClassVar[bool] = True
    limits: ClassVar[Limits] = LIMITS

    def __init__(
        self,
        endpointing: EndpointingConfig,
        claimed: str = "",
        claimed_room: str = "",
        address: Mapping[str, Any] | None = None,
    ) -> None:
        self.claimed = claimed
        self.claimed_room = claimed_room
        self._endpointing = endpointing
        self._started = False
        # Its text is kept with the session, as that of a message is.
        start = json.dumps({"type": "start", **address}) if address else ""
        self._opening = Open(restore(start, endpointing), start) if start else None

    def connected(self) -> list[Control]:
        """Return what opens the session if the address has its options. Otherwise the first message opens it."""
        self._started = self._opening is not None
        return [self._opening] if self._opening is not None else []

    def receive(self, message: str | bytes) -> list[Command]:
        """See `Dialect.receive`. Before `start`, every mistake is fatal."""
        if not isinstance(message, str):
            if not self._started:
                raise WrongState("audio before start, and no options in the address, such as ?encoding=auto")
            return [Audio(message)]
        try:
            command = parse(message, self._endpointing)
        except InvalidMessage as error:
            error.fatal = not self._started
            raise
        if isinstance(command, Open) and self._opening is not None:
            self._check_start(command, self._opening)
            self._opening = None  # it may be repeated once
            return []
        is_start = isinstance(command, Open | Reattach)
        if is_start and self._started:
            raise WrongState("start was sent already", fatal=False)
        if not is_start and not self._started:
            raise WrongState("the first message must be start")
        self._started = True
        return [command]

    @staticmethod
    def _check_start(given: Open, opening: Open) -> None:
        """Check that a `start` asks for the same as the address, which can name no room.

        Raises:
            InvalidMessage: it does not. This is fatal, because the captions would be other than expected.
        """
        if given.room is not None:
            raise InvalidMessage("options in the address have opened a session without a room already")
        if given.options != opening.options:
            here, there = json.loads(given.start), json.loads(opening.start)
            names = [name for name in (*OPTIONS, "endpointing") if here.get(name) != there.get(name)]
            raise InvalidMessage(f"start and the address differ in {', '.join(names)}; put all into one of them")

    def encode(self, event: Event, seq: int | None) -> Sequence[str]:
        """Return one message for each event."""
        return [encode(event, seq)]

    def tick(self, stream_ms: int) -> list[Control]:
        """Return nothing: all follows from messages and events."""
        del stream_ms
        return []

    def close(self, ending: Ending) -> tuple[int, str]:
        """Return code and reason of the Close."""
        return close_of(ending)


def accept(handshake: Handshake, endpointing: EndpointingConfig) -> Native:
    """Begin a conversation.

    `?resume=` names the session that the client comes back for, `?room=` the room in which it wants to speak. Others
    are options.

    Raises:
        InvalidMessage: a wrong option in the address.
    """
    if claimed := handshake.query.get("resume", ""):
        return Native(endpointing, claimed)
    # Options in the address open a session without a room.
    address = start_fields(handshake.query)
    return Native(endpointing, "", "" if address else handshake.query.get("room", ""), address)


def refusal(error: LivecaptionError, request_id: str = "", **fields: object) -> HttpAnswer:
    """Answer with the status of the error, and JSON with the same `code`; `Retry-After` if it makes sense."""
    del request_id  # each answer has it in a header
    body = {"code": error.code, "message": error.message, **fields}
    if error.retry_after_s is not None:
        body["retry_after_s"] = error.retry_after_s
    return HttpAnswer(error.http_status, json.dumps(body), refusal_headers(error))


def restore(start: str, endpointing: EndpointingConfig) -> StreamOptions:
    """Read the options of a session that an earlier server has stored. See `Route.restore`."""
    command = parse(start, endpointing)
    if not isinstance(command, Open):
        raise InvalidMessage("no session begins with this message")
    return command.options


ROUTE = Route("/v1/stream", (SUBPROTOCOL,), accept, refusal, shown_keys, restore)


def parse(text: str, endpointing: EndpointingConfig) -> Control:
    """Read the command in a text message, whose size was judged. `endpointing` is what `start` may change.

    Raises:
        InvalidMessage: it is not what the protocol allows; the message names the field.
    """
    message = json_object(text)
    kind = message.get("type")
    if kind == "start" and message.get("resume") is not None:
        # The session keeps what it was started with: nothing else of the message counts.
        return _resume(message["resume"])
    if kind == "start":
        room = message.pop("room", None)  # it has a secret, which is not kept
        return Open(_start(message, endpointing), json.dumps(message) if room else text, _room(room))
    if kind == "flush":
        return Flush(_id(message))
    if kind == "stop":
        return Finish(_flag(message, "end_room", default=False))
    if kind == "ping":
        return Ping(_id(message))
    if kind == "name":
        return NameSpeaker(_speaker(message.get("speaker")), checked_name(message.get("name")))
    raise InvalidMessage("type must be start, flush, stop, ping or name", code="unknown_type")


def _start(message: dict[str, Any], endpointing: EndpointingConfig) -> StreamOptions:
    channel_mode = message.get("channel_mode", DEFAULTS.channel_mode)
    if channel_mode not in CHANNEL_MODES:
        raise InvalidMessage(f"channel_mode must be {' or '.join(CHANNEL_MODES)}")
    audio = _audio_format(message, channel_mode)
    task = message.get("task", DEFAULTS.task)
    if task not in TASKS:
        raise InvalidMessage("task must be transcribe or translate", code="unsupported_task")
    hotwords = message.get("hotwords") or []
    if not isinstance(hotwords, list) or len(hotwords) > MAX_HOTWORDS:
        raise InvalidMessage(f"hotwords must be a list of at most {MAX_HOTWORDS} texts")
    language, languages = _languages(message.get("language"))
    transcription = TranscriptionOptions(
        language,
        languages,
        task=task,
        words=_flag(message, "words", default=DEFAULTS.words),
        prompt=_text(message, "prompt", MAX_PROMPT_CHARACTERS),
        hotwords=tuple(_checked_text(word, "hotwords", MAX_HOTWORD_CHARACTERS) for word in hotwords),
    )
    return StreamOptions(
        audio=audio,
        transcription=transcription,
        partials=_flag(message, "partials", default=DEFAULTS.partials),
        endpointing=_endpointing(message.get("endpointing"), endpointing),
        title=title_of(message),
        private=_flag(message, "private", default=DEFAULTS.private),
        keep=_flag(message, "keep", default=DEFAULTS.keep),
        channel_mode=channel_mode,
        tracks=_tracks(message.get("translate")),
        speakers=_speakers(message.get("speakers", DEFAULTS.speakers)),
    )


def _audio_format(message: dict[str, Any], channel_mode: ChannelMode) -> AudioFormat:
    encoding = message.get("encoding", DEFAULTS.encoding)
    if encoding == CONTAINER:  # it states its own; the number of channels is the largest that are kept apart
        return AudioFormat(CONTAINER, channels=message.get("channels", 2) if channel_mode == "separate" else 1)
    return AudioFormat(encoding, message.get("sample_rate", DEFAULTS.sample_rate), message.get("channels", 1))


def _speakers(given: Any) -> int:
    """Return the largest number of speakers; 0: they are not distinguished."""
    if type(given) is bool:
        return MAX_SPEAKERS if given else 0
    if type(given) is not int or not 1 <= given <= MAX_SPEAKERS:
        raise InvalidMessage(f"speakers must be true, false, or a number from 1 to {MAX_SPEAKERS}")
    return given


def _speaker(given: Any) -> int:
    if type(given) is not int:
        raise InvalidMessage("speaker must be the number of a speaker")
    return given


def _tracks(given: Any) -> tuple[str, ...]:
    """Return the languages into which finals are to be translated."""
    if not isinstance(given, list | None) or len(given or []) > MAX_LANGUAGES:
        raise InvalidMessage(f"translate must be a list of at most {MAX_LANGUAGES} languages")
    codes = [language_code(_checked_text(each, "translate", MAX_LANGUAGE_CHARACTERS)) for each in given or []]
    if None in codes:
        raise InvalidMessage("translate must name languages")
    return tuple(dict.fromkeys(code for code in codes if code is not None))


def _languages(given: Any) -> tuple[str | None, tuple[str, ...]]:
    """Return the language, or None and those to expect; both may be empty."""
    if given is None:
        return None, ()
    if not isinstance(given, list):
        return language_code(_checked_text(given, "language", MAX_LANGUAGE_CHARACTERS)), ()
    codes = [language_code(_checked_text(each, "language", MAX_LANGUAGE_CHARACTERS)) for each in given]
    languages = tuple(dict.fromkeys(code for code in codes if code is not None))
    if len(languages) > MAX_LANGUAGES or None in codes:
        raise InvalidMessage(f"language must be a text, or a list of at most {MAX_LANGUAGES} languages")
    return (languages[0], ()) if len(languages) == 1 else (None, languages)


def _room(given: Any) -> RoomClaim | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise InvalidMessage("room must be an object")
    name = _text(given, "name", MAX_NAME_CHARACTERS)
    secret = _text(given, "secret", MAX_SECRET_CHARACTERS)
    check_name(name)
    check_secret(secret)
    former = _text(given, "former", MAX_ID_CHARACTERS)
    return RoomClaim(name, secret, _flag(given, "take_over", default=False), former)


def _resume(given: Any) -> Reattach:
    if not isinstance(given, dict):
        raise InvalidMessage("resume must be an object")
    last_seq = given.get("last_seq")
    if type(last_seq) is not int or last_seq < 0:
        raise InvalidMessage("resume.last_seq must be a number of an event")
    audio_from_ms = given.get("audio_from_ms", 0)
    if type(audio_from_ms) is not int or not 0 <= audio_from_ms <= MAX_STREAM_MS:
        raise InvalidMessage("resume.audio_from_ms must be a time of the stream in milliseconds")
    session, token = _text(given, "session", MAX_ID_CHARACTERS), _text(given, "token", MAX_ID_CHARACTERS)
    return Reattach(session, token, last_seq, audio_from_ms)


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
        # A client that sets a silence means it in mid-phrase too.
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


def title_of(message: dict[str, Any]) -> str:
    """Return the title in a message of any kind; empty: it has none.

    Raises:
        InvalidMessage: it is too long, or not valid Unicode.
    """
    return clean_title(_text(message, "title", MAX_TITLE_CHARACTERS))


def _text(message: dict[str, Any], name: str, max_characters: int) -> str:
    value = message.get(name)
    return "" if value is None else _checked_text(value, name, max_characters)


def _checked_text(value: Any, name: str, max_characters: int) -> str:
    if not isinstance(value, str) or len(value) > max_characters:
        raise InvalidMessage(f"{name} must be a text of at most {max_characters} characters")
    if not is_text(value):
        raise InvalidMessage(f"{name} is not valid Unicode")
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
