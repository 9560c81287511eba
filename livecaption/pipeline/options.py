"""The beginning of a stream: the options of its publisher, and the state that an earlier server left."""

from dataclasses import dataclass, field

from livecaption.audio.formats import AudioFormat
from livecaption.errors import InvalidMessage
from livecaption.events import Final
from livecaption.recognition import ModelDescription, TranscriptionOptions
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

    def check_model(self, model: ModelDescription) -> None:
        """Judge whether this model can do what the stream needs.

        Raises:
            InvalidMessage: `unsupported_language` or `unsupported_task`.
        """
        language = self.transcription.language
        if language is not None and language not in model.languages:
            raise InvalidMessage(
                f"the model {model.model} does not know the language asked for", code="unsupported_language"
            )
        if self.transcription.task == "translate" and not model.translates:
            raise InvalidMessage(f"the model {model.model} cannot translate", code="unsupported_task")


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
