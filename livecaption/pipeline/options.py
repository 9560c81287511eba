"""The beginning of a stream: the options of its publisher, and the state that an earlier server left."""

from dataclasses import dataclass, field, replace

from livecaption.audio.formats import AudioFormat
from livecaption.errors import InvalidMessage
from livecaption.events import Final, HotwordUse
from livecaption.pipeline.hotwords import hotword_use
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

    @property
    def hotword_use(self) -> HotwordUse | None:
        """The number of hotwords that are used; None: there are none."""
        return hotword_use(self.transcription.hotwords)

    def for_model(self, model: ModelDescription) -> "StreamOptions":
        """Return the options with the language of a model that has only one.

        Raises:
            InvalidMessage: the model cannot do what the stream needs: `unsupported_language` or `unsupported_task`.
        """
        asked = self.transcription
        if not {asked.language or model.languages[0], *asked.languages} <= set(model.languages):
            supported = ", ".join(sorted(model.languages))
            raise InvalidMessage(
                f"the model {model.model} does not support this language, but {supported}",
                code="unsupported_language",
            )
        if asked.task == "translate" and not model.translates:
            raise InvalidMessage(f"the model {model.model} cannot translate", code="unsupported_task")
        only = model.languages[0] if len(model.languages) == 1 else None
        return replace(self, transcription=replace(asked, language=asked.language or only))


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
