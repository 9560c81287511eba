"""The beginning of a stream: the options of its publisher, and the state that an earlier server left."""

from dataclasses import dataclass, field

from livecaption.audio.formats import AudioFormat
from livecaption.events import Final
from livecaption.recognition import TranscriptionOptions
from livecaption.speech.endpointing import EndpointingConfig


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """The options of one stream, as its publisher requested them."""

    audio: AudioFormat = field(default_factory=AudioFormat)
    transcription: TranscriptionOptions = field(default_factory=TranscriptionOptions)
    partials: bool = True
    endpointing: EndpointingConfig = field(default_factory=EndpointingConfig)
    title: str = ""
    private: bool = False


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """The state of a stream that an earlier server began.

    Attributes:
        finals: all finals that the earlier server sent, in order.
        audio_ms: stream time from which audio is needed. All audio before it is transcribed or silent.
    """

    finals: tuple[Final, ...] = ()
    audio_ms: int = 0


STREAM_START = ResumePoint()
"""The resume point of a stream that no server has begun."""
