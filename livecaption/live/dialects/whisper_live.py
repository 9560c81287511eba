"""The protocol of WhisperLive: options first, then float audio; back come the newest segments, again and again. Pure.

    {"uid": U, "language": null, ...}   {"uid": U, "message": "SERVER_READY", "backend": "faster_whisper"}
                                        {"uid": U, "language": "en", "language_prob": 0.98}, once, if it was null
    audio                               {"uid": U, "segments": [...]}
    END_OF_AUDIO                        the last segments, then the Close

Its extension for browsers takes the first message for SERVER_READY, and the second one for that of the language if it
has named none. So no segment is sent before the language is known. A client that is refused gets a message with a
`status`: WAIT if it may come back, else ERROR.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from livecaption.audio.formats import AudioFormat
from livecaption.audio.unsigned import widened
from livecaption.captions.language_names import language_code
from livecaption.errors import InvalidMessage, WrongState
from livecaption.events import End, ErrorReport, Event, Final, Partial, Ready, Translation
from livecaption.live.dialects import native
from livecaption.live.dialects.closing import close_of
from livecaption.live.dialects.commands import Audio, Command, Control, Finish, Open
from livecaption.live.dialects.dialect import Handshake, Limits, Route
from livecaption.live.dialects.given import hotwords
from livecaption.live.dialects.json_messages import is_text, json_object
from livecaption.live.dialects.keys import shown_also_in_address
from livecaption.live.state import Ending
from livecaption.pipeline.options import StreamOptions
from livecaption.recognition import TranscriptionOptions
from livecaption.speech.endpointing import EndpointingConfig

LIMITS = Limits(max_text_bytes=16 * 1024, max_binary_bytes=1024 * 1024)
"""1 MiB are 16 s of float audio; the client of WhisperLive sends 16 KiB at a time."""
END_OF_AUDIO = b"END_OF_AUDIO"
BACKEND = "faster_whisper"
"""The client keeps completed segments from this backend only."""
DEFAULT_SEGMENTS = 10
MAX_SEGMENTS = 100
"""Segments that are sent again with each change. More: more traffic. Less: a client that asks for more misses some."""

FORMATS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "float32": ("pcm_f32le", bytes),
    "int16": ("pcm_s16le", bytes),
    "uint8": ("pcm_s16le", widened),
}
"""The values of `audio_format`: the encoding of the stream, and how bytes become one."""


@dataclass(slots=True)
class _Segments:
    """The newest segments of one track, by utterance."""

    max_completed: int = DEFAULT_SEGMENTS
    completed: dict[int, dict[str, Any]] = field(default_factory=dict)

    def add(self, utterance: int, segment: dict[str, Any]) -> None:
        self.completed[utterance] = segment
        if len(self.completed) > self.max_completed:
            del self.completed[next(iter(self.completed))]


class WhisperLive:
    """One client's conversation.

    Args:
        endpointing: the server's own settings.
    """

    protocol: ClassVar[str] = "whisperlive"
    resumable: ClassVar[bool] = False
    limits: ClassVar[Limits] = LIMITS
    claimed: str = ""
    claimed_room: str = ""

    def __init__(self, endpointing: EndpointingConfig) -> None:
        self._endpointing = endpointing
        self._uid: str | int = ""
        self._is_open = False
        self._is_ready = False
        self._is_over = False
        self._read_audio: Callable[[bytes], bytes] = bytes
        self._language_is_due = False
        self._segments = _Segments()
        self._translated = _Segments()
        self._partials: dict[int, Partial] = {}  # by utterance, in order
        self._last_end_ms = 0

    def connected(self) -> list[Control]:
        """Return nothing: the first message opens the session."""
        return []

    def receive(self, message: str | bytes) -> list[Command]:
        """See `Dialect.receive`. Messages behind END_OF_AUDIO are ignored."""
        if self._is_over:
            return []
        if not self._is_open:
            if not isinstance(message, str):
                raise WrongState("audio before the options")
            command = Open(self._options(json_object(message)))
            self._is_open = True
            return [command]
        if isinstance(message, str):
            raise InvalidMessage("audio is sent in binary messages", fatal=False)
        if message == END_OF_AUDIO:
            self._is_over = True
            return [Finish()]
        return [Audio(self._read_audio(message))]

    def encode(self, event: Event, seq: int | None) -> Sequence[str]:
        """See `Dialect.encode`."""
        del seq
        match event:
            case Ready():
                self._is_ready = True
                ready = self._message(message="SERVER_READY", backend=BACKEND)
                return [ready, *(self._language(event.language, 1.0) if event.language else [])]
            case Partial():
                self._partials[event.utterance] = event
                return [] if self._language_is_due else self._news()
            case Final():
                return self._complete(event)
            case Translation():
                return self._translate(event)
            case ErrorReport(fatal=False):
                return [self._message(status="WARNING", message=event.message)]
            case ErrorReport(retry_after_s=float(wait_s)) if not self._is_ready:
                return [self._message(status="WAIT", message=math.ceil(wait_s / 60))]
            case ErrorReport():
                return [self._message(status="ERROR", message=event.message)]
            case End(reason="draining"):
                return [self._message(message="DISCONNECT")]
        return []

    def tick(self, stream_ms: int) -> list[Control]:
        """Return nothing: all follows from messages and events."""
        del stream_ms
        return []

    def close(self, ending: Ending) -> tuple[int, str]:
        """See `Dialect.close`."""
        return close_of(ending)

    def _options(self, given: dict[str, Any]) -> StreamOptions:
        uid: Any = given.get("uid")
        if not (type(uid) is int or is_text(uid)) or len(str(uid)) > native.MAX_ID_CHARACTERS:
            raise InvalidMessage("uid must be a text")
        self._uid = uid
        named = given.get("audio_format") or "float32"
        if not isinstance(named, str) or named not in FORMATS:
            raise InvalidMessage(f"audio_format must be one of {', '.join(FORMATS)}", code="unsupported_encoding")
        encoding, self._read_audio = FORMATS[named]
        language = _language(given.get("language"))
        self._language_is_due = language is None
        n_segments = given.get("send_last_n_segments")
        if type(n_segments) is int:
            self._segments.max_completed = self._translated.max_completed = min(max(n_segments, 1), MAX_SEGMENTS)
        track = _language(given.get("target_language")) if given.get("enable_translation") is True else None
        prompt: Any = given.get("initial_prompt")
        return StreamOptions(
            audio=AudioFormat(encoding, 16_000, 1),
            transcription=TranscriptionOptions(
                language,
                task="translate" if given.get("task") == "translate" else "transcribe",
                words=given.get("word_timestamps") is True,
                prompt=prompt[: native.MAX_PROMPT_CHARACTERS] if is_text(prompt) else "",
                hotwords=hotwords(given.get("hotwords")),
            ),
            endpointing=self._endpointing,
            tracks=() if track is None else (track,),
        )

    def _complete(self, final: Final) -> list[str]:
        self._partials.pop(final.utterance, None)
        if not final.text:
            return []
        start_ms, end_ms = self._times(final)
        self._last_end_ms = end_ms
        segment = _segment(start_ms, end_ms, final.text, completed=True)
        if final.words is not None:
            segment["words"] = [
                {
                    "word": f" {word.word}",
                    "start": _seconds(word.start_ms),
                    "end": _seconds(word.end_ms),
                    "probability": word.confidence,
                }
                for word in final.words
            ]
        # A client writes its last open segment into its file, unless that has the text of the last completed one.
        opened = [*self._segments.completed.values(), segment | {"completed": False}]
        self._segments.add(final.utterance, segment)
        language = self._language(final.language, final.confidence)
        return [*language, self._message(segments=opened), *self._news()]

    def _translate(self, event: Translation) -> list[str]:
        original = self._segments.completed.get(event.utterance)
        if original is None or not event.text:
            return []
        translated = {name: value for name, value in original.items() if name != "words"} | {"text": f" {event.text}"}
        self._translated.add(event.utterance, translated)
        return [self._message(translated_segments=list(self._translated.completed.values()))]

    def _news(self) -> list[str]:
        """Return the newest segments: those that are completed, and one that is not."""
        segments = list(self._segments.completed.values())
        # While a final is awaited, somebody may speak already. Clients expect one open segment.
        if spoken := [partial for partial in self._partials.values() if partial.text]:
            text = " ".join(partial.text for partial in spoken)
            start_ms, _ = self._times(spoken[0])
            segments.append(_segment(start_ms, max(start_ms, spoken[-1].end_ms), text, completed=False))
        return [self._message(segments=segments)] if segments else []

    def _times(self, caption: Final | Partial) -> tuple[int, int]:
        """Return start and end in ms. A client drops a segment that begins before the end of the one before."""
        start_ms = max(caption.start_ms, self._last_end_ms)
        return start_ms, max(start_ms, caption.end_ms)

    def _language(self, language: str | None, probability: float) -> list[str]:
        """Return the message with the language, if it is due."""
        if not self._language_is_due:
            return []
        self._language_is_due = False
        return [self._message(language=language or "", language_prob=probability)]

    def _message(self, **fields: object) -> str:
        return json.dumps({"uid": self._uid, **fields})


def _segment(start_ms: int, end_ms: int, text: str, *, completed: bool) -> dict[str, Any]:
    return {"start": _seconds(start_ms), "end": _seconds(end_ms), "text": f" {text}", "completed": completed}


def _seconds(ms: int) -> str:
    return f"{ms / 1000:.3f}"


def _language(given: Any) -> str | None:
    return language_code(given[: native.MAX_LANGUAGE_CHARACTERS]) if is_text(given) else None


def accept(handshake: Handshake, endpointing: EndpointingConfig) -> WhisperLive:
    """Begin a conversation. The address has no options."""
    del handshake
    return WhisperLive(endpointing)


ROUTE = Route("/whisperlive", (), accept, native.refusal, shown_also_in_address, admits_late=True)
ALIAS = Route("/ws", (), accept, native.refusal, shown_also_in_address, admits_late=True)
"""The address that the browser extension uses where its port is blocked."""
