"""The JSON of Deepgram's messages: results with their words, metadata, errors and refusals. Pure.

Times are in seconds. Fields that clients read without a check are in every message, also where they are empty.
"""

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from livecaption.errors import InvalidAudio, LivecaptionError
from livecaption.events import CaptionWord, Turn
from livecaption.live.dialects.dialect import HttpAnswer
from livecaption.live.dialects.refusals import refusal_headers

REQUEST_ID_HEADER = "dg-request-id"
SYMBOLS = "%#@&"
"""Punctuation, for Unicode, that people say as a word. It stays where other punctuation is removed."""
UNDECODABLE, NOTHING_RECEIVED, SERVER_FAULT = "DATA-0000", "NET-0001", "NET-0000"
"""Deepgram's codes: audio that cannot be decoded, neither audio nor KeepAlive, a fault of the server."""
TOO_MANY_KEYTERMS = "CONFIGURE_KEYTERM_LIMIT_EXCEEDED"
ERROR_CODES = {
    400: "INVALID_QUERY_PARAMETER",
    401: "INVALID_AUTH",
    403: "INSUFFICIENT_PERMISSIONS",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "PAYLOAD_TOO_LARGE",
    429: "TOO_MANY_REQUESTS",
    503: "SERVICE_UNAVAILABLE",
}
"""The `err_code` of a refusal by its HTTP status."""


@dataclass(frozen=True, slots=True)
class Model:
    """The model, as it is described in results."""

    name: str = "livecaption"

    @property
    def uuid(self) -> str:
        """The id of the model: the same for the same name."""
        return str(uuid5(NAMESPACE_URL, f"livecaption:{self.name}"))

    @property
    def info(self) -> dict[str, str]:
        """The `model_info` of results and metadata."""
        return {"name": self.name, "version": "1", "arch": "livecaption"}


@dataclass(frozen=True, slots=True)
class Text:
    """Text with its words, in the form that the client has asked for.

    Attributes:
        text: text with punctuation, as the engine has written it.
        words: its words, in order; see `words_of`.
        confidence: from 0 to 1.
        formatted: whether the client wants punctuation and capitals.
        language: ISO 639-1 code; None: the client has named the language.
    """

    text: str = ""
    words: Sequence[CaptionWord] = ()
    confidence: float = 0.0
    formatted: bool = False
    language: str | None = None

    def alternative(self) -> dict[str, Any]:
        """Return the one alternative of a result, live or not."""
        transcript = self.text if self.formatted else " ".join(filter(None, map(_bare, self.text.split())))
        words = [self._word(word, bare) for word in self.words if (bare := _bare(word.word))]
        shape = {"transcript": transcript, "confidence": self.confidence, "words": words}
        return shape if self.language is None else shape | {"languages": [self.language]}

    def _word(self, word: CaptionWord, bare: str) -> dict[str, Any]:
        shape = {
            "word": bare,
            "start": seconds(word.start_ms),
            "end": seconds(word.end_ms),
            "confidence": word.confidence,
        }
        if self.formatted:
            shape["punctuated_word"] = word.word
        if word.speaker is not None:
            shape["speaker"] = speaker_number(word.speaker)
        return shape if self.language is None else shape | {"language": self.language}


def speaker_number(speaker: int) -> int:
    """Return the number of a speaker as Deepgram's messages have it, which count from 0."""
    return speaker - 1


def seconds(at_ms: int) -> float:
    """Return a time as Deepgram's messages have it."""
    return at_ms / 1000


def words_of(
    text: str,
    timed: Sequence[CaptionWord],
    start_ms: int,
    end_ms: int,
    confidence: float,
    turns: Sequence[Turn] = (),
) -> list[CaptionWord]:
    """Return the words of the text with times, so that both have the same words.

    Committed words stay in the text where the engine has changed its mind. So its words may be others.

    Args:
        text: text with punctuation.
        timed: the words of the engine; empty: it has given none.
        start_ms, end_ms: the times between which the words lie.
        confidence: that of words for which the engine has given none.
        turns: the turns of the text; empty: speakers are not distinguished.
    """
    written = text.split()
    if len(written) == len(timed):
        return [replace(word, word=token) for word, token in zip(timed, written, strict=True)]
    if "".join(written).casefold() == "".join(word.word for word in timed).casefold():
        return list(timed)  # the script has no spaces
    # By the number of their letters, which is how long words last, roughly.
    ends = list(accumulate(map(len, written), initial=0))
    n_letters = ends[-1]
    times = [start_ms + (end_ms - start_ms) * end // n_letters for end in ends] if n_letters else []
    speakers = [turn.speaker for turn in turns for _ in turn.text.split()] or [None] * len(written)
    return [
        CaptionWord(token, begin_ms, until_ms, confidence, speaker)
        for token, begin_ms, until_ms, speaker in zip(written, times, times[1:], speakers, strict=False)
    ]


def results(
    channel: Sequence[int],
    start_ms: int,
    end_ms: int,
    text: Text,
    metadata: dict[str, Any],
    *,
    is_final: bool,
    speech_final: bool = False,
    from_finalize: bool = False,
) -> str:
    """Return the result of the audio between two times. `channel` is its number and the number of channels."""
    return json.dumps(
        {
            "type": "Results",
            "channel_index": channel,
            "start": seconds(start_ms),
            "duration": seconds(end_ms - start_ms),
            "is_final": is_final,
            "speech_final": speech_final,
            "from_finalize": from_finalize,
            "channel": {"alternatives": [text.alternative()]},
            "metadata": metadata,
        }
    )


def result_metadata(request_id: str, model: Model) -> dict[str, Any]:
    """Return the `metadata` of a live result."""
    return {"request_id": request_id, "model_info": model.info, "model_uuid": model.uuid}


def speech_started(channel: Sequence[int], at_ms: int) -> str:
    """Return the message that somebody began to speak."""
    return json.dumps({"type": "SpeechStarted", "channel": channel, "timestamp": seconds(at_ms)})


def utterance_end(channel: Sequence[int], last_word_end_ms: int) -> str:
    """Return the message that nobody has said a word for a while."""
    return json.dumps({"type": "UtteranceEnd", "channel": channel, "last_word_end": seconds(last_word_end_ms)})


def metadata(request_id: str, sha256: str, created: str, received_ms: int, n_channels: int) -> str:
    """Return the last message of a stream. `sha256` is that of its audio, in hex."""
    return json.dumps(
        {
            "type": "Metadata",
            "transaction_key": "deprecated",
            "request_id": request_id,
            "sha256": sha256,
            "created": created,
            "duration": seconds(received_ms),
            "channels": n_channels,
        }
    )


def configured(request_id: str, keyterms: Sequence[str] | None) -> str:
    """Return the answer to a Configure that was executed. `keyterms` is None if it did not change them."""
    shape: dict[str, Any] = {"type": "ConfigureSuccess", "request_id": request_id}
    return json.dumps(shape if keyterms is None else shape | {"keyterms": list(keyterms)})


def too_many_keyterms(request_id: str, description: str) -> str:
    """Return the answer to a Configure that was refused."""
    return json.dumps(
        {"type": "ConfigureFailure", "request_id": request_id, "code": TOO_MANY_KEYTERMS, "description": description}
    )


def error(variant: str, description: str, message: str) -> str:
    """Return the message that something is wrong."""
    return json.dumps({"type": "Error", "variant": variant, "description": description, "message": message})


def code_of(error: LivecaptionError) -> str:
    """Return Deepgram's code of a fatal error; for an error that Deepgram has no code for, that of livecaption."""
    if isinstance(error, InvalidAudio):
        return UNDECODABLE
    if error.code == "idle_timeout":
        return NOTHING_RECEIVED
    return error.code if error.http_status < 500 else SERVER_FAULT


def refusal(error: LivecaptionError, request_id: str) -> HttpAnswer:
    """Answer a request that is refused before the upgrade, or that is no WebSocket."""
    code = ERROR_CODES.get(error.http_status, error.code.upper())
    body = {"err_code": code, "err_msg": error.message, "request_id": request_id}
    own = {REQUEST_ID_HEADER: request_id, "dg-error": _header_value(error.message)}
    return HttpAnswer(error.http_status, json.dumps(body), refusal_headers(error, "Token") | own)


def _header_value(text: str) -> str:
    """Return text that a header can have: no line ends, and no character that HTTP has no place for."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)


def _bare(word: str) -> str:
    """Return the word in lower case, without the punctuation around it; empty: it is punctuation alone."""
    begin, end = 0, len(word)
    while begin < end and _is_punctuation(word[begin]):
        begin += 1
    while begin < end and _is_punctuation(word[end - 1]):
        end -= 1
    return word[begin:end].lower()


def _is_punctuation(character: str) -> bool:
    return character not in SYMBOLS and unicodedata.category(character).startswith("P")
