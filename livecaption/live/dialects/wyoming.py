"""The protocol of Wyoming, which Home Assistant speaks: one command is transcribed, and the connection ends. Pure.

    describe                                        info, also while the model loads
    transcribe, audio-start, audio-chunk ...        transcript-start, transcript-chunk ... (only appended to)
    audio-stop                                      transcript with the whole text, transcript-stop, the end

Home Assistant reads `transcript` and `error` only, and an `error` ends its command. So only fatal errors are sent.

The client decides when a command is over, unless the server is to do that: then the first final with text is the
transcript, and it comes while the client still sends audio.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.audio.formats import AudioFormat, PcmDecoder, Samples
from livecaption.audio.resampling import Resampler
from livecaption.audio.unsigned import widened
from livecaption.captions.appended import appended
from livecaption.captions.language_names import NAMES, language_code
from livecaption.errors import InvalidMessage, WrongState
from livecaption.events import End, ErrorReport, Event, Final, Partial, Ready, SpeechStart
from livecaption.live.dialects import native
from livecaption.live.dialects.closing import close_of
from livecaption.live.dialects.commands import Audio, Command, Control, Finish, Open, Reply
from livecaption.live.dialects.dialect import Limits
from livecaption.live.dialects.given import hotwords
from livecaption.live.dialects.json_messages import is_text
from livecaption.live.dialects.wyoming_events import MAX_EVENT_BYTES, MAX_LINE_BYTES, WyomingEvent, line_of, parse
from livecaption.live.state import Ending
from livecaption.pipeline.options import StreamOptions
from livecaption.recognition import TranscriptionOptions
from livecaption.speech.endpointing import EndpointingConfig

ENCODINGS = {1: "pcm_s16le", 2: "pcm_s16le", 3: "pcm_s24le", 4: "pcm_s32le"}
"""The encodings of samples by their width in bytes. Those of one byte are unsigned, and are widened before."""

MAX_FORMATS = 20
"""Formats of the chunks of one command. Each change takes 0.35 ms of the loop, and no client changes it on purpose."""
NO_SPEECH_MS = 15_000
"""Audio without speech after which the server ends a command itself: as long as Home Assistant waits by default."""
DEFAULT_MODEL = "tiny.en"
"""The model of a server whose settings name none."""

Model = tuple[str, Sequence[str]]
"""The name of the model, and the codes of its languages."""


class ChunkConverter:
    """Converts chunks of one format to float32 at 16 kHz, mono.

    Args:
        audio: rate, width in bytes, and number of channels.

    Raises:
        InvalidMessage: the format is not supported.
    """

    def __init__(self, audio: tuple[Any, Any, Any]) -> None:
        rate, width, channels = audio
        if type(width) is not int or width not in ENCODINGS:
            raise InvalidMessage("width must be 1, 2, 3 or 4 bytes", code="unsupported_encoding")
        self.audio = audio
        self._is_unsigned = width == 1
        self._decoder = PcmDecoder(AudioFormat(ENCODINGS[width], rate, channels))
        self._resampler = Resampler(rate)

    def push(self, data: bytes) -> Samples:
        """Return the samples so far. A sample that was cut waits for its rest."""
        return self._resampler.push(self._decoder.push(widened(data) if self._is_unsigned else data))

    def flush(self) -> Samples:
        """Return the rest, before a chunk of another format and at the end."""
        return self._resampler.flush()


class Wyoming:
    """One client's conversation. A session opens with the audio, and is the only one of its connection.

    Args:
        endpointing: the server's own settings.
        model: returns what can be transcribed now.
        ends_commands: whether the server decides when a command is over.
    """

    protocol: ClassVar[str] = "wyoming"
    resumable: ClassVar[bool] = False
    limits: ClassVar[Limits] = Limits(max_text_bytes=MAX_LINE_BYTES, max_binary_bytes=MAX_EVENT_BYTES)
    claimed: str = ""
    claimed_room: str = ""

    def __init__(
        self, endpointing: EndpointingConfig, model: Callable[[], Model], *, ends_commands: bool = False
    ) -> None:
        self._endpointing = endpointing
        self._ends_commands = ends_commands
        self._model = model
        self._transcription = TranscriptionOptions()
        self._is_open = False
        self._is_over = False
        self._converter: ChunkConverter | None = None
        self._n_formats = 0
        self._awaited: deque[int] = deque()  # utterances without a final
        self._sent = ""  # of the text of the oldest one
        self._texts: list[str] = []
        self._language: str | None = None
        self._is_answered = False

    def connected(self) -> list[Control]:
        """Return nothing: the first event may only ask what the server can do."""
        return []

    def receive(self, message: str | bytes) -> list[Command]:
        """See `Dialect.receive`. Events of other services are ignored, and all behind `audio-stop`."""
        if isinstance(message, str):
            raise InvalidMessage("events are bytes")
        event = parse(message)
        if self._is_over:
            return []
        if self._is_answered:
            return self._stop()
        match event.type:
            case "describe":
                return [Reply(line_of("info", **info(*self._model(), ends_commands=self._ends_commands)))]
            case "ping":
                return [Reply(line_of("pong", **_text(event)))]
            case "transcribe":
                self._ask(event.data)
            case "audio-start":
                return self._start(event.data)
            case "audio-chunk":
                return [*self._start(event.data), *self._convert(event)]
            case "audio-stop":
                return self._stop()
        return []

    def encode(self, event: Event, seq: int | None) -> Sequence[bytes]:
        """See `Dialect.encode`."""
        del seq
        match event:
            case Ready():
                return [line_of("transcript-start", **_named(event.language))]
            case SpeechStart():
                self._awaited.append(event.utterance)
            case Partial() if self._awaited and self._awaited[0] == event.utterance:
                return self._append(event.stable)
            case Final():
                return self._complete(event)
            case ErrorReport(fatal=True):
                self._is_answered = True
                return [line_of("error", text=event.message, code=event.code)]
            case End():
                return self._answer()
        return []

    def tick(self, stream_ms: int) -> list[Control]:
        """End a command that the server has answered, or in which nobody speaks, if that is its task."""
        nobody_speaks = not self._awaited and stream_ms >= NO_SPEECH_MS
        if self._is_over or not self._ends_commands or not (self._is_answered or nobody_speaks):
            return []
        self._is_over = True
        return [Finish()]

    def close(self, ending: Ending) -> tuple[int, str]:
        """See `Dialect.close`. TCP has no codes, so they are for the log only."""
        return close_of(ending)

    def _ask(self, data: dict[str, Any]) -> None:
        if self._is_open:
            raise WrongState("transcribe comes before the audio")
        language: Any = data.get("language")
        code = language_code(language[: native.MAX_LANGUAGE_CHARACTERS]) if is_text(language) else None
        # The names are more important, and the first words are those that count.
        words = (*hotwords(data.get("transcript_names")), *hotwords(data.get("transcript_terms")))
        self._transcription = TranscriptionOptions(code, hotwords=words[: native.MAX_HOTWORDS])

    def _start(self, data: dict[str, Any]) -> list[Command]:
        """Take the format of the audio, which each chunk names again. Open the session with the first one."""
        audio = (data.get("rate"), data.get("width"), data.get("channels"))
        rest: list[Command] = []
        if self._converter is None or self._converter.audio != audio:
            self._n_formats += 1
            if self._n_formats > MAX_FORMATS:
                raise InvalidMessage("the format of the audio changes too often", code="unsupported_encoding")
            converter = ChunkConverter(audio)
            rest = self._flush()
            self._converter = converter
        if self._is_open:
            return rest
        return [self._opening()]

    def _opening(self) -> Open:
        self._is_open = True
        audio = AudioFormat("pcm_f32le", SAMPLE_RATE_HZ, 1)
        return Open(StreamOptions(audio=audio, transcription=self._transcription, endpointing=self._endpointing))

    def _convert(self, event: WyomingEvent) -> list[Command]:
        assert self._converter is not None  # because of `_start`
        return _audio(self._converter.push(event.payload))

    def _flush(self) -> list[Command]:
        return [] if self._converter is None else _audio(self._converter.flush())

    def _stop(self) -> list[Command]:
        """End the session. A client that sends no audio gets an empty transcript."""
        opening = [] if self._is_open else [self._opening()]
        self._is_over = True
        return [*opening, *self._flush(), Finish()]

    def _complete(self, final: Final) -> list[bytes]:
        if self._awaited:
            self._awaited.popleft()
        sent = self._append(final.text)
        self._sent = ""
        if final.text:
            self._texts.append(final.text)
            self._language = final.language or self._language
        return [*sent, *self._answer()] if self._texts and self._ends_commands else sent

    def _answer(self) -> list[bytes]:
        """Return the transcript, unless there was an answer before."""
        if self._is_answered:
            return []
        self._is_answered = True
        text = " ".join(self._texts)
        return [line_of("transcript", text=text, **_named(self._language)), line_of("transcript-stop")]

    def _append(self, text: str) -> list[bytes]:
        """Return what is new in the text of the oldest utterance without a final."""
        new = appended(self._sent, text)
        if not new:
            return []
        gap = " " if self._texts and not self._sent else ""
        self._sent += new
        return [line_of("transcript-chunk", text=gap + new)]


def info(model: str, languages: Sequence[str], *, ends_commands: bool) -> dict[str, Any]:
    """Return the data of `info`: one program that transcribes, with one model."""
    own = {
        "name": "livecaption",
        "attribution": {"name": "livecaption", "url": ""},
        "installed": True,
        "description": "Live captions",
        "version": None,
    }
    described = {
        "name": model,
        "attribution": {"name": "OpenAI Whisper", "url": "https://github.com/openai/whisper"},
        "installed": True,
        "description": model,
        "version": None,
        "languages": list(languages),
    }
    asr = {
        **own,
        "models": [described],
        "supports_transcript_streaming": True,
        "requires_external_vad": not ends_commands,
    }
    others: dict[str, list[object]] = {name: [] for name in ("tts", "handle", "intent", "wake", "mic", "snd")}
    return {"asr": [asr], **others}


def likely_model(name: str) -> Model:
    """Return what a model can probably do that is not loaded yet. Home Assistant hides one without languages."""
    short = name.rstrip("/").rpartition("/")[2] or DEFAULT_MODEL
    return short, ("en",) if ".en" in short else tuple(NAMES)


def _audio(samples: Samples) -> list[Command]:
    return [Audio(samples.tobytes())] if len(samples) else []


def _named(language: str | None) -> dict[str, str]:
    return {"language": language} if language else {}


def _text(event: WyomingEvent) -> dict[str, str]:
    text = event.data.get("text")
    return {"text": text} if is_text(text) else {}
