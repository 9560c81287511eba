"""The session object of OpenAI's Realtime API: updates -> what is in effect -> the options of a stream. Pure.

An update changes only the fields that it has. It comes in the present shape (`audio.input.…`) or in that of the retired
beta (flat names), and the session is shown in either. Unknown fields are ignored. Numbers out of range are moved to the
nearest one that counts, and the session shows that one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from livecaption.audio.formats import AudioFormat
from livecaption.captions.language_names import language_code
from livecaption.errors import InvalidMessage
from livecaption.events import MAX_SPEAKERS
from livecaption.live.dialects.json_messages import is_text
from livecaption.pipeline.options import StreamOptions
from livecaption.recognition import TranscriptionOptions
from livecaption.speech.endpointing import PRESETS, EndpointingConfig

ENCODINGS = {"audio/pcm": "pcm_s16le", "audio/pcmu": "mulaw", "audio/pcma": "alaw"}
"""The names of encodings in the session object. The last two have 8 kHz."""
PCM_RATE_HZ = 24_000
"""The usual rate of `audio/pcm`, and OpenAI's only one."""
FLAT_FORMATS: dict[str, dict[str, Any]] = {
    "pcm16": {"type": "audio/pcm", "rate": PCM_RATE_HZ},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
FLAT_NAMES = {
    "input_audio_format": "format",
    "input_audio_transcription": "transcription",
    "input_audio_noise_reduction": "noise_reduction",
    "turn_detection": "turn_detection",
}
"""The names of the beta, and the present ones below `audio.input`."""
LOGPROBS = "item.input_audio_transcription.logprobs"

MAX_WAIT_MS = {"low": 8000, "medium": 4000, "auto": 4000, "high": 2000}
"""Silence in ms after which a turn ends in any case, by the eagerness of `semantic_vad`. The figures are those of
OpenAI's documentation. Behind words that end a sentence the usual silence is enough."""
LATENCY_PRESETS = {
    "minimal": "fast",
    "low": "fast",
    "medium": "balanced",
    "high": "accurate",
    "xhigh": "accurate",
}
"""Our presets by `transcription.delay`."""
MANUAL_MODELS = ("gpt-realtime-whisper", "gpt-live-transcribe")
"""Models of OpenAI that detect no turns. Their clients commit, but do not switch the detection off."""
DIARIZING_MODELS = ("gpt-4o-transcribe-diarize",)
"""Models of OpenAI that distinguish speakers."""
STOPPED_MS = 1000
"""Time without audio in ms, beyond the silence of the end of a turn, that ends a turn too. Clients such as LiveKit stop
sending without a commit. Shorter: a delay of the network cuts words. Longer: the last caption comes later."""

MAX_PROMPT_CHARACTERS = 1000
MAX_KEYWORDS = 100
MAX_TEXT_CHARACTERS = 200
SILENCE_MS = (20, 10_000)
PADDING_MS = (0, 1000)


class InvalidField(InvalidMessage):
    """A field of an update has a wrong value. The session stays as it was.

    Attributes:
        param: the path of the field.
    """

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message, fatal=False)
        self.param = param


@dataclass(frozen=True, slots=True)
class Session:
    """The session object of one client.

    Attributes:
        audio: the format of its audio.
        transcription: the known fields of `transcription` that have a value.
        turn_detection: those of `turn_detection` with its type; None: the client commits.
        noise_reduction: what the client has asked for. It changes nothing.
        has_logprobs: whether the client wants the probabilities of words.
    """

    audio: AudioFormat = field(default_factory=lambda: AudioFormat("pcm_s16le", PCM_RATE_HZ))
    transcription: Mapping[str, Any] = field(default_factory=dict)
    turn_detection: Mapping[str, Any] | None = field(default_factory=lambda: {"type": "server_vad"})
    noise_reduction: Mapping[str, Any] | None = None
    has_logprobs: bool = False

    @classmethod
    def of_model(cls, model: str) -> "Session":
        """Return the session of a client that has named no more than a model, or an empty text."""
        return cls().updated({"audio": {"input": {"transcription": {"model": model[:MAX_TEXT_CHARACTERS]}}}})

    def updated(self, update: Any) -> "Session":
        """Return the session after an update of it.

        Raises:
            InvalidField: a value is wrong.
        """
        update = _object(update, "session")
        given = {name: update[flat] for flat, name in FLAT_NAMES.items() if flat in update}
        given |= _object(_object(update.get("audio"), "session.audio").get("input"), "session.audio.input")
        session = self
        if given.get("format") is not None:
            session = replace(session, audio=_audio(given["format"]))
        if "transcription" in given:
            session = session._with_transcription(_object(given["transcription"], _path("transcription")))
        if "turn_detection" in given:
            session = replace(session, turn_detection=_turn_detection(given["turn_detection"], session.turn_detection))
        if "noise_reduction" in given:
            asked = given["noise_reduction"]
            session = replace(session, noise_reduction=None if asked is None else _noise_reduction(asked))
        if "include" in update:
            include = update["include"]
            session = replace(session, has_logprobs=isinstance(include, list) and LOGPROBS in include)
        return session

    def _with_transcription(self, given: Mapping[str, Any]) -> "Session":
        new = _transcription(given)
        known = {name: value for name, value in {**self.transcription, **new}.items() if value}
        if new.get("language"):
            known.pop("languages", None)
        model, usual = known.get("model", ""), self.turn_detection == {"type": "server_vad"}
        detects = not (usual and model != self.transcription.get("model") and model.startswith(MANUAL_MODELS))
        return replace(self, transcription=known, turn_detection=self.turn_detection if detects else None)

    def options(self, own: EndpointingConfig) -> StreamOptions:
        """Return the options of the stream. `own` are the server's settings."""
        asked = self.transcription
        named = asked.get("languages") or [asked.get("language", "")]
        codes = tuple(dict.fromkeys(code for code in map(language_code, named) if code is not None))
        transcription = TranscriptionOptions(
            language=codes[0] if len(codes) == 1 else None,
            languages=codes if len(codes) > 1 else (),
            words=self.has_logprobs,
            prompt=asked.get("prompt", ""),
            hotwords=tuple(asked.get("keywords", ())),
        )
        endpointing = self.endpointing(own)
        return StreamOptions(
            self.audio,
            transcription,
            endpointing=endpointing,
            patience_ms=endpointing.hangover_ms + STOPPED_MS,
            speakers=MAX_SPEAKERS if asked.get("model", "").startswith(DIARIZING_MODELS) else 0,
        )

    def endpointing(self, own: EndpointingConfig) -> EndpointingConfig:
        """Return when turns begin and end. `own` are the server's settings."""
        delay = self.transcription.get("delay")
        base = own if delay is None else PRESETS[LATENCY_PRESETS[delay]]
        asked = self.turn_detection
        if asked is None:
            return replace(base, manual=True)
        if asked["type"] == "semantic_vad":
            return replace(base, mid_phrase_hangover_ms=MAX_WAIT_MS[asked.get("eagerness", "auto")])
        silence_ms = asked.get("silence_duration_ms")
        # A client that sets a silence means it in mid-phrase too.
        silence = {} if silence_ms is None else {"hangover_ms": silence_ms, "mid_phrase_hangover_ms": silence_ms}
        return replace(base, pre_roll_ms=asked.get("prefix_padding_ms", base.pre_roll_ms), **silence)

    def shown(self, session_id: str, own: EndpointingConfig, *, flat: bool) -> dict[str, Any]:
        """Return the whole session as its client sees it, with what is in effect. `flat`: in the shape of the beta."""
        common = {
            "id": session_id,
            "object": "realtime.transcription_session",
            "type": "transcription",
            "expires_at": None,
            "include": [LOGPROBS] if self.has_logprobs else None,
        }
        format_ = self._shown_format()
        parts = {
            "format": format_,
            "transcription": dict(self.transcription) or None,
            "noise_reduction": self.noise_reduction,
            "turn_detection": self._shown_turn_detection(self.endpointing(own)),
        }
        if not flat:
            return {**common, "audio": {"input": parts}}
        names = {shape["type"]: name for name, shape in FLAT_FORMATS.items()}
        flat_parts = {**parts, "format": names[format_["type"]]}
        return {**common, **{flat_name: flat_parts[name] for flat_name, name in FLAT_NAMES.items()}}

    def _shown_format(self) -> dict[str, Any]:
        name = next(name for name, encoding in ENCODINGS.items() if encoding == self.audio.encoding)
        return {"type": name, "rate": self.audio.sample_rate_hz} if name == "audio/pcm" else {"type": name}

    def _shown_turn_detection(self, endpointing: EndpointingConfig) -> dict[str, Any] | None:
        asked = self.turn_detection
        if asked is None:
            return None
        if asked["type"] == "semantic_vad":
            return {"type": "semantic_vad", "eagerness": asked.get("eagerness", "auto")}
        return {
            "type": "server_vad",
            "threshold": asked.get("threshold", 0.5),
            "prefix_padding_ms": endpointing.pre_roll_ms,
            "silence_duration_ms": endpointing.hangover_ms,
        }


def _audio(given: Any) -> AudioFormat:
    given = FLAT_FORMATS.get(given, given) if isinstance(given, str) else given
    kind = _object(given, _path("format")).get("type")
    if not isinstance(kind, str) or kind not in ENCODINGS:
        names = ", ".join([*ENCODINGS, *FLAT_FORMATS])
        raise InvalidField(f"the format must be one of {names}", _path("format.type"))
    rate_hz = 8000 if kind != "audio/pcm" else given.get("rate")
    try:
        return AudioFormat(ENCODINGS[kind], PCM_RATE_HZ if rate_hz is None else rate_hz)
    except InvalidMessage as error:
        raise InvalidField(error.message, _path("format.rate")) from None


def _transcription(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the known fields; a value that is empty takes the field out."""
    known: dict[str, Any] = {}
    for name in given.keys() & {"model", "language", "prompt"}:
        known[name] = _text(given[name], f"transcription.{name}")
    for name in given.keys() & {"languages", "keywords"}:
        values = given[name] or []
        if not isinstance(values, list):
            raise InvalidField(f"{name} must be a list of texts", _path(f"transcription.{name}"))
        known[name] = [_text(value, f"transcription.{name}") for value in values[:MAX_KEYWORDS]]
    if "delay" in given:
        delay = given["delay"]
        known["delay"] = delay if isinstance(delay, str) and delay in LATENCY_PRESETS else None
    return known


def _turn_detection(given: Any, before: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if given is None:
        return None
    given = _object(given, _path("turn_detection"))
    kind = given.get("type", before["type"] if before else "server_vad")
    if kind not in ("server_vad", "semantic_vad"):
        raise InvalidField("the type must be server_vad or semantic_vad", _path("turn_detection.type"))
    known = dict(before) if before and before["type"] == kind else {"type": kind}
    if kind == "semantic_vad":
        if given.get("eagerness") is not None:
            eagerness = given["eagerness"]
            if not isinstance(eagerness, str) or eagerness not in MAX_WAIT_MS:
                names = ", ".join(MAX_WAIT_MS)
                raise InvalidField(f"the eagerness must be one of {names}", _path("turn_detection.eagerness"))
            known["eagerness"] = eagerness
        return known
    for name, (low, high) in (("prefix_padding_ms", PADDING_MS), ("silence_duration_ms", SILENCE_MS)):
        if given.get(name) is not None:
            known[name] = round(min(max(_number(given[name], name), low), high))
    if given.get("threshold") is not None:
        known["threshold"] = min(max(_number(given["threshold"], "threshold"), 0.0), 1.0)
    return known


def _noise_reduction(given: Any) -> dict[str, Any]:
    kind = _object(given, _path("noise_reduction")).get("type")
    return {"type": kind if kind in ("near_field", "far_field") else "near_field"}


def _object(given: Any, path: str) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InvalidField(f"{path} must be an object", path)
    return given


def _number(given: Any, name: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not abs(given) < inf:
        raise InvalidField(f"{name} must be a number", _path(f"turn_detection.{name}"))
    return given


def _text(given: Any, name: str) -> str:
    """Return a text, cut to what counts: the end of a prompt, the beginning of any other."""
    if given is None:
        return ""
    if not isinstance(given, str):
        raise InvalidField(f"{name} must be a text", _path(name))
    if not is_text(given):
        raise InvalidField(f"{name} is not valid Unicode", _path(name))
    return given[-MAX_PROMPT_CHARACTERS:] if name.endswith("prompt") else given[:MAX_TEXT_CHARACTERS]


def _path(name: str) -> str:
    return f"session.audio.input.{name}"
