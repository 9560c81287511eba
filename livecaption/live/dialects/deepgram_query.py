"""Read the options of a Deepgram request from the query of its address. Pure.

Names that are not read here are ignored, because clients send many that change nothing in captions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from livecaption.audio.formats import CONTAINER, AudioFormat, ChannelMode
from livecaption.captions.language_names import language_code
from livecaption.errors import InvalidMessage
from livecaption.events import MAX_SPEAKERS
from livecaption.live.dialects.json_messages import is_text
from livecaption.pipeline.options import StreamOptions
from livecaption.recognition import TranscriptionOptions
from livecaption.speech.endpointing import RECORDINGS, EndpointingConfig

ENCODINGS = {"linear16": "pcm_s16le", "linear32": "pcm_f32le", "mulaw": "mulaw", "alaw": "alaw"}
"""Encodings of PCM by Deepgram's names. `linear32` is floating-point."""
CONTAINERS = ("opus", "ogg-opus", "webm", "webm-opus", "flac", "mp3", "aac", "wav", "amr-nb", "amr-wb")
"""Encodings that are decoded as containers, which are recognised by their first bytes."""
G711_RATE_HZ = 8000
"""The rate of mu-law and A-law if the client names none (ITU-T G.711)."""
WORDS = {"true": True, "false": False}
FLAGS = WORDS | {"1": True, "0": False}
MIN_ENDPOINTING_MS = 300
"""Shortest silence in ms that ends an utterance. Shorter: Whisper gets pieces of sentences, and makes more mistakes.
Longer: a client that asks for less waits longer. Clients of Deepgram send 10 to 500, and 25 is common. Deepgram's
models go on behind such a silence; an utterance of Whisper does not."""
MAX_ENDPOINTING_MS = 10_000
MAX_KEYTERMS = 100
MAX_KEYTERM_CHARACTERS = 100
SPEAKER_MODELS = ("latest", "v1", "v2")
"""Values of `diarize_model`, for which speakers are distinguished; a stream may name the first two."""
MANY_LANGUAGES = "multi"
DEFAULT_LANGUAGE = "en"


@dataclass(frozen=True, slots=True)
class DeepgramOptions:
    """The options of one live stream.

    Attributes:
        stream: those that the captions depend on.
        interim_results: whether results may come that are not final.
        formatted: whether the text has punctuation and capitals.
        endpoints: whether results say `speech_final`.
        utterance_end_ms: time without a word behind which an UtteranceEnd comes; None: none comes.
        vad_events: whether a SpeechStarted comes.
        detects_language: whether results name the language.
    """

    stream: StreamOptions
    interim_results: bool = False
    formatted: bool = False
    endpoints: bool = True
    utterance_end_ms: int | None = None
    vad_events: bool = False
    detects_language: bool = False

    @property
    def n_channels(self) -> int:
        """The number of channels of the audio, as results name it."""
        return self.stream.n_channels_apart or 1

    def with_keyterms(self, keyterms: Sequence[str]) -> "DeepgramOptions":
        """Return the options with these words instead of those so far."""
        transcription = replace(self.stream.transcription, hotwords=tuple(keyterms))
        return replace(self, stream=replace(self.stream, transcription=transcription))


def live_options(parameters: Sequence[tuple[str, str]], endpointing: EndpointingConfig) -> DeepgramOptions:
    """Read the options of a live stream.

    Args:
        parameters: names and values of the query, in its order.
        endpointing: the server's own settings, which the client may change.

    Raises:
        InvalidMessage: an option has a wrong value, or the audio cannot be decoded.
    """
    query = dict(reversed(parameters))  # of several values, the first one counts
    interim_results = _flag(query, "interim_results")
    language = language_of(query.get("language"))
    channel_mode: ChannelMode = "separate" if _flag(query, "multichannel") else "mix"
    silence = query.get("endpointing", "true").lower()
    return DeepgramOptions(
        StreamOptions(
            audio=_audio(query, channel_mode),
            transcription=TranscriptionOptions(language, words=True, hotwords=keyterms_of(parameters)),
            partials=interim_results,
            endpointing=endpointing if silence in WORDS else _endpointing(endpointing, _ms(query, "endpointing")),
            channel_mode=channel_mode,
            counts_pauses=False,
            speakers=_speakers(query, SPEAKER_MODELS[:2]),
        ),
        interim_results=interim_results,
        formatted=_flag(query, "punctuate") or _flag(query, "smart_format"),
        endpoints=WORDS.get(silence, True),
        utterance_end_ms=_utterance_end_ms(query),
        vad_events=_flag(query, "vad_events"),
        detects_language=language is None,
    )


@dataclass(frozen=True, slots=True)
class RecordedOptions:
    """The options of one recording.

    Attributes:
        stream: those that the text depends on.
        formatted: whether the text has punctuation and capitals.
        utterances: whether the answer has the utterances too.
        paragraphs: whether the answer has the paragraphs and sentences too.
        detects_language: whether the answer names the language.
    """

    stream: StreamOptions
    formatted: bool = False
    utterances: bool = False
    paragraphs: bool = False
    detects_language: bool = False


def recorded_options(parameters: Sequence[tuple[str, str]]) -> RecordedOptions:
    """Read the options of a recording.

    Args:
        parameters: names and values of the query, in its order.

    Raises:
        InvalidMessage: an option has a wrong value, or the audio cannot be decoded.
    """
    query = dict(reversed(parameters))  # of several values, the first one counts
    wanted = [value.lower() for name, value in parameters if name == "detect_language"]
    expected = tuple(code for value in wanted if value not in FLAGS and (code := language_code(value)))
    detects = any(FLAGS.get(value, True) for value in wanted)
    language = None if detects else language_of(query.get("language"))
    channel_mode: ChannelMode = "separate" if _flag(query, "multichannel") else "mix"
    paragraphs = _flag(query, "paragraphs")
    return RecordedOptions(
        StreamOptions(
            audio=_audio(query, channel_mode),
            transcription=TranscriptionOptions(language, expected, words=True, hotwords=keyterms_of(parameters)),
            partials=False,
            endpointing=RECORDINGS,
            keep=False,
            channel_mode=channel_mode,
            speakers=_speakers(query, SPEAKER_MODELS),
        ),
        formatted=paragraphs or _flag(query, "punctuate") or _flag(query, "smart_format"),
        utterances=_flag(query, "utterances"),
        paragraphs=paragraphs,
        detects_language=language is None,
    )


def language_of(given: str | None) -> str | None:
    """Return the ISO 639-1 code of the language, or None if it is to be detected."""
    return None if (given or "").lower() == MANY_LANGUAGES else language_code(given or DEFAULT_LANGUAGE)


def keyterms_of(parameters: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return the words that are likely to occur, from `keyterm` and `keywords`.

    A keyword may have a boost behind a colon. It is left out, and a keyword with a boost below 0 too.

    Raises:
        InvalidMessage: there are too many, or one is too long or no valid Unicode.
    """
    terms = []
    if not all(is_text(value) for _, value in parameters):
        raise InvalidMessage("the address is not valid Unicode")
    for name, value in parameters:
        if name == "keyterm":
            terms.append(value)
        elif name == "keywords":
            word, boost = _split_boost(value)
            if boost > 0:
                terms.append(word)
    return checked_keyterms(terms)


def checked_keyterms(terms: Sequence[str]) -> tuple[str, ...]:
    """Return the words without the empty ones.

    Raises:
        InvalidMessage: there are too many, or one is too long.
    """
    terms = [term.strip() for term in terms if term.strip()]
    if len(terms) > MAX_KEYTERMS or any(len(term) > MAX_KEYTERM_CHARACTERS for term in terms):
        raise InvalidMessage(
            f"at most {MAX_KEYTERMS} keyterms and keywords of {MAX_KEYTERM_CHARACTERS} characters are possible",
            fatal=False,
        )
    return tuple(terms)


def _split_boost(keyword: str) -> tuple[str, float]:
    word, colon, boost = keyword.rpartition(":")
    try:
        return (word, float(boost)) if colon else (keyword, 1.0)
    except ValueError:
        return keyword, 1.0


def _audio(query: Mapping[str, str], channel_mode: ChannelMode) -> AudioFormat:
    name = query.get("encoding", "").lower()
    if not name or name in CONTAINERS:
        # Of a container this is the largest number of channels that are kept apart.
        return AudioFormat(CONTAINER, channels=_number(query, "channels", 2) if channel_mode == "separate" else 1)
    if name not in ENCODINGS:
        raise InvalidMessage(
            f"the encoding must be one of {', '.join([*ENCODINGS, *CONTAINERS])}; without one, the audio must be in a "
            "container, such as WAV, WebM or Ogg",
            code="unsupported_encoding",
        )
    if "sample_rate" not in query and name.startswith("linear"):
        raise InvalidMessage(f"the encoding {name} needs a sample_rate", code="unsupported_sample_rate")
    return AudioFormat(ENCODINGS[name], _number(query, "sample_rate", G711_RATE_HZ), _number(query, "channels", 1))


def _endpointing(default: EndpointingConfig, silence_ms: int) -> EndpointingConfig:
    silence_ms = min(max(silence_ms, MIN_ENDPOINTING_MS), MAX_ENDPOINTING_MS)
    return replace(default, hangover_ms=silence_ms, mid_phrase_hangover_ms=silence_ms)


def _utterance_end_ms(query: Mapping[str, str]) -> int | None:
    given = query.get("utterance_end_ms", "false")
    return None if given.lower() == "false" else _ms(query, "utterance_end_ms")


def _speakers(query: Mapping[str, str], models: Sequence[str]) -> int:
    """Return the largest number of speakers; 0: they are not distinguished."""
    if "diarize_model" not in query:
        return MAX_SPEAKERS if _flag(query, "diarize") else 0
    if query["diarize_model"].lower() not in models:
        raise InvalidMessage(f"diarize_model must be {' or '.join(models)}")
    return MAX_SPEAKERS


def _flag(query: Mapping[str, str], name: str) -> bool:
    """Return a value that is false unless it is given. Clients send it in any case."""
    try:
        return FLAGS[query.get(name, "false").lower()]
    except KeyError:
        raise InvalidMessage(f"{name} must be true or false") from None


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    try:
        return int(query.get(name, default))
    except ValueError:
        raise InvalidMessage(f"{name} must be an integer") from None


def _ms(query: Mapping[str, str], name: str) -> int:
    if not query[name].isascii() or not query[name].isdecimal():
        raise InvalidMessage(f"{name} must be a number of milliseconds")
    return int(query[name][:9])
