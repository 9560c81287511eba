"""The protocol of vosk-server: binary audio, and exactly one reply to each message of it. Pure.

Clients block until the reply to a chunk is there, so nothing is ever sent unasked. What happens between two chunks
waits for the next one:

    {"config": {...}}   no reply
    audio               {"partial": "doors open"}, or one final: {"result": [...], "text": "Doors open at nine."}
    {"reset": 1}        one final, of all speech so far
    {"eof": 1}          the same, then the Close
"""

import json
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from livecaption.audio.formats import AudioFormat
from livecaption.captions.punctuation import without_punctuation
from livecaption.errors import InvalidMessage
from livecaption.events import CaptionWord, End, Event, Final, Flushed, Partial
from livecaption.live.dialects import native
from livecaption.live.dialects.address import FLAGS
from livecaption.live.dialects.closing import close_of
from livecaption.live.dialects.commands import Audio, Command, Configure, Control, Finish, Flush, Open, Reply
from livecaption.live.dialects.dialect import Handshake, Limits, Route
from livecaption.live.dialects.given import hotwords
from livecaption.live.dialects.json_messages import json_object
from livecaption.live.dialects.keys import shown_also_in_address
from livecaption.live.state import Ending
from livecaption.pipeline.options import StreamOptions
from livecaption.recognition import TranscriptionOptions
from livecaption.speech.endpointing import EndpointingConfig

DEFAULT_SAMPLE_RATE_HZ = 8000
"""vosk-server's own: clients that send no `config` record at this rate."""
LIMITS = Limits(max_text_bytes=64 * 1024, max_binary_bytes=1024 * 1024)
"""A list of a thousand phrases has some 20 KiB. 1 MiB are 65 s at 8 kHz."""
UNKNOWN_WORD = "[unk]"
"""Stands in a phrase list for all words that are not in it."""


class Vosk:
    """One client's conversation. Its session is open from the connection on.

    Args:
        endpointing: the server's own settings.
        punctuation: whether texts have punctuation and capitals.
    """

    protocol: ClassVar[str] = "vosk"
    resumable: ClassVar[bool] = False
    limits: ClassVar[Limits] = LIMITS
    claimed: str = ""
    claimed_room: str = ""

    def __init__(self, endpointing: EndpointingConfig, *, punctuation: bool = True) -> None:
        self._options = StreamOptions(
            audio=AudioFormat("pcm_s16le", DEFAULT_SAMPLE_RATE_HZ, 1),
            transcription=TranscriptionOptions(words=True),
            endpointing=endpointing,
        )
        self._punctuation = punctuation
        self._n_alternatives = 0
        self._has_audio = False
        self._is_over = False
        self._partials: dict[int, str] = {}  # by utterance, in order
        self._finals: deque[Final] = deque()
        self._owed: deque[bool] = deque()  # replies that wait for that to a reset, in order; True: to a reset

    def connected(self) -> list[Control]:
        """Open the session: a client may send nothing before its audio."""
        return [Open(self._options)]

    def receive(self, message: str | bytes) -> list[Command]:
        """See `Dialect.receive`. Messages behind `eof` are ignored, as is a `config` behind audio."""
        if self._is_over:
            return []
        if not isinstance(message, str):
            self._has_audio = True
            if self._owed:
                self._owed.append(False)
                return [Audio(message)]
            return [Audio(message), Reply(self._reply())]
        given = json_object(message)
        if "config" in given:
            return [] if self._has_audio else [Configure(self._configured(given["config"]))]
        if "eof" in given:
            self._is_over = True
            return [Finish()]
        if "reset" in given:
            self._owed.append(True)
            return [Flush()]
        raise InvalidMessage("config, eof or reset is expected", code="unknown_type")

    def encode(self, event: Event, seq: int | None) -> Sequence[str]:
        """See `Dialect.encode`. Only a reset and the end are answered by an event, because they wait for finals."""
        del seq
        match event:
            case Partial():
                self._partials[event.utterance] = event.text
            case Final():
                self._partials.pop(event.utterance, None)
                self._finals.append(event)
            case Flushed() if self._owed:
                return self._pay()
            case End():
                return [self._rest()]
        return []

    def tick(self, stream_ms: int) -> list[Control]:
        """Return nothing: a client expects nothing that it has not asked for."""
        del stream_ms
        return []

    def close(self, ending: Ending) -> tuple[int, str]:
        """See `Dialect.close`. The protocol has no message for errors."""
        return close_of(ending)

    def _configured(self, config: Any) -> StreamOptions:
        if not isinstance(config, dict):
            raise InvalidMessage("config must be an object")
        transcription, audio = self._options.transcription, self._options.audio
        if config.get("sample_rate") is not None:
            audio = replace(audio, sample_rate_hz=round(_number(config, "sample_rate")))
        if config.get("max_alternatives") is not None:
            self._n_alternatives = round(_number(config, "max_alternatives"))
        if "words" in config:
            transcription = replace(transcription, words=bool(config["words"]))
        if "phrase_list" in config:
            words = tuple(word for word in hotwords(config["phrase_list"]) if word != UNKNOWN_WORD)
            transcription = replace(transcription, hotwords=words)
        self._options = replace(self._options, audio=audio, transcription=transcription)
        return self._options

    def _reply(self) -> str:
        """Return the reply to one message of audio: the oldest final that was not sent yet, or what is said now."""
        if self._finals:
            return self._final([self._finals.popleft()])
        return json.dumps({"partial": self._text(" ".join(filter(None, self._partials.values())))})

    def _pay(self) -> list[str]:
        """Answer a reset, and the audio behind it up to the next one."""
        self._owed.popleft()
        replies = [self._rest()]
        while self._owed and not self._owed[0]:
            self._owed.popleft()
            replies.append(self._reply())
        return replies

    def _rest(self) -> str:
        finals, self._finals = list(self._finals), deque()
        return self._final(finals)

    def _final(self, finals: list[Final]) -> str:
        """Return several finals as one, because a client awaits one."""
        text = self._text(" ".join(final.text for final in finals if final.text))
        result = [self._word(word) for final in finals for word in final.words or ()]
        fields: dict[str, Any] = {"result": [word for word in result if word["word"]]} if result else {}
        if self._n_alternatives <= 0:
            return json.dumps({**fields, "text": text})
        confidence = min((final.confidence for final in finals), default=1.0)
        return json.dumps({"alternatives": [{"confidence": confidence, **fields, "text": text}]})

    def _word(self, word: CaptionWord) -> dict[str, Any]:
        return {
            "conf": word.confidence,
            "start": word.start_ms / 1000,
            "end": word.end_ms / 1000,
            "word": self._text(word.word),
        }

    def _text(self, text: str) -> str:
        return text if self._punctuation else without_punctuation(text)


def _number(config: dict[str, Any], name: str) -> float:
    """Return a number, which some clients send as text."""
    try:
        value = float(config[name])
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if isinstance(config[name], bool) or not math.isfinite(value):
        raise InvalidMessage(f"config.{name} must be a number")
    return value


def accept(handshake: Handshake, endpointing: EndpointingConfig) -> Vosk:
    """Begin a conversation. `?punctuation=false` gives the texts that Vosk's own models give.

    Raises:
        InvalidMessage: `punctuation` is neither true nor false.
    """
    given = handshake.query.get("punctuation", "true").lower()
    if given not in FLAGS:
        raise InvalidMessage("punctuation in the address must be true or false")
    return Vosk(endpointing, punctuation=FLAGS[given])


ROUTE = Route("/vosk", (), accept, native.refusal, shown_also_in_address)
