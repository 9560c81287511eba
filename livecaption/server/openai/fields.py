"""Read the fields of a request for a transcription. Pure.

Fields that OpenAI does not have are ignored, and so are those that a local model has no use for. Names of lists come
with brackets and without, repeated or not.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from livecaption.audio.formats import CONTAINER, AudioFormat
from livecaption.captions.language_names import language_code
from livecaption.errors import InvalidUpload
from livecaption.events import MAX_SPEAKERS
from livecaption.live.dialects.native import MAX_HOTWORD_CHARACTERS, MAX_HOTWORDS, MAX_LANGUAGES, MAX_PROMPT_CHARACTERS
from livecaption.pipeline.options import StreamOptions
from livecaption.recognition import Task, TranscriptionOptions
from livecaption.speech.endpointing import RECORDINGS

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"]
FORMATS: tuple[ResponseFormat, ...] = get_args(ResponseFormat)
TRUE = ("true", "1", "yes", "on")
FALSE = ("false", "0", "no", "off", "")
GRANULARITIES = ("word", "segment")
KNOWN_SPEAKERS = ("known_speaker_names", "known_speaker_references")
"""Fields with recordings of people and their names, which are refused: voices are compared within a recording only."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The wishes of a request.

    Attributes:
        options: how to transcribe the recording.
        format: the form of the answer, unless `stream`.
        words: whether the answer has the times of words.
        stream: whether the text is sent as it is transcribed. Only `diarized_json` changes that.
    """

    options: StreamOptions
    format: ResponseFormat
    words: bool
    stream: bool


def read(fields: Sequence[tuple[str, str]], task: Task) -> Asked:
    """Read the fields of a form, in order.

    Raises:
        InvalidUpload: one of them has a wrong value.
    """
    name = _last(fields, "response_format") or "json"
    format_ = next((each for each in FORMATS if each == name), None)
    if format_ is None:
        raise InvalidUpload(f"response_format must be one of {', '.join(FORMATS)}", field="response_format")
    if format_ == "diarized_json" and task != "transcribe":
        raise InvalidUpload("translations have no speakers: use verbose_json", field="response_format")
    for known in KNOWN_SPEAKERS:
        if _all(fields, known):
            raise InvalidUpload("this server recognises nobody by a recording of the voice", field=known)
    granularities = _all(fields, "timestamp_granularities")
    if wrong := [each for each in granularities if each not in GRANULARITIES]:
        message = f"timestamp_granularities must be word or segment, not {wrong[0][:20]!r}"
        raise InvalidUpload(message, field="timestamp_granularities")
    words = "word" in granularities and format_ == "verbose_json"
    language, languages = _languages(fields)
    hotwords = tuple(_all(fields, "keywords"))
    if len(hotwords) > MAX_HOTWORDS or any(len(word) > MAX_HOTWORD_CHARACTERS for word in hotwords):
        message = f"keywords may be {MAX_HOTWORDS} of {MAX_HOTWORD_CHARACTERS} characters each"
        raise InvalidUpload(message, field="keywords")
    transcription = TranscriptionOptions(
        language,
        languages,
        task=task,
        words=words or format_ in ("srt", "vtt"),  # cues follow the words
        prompt=_last(fields, "prompt")[-MAX_PROMPT_CHARACTERS:],  # the end is what counts at OpenAI too
        hotwords=hotwords,
    )
    options = StreamOptions(
        audio=AudioFormat(CONTAINER),
        transcription=transcription,
        partials=False,
        endpointing=RECORDINGS,
        keep=False,
        speakers=MAX_SPEAKERS if format_ == "diarized_json" else 0,
    )
    return Asked(options, format_, words, _flag(fields, "stream"))


def _languages(fields: Sequence[tuple[str, str]]) -> tuple[str | None, tuple[str, ...]]:
    """Return the language, or None and those to expect, which may be none."""
    given = _all(fields, "languages") or _all(fields, "language")
    codes = [language_code(each) for each in given]
    languages = tuple(dict.fromkeys(code for code in codes if code is not None))
    if len(languages) > MAX_LANGUAGES:
        raise InvalidUpload(f"languages may be {MAX_LANGUAGES} at most", field="languages")
    return (languages[0], ()) if len(languages) == 1 else (None, languages)


def _flag(fields: Sequence[tuple[str, str]], name: str) -> bool:
    value = _last(fields, name).lower()
    if value not in (*TRUE, *FALSE):
        raise InvalidUpload(f"{name} must be true or false", field=name)
    return value in TRUE


def _last(fields: Iterable[tuple[str, str]], name: str) -> str:
    """Return the last value of a field; empty: it is missing."""
    values = _all(fields, name)
    return values[-1] if values else ""


def _all(fields: Iterable[tuple[str, str]], name: str) -> list[str]:
    """Return the values of a field that are not empty: of `name`, `name[]` and `name[0]`."""
    wanted = re.compile(rf"{re.escape(name)}(?:\[\d*\])?")
    return [value.strip() for given, value in fields if wanted.fullmatch(given) and value.strip()]
