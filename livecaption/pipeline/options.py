"""The beginning of a stream: the options of its publisher, and the state that an earlier server left."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from livecaption.audio.formats import CONTAINER, AudioFormat, ChannelMode
from livecaption.errors import InvalidMessage
from livecaption.events import Final, HotwordUse
from livecaption.pipeline.hotwords import hotword_use
from livecaption.recognition import ModelDescription, TranscriptionOptions
from livecaption.speech.endpointing import EndpointingConfig


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """The options of one stream, as its publisher requested them.

    Without `keep`, nothing of the stream is stored. With the channels of a container apart, `audio.channels` is the
    largest number of channels that it may have. Finals are translated into the languages of `tracks`. An utterance
    in which somebody speaks ends after `patience_ms` without audio; None: after the time that the server has set.
    With `counts_pauses`, the times of captions count time in which no audio came, as `pipeline.arrival` does. At most
    `speakers` are distinguished; 0: they are not. If the channels are apart, each of them is a speaker.
    """

    audio: AudioFormat = field(default_factory=AudioFormat)
    transcription: TranscriptionOptions = field(default_factory=TranscriptionOptions)
    partials: bool = True
    endpointing: EndpointingConfig = field(default_factory=EndpointingConfig)
    title: str = ""
    private: bool = False
    keep: bool = True
    channel_mode: ChannelMode = "mix"
    tracks: tuple[str, ...] = ()
    patience_ms: int | None = None
    counts_pauses: bool = True
    speakers: int = 0

    @property
    def format(self) -> str:
        """The format of the audio in a few words, for the log."""
        audio = self.audio
        return f"{audio.encoding} {audio.sample_rate_hz} Hz, {audio.channels} channels, {self.channel_mode}"

    @property
    def n_channels_apart(self) -> int | None:
        """The number of channels that are captioned apart from each other; None: they are mixed."""
        return self.audio.channels if self.channel_mode == "separate" else None

    @property
    def needs_voices(self) -> bool:
        """True if speakers are distinguished by their voices."""
        return self.speakers > 0 and self.channel_mode == "mix"

    @property
    def of_windows(self) -> TranscriptionOptions:
        """The options of its windows."""
        return replace(self.transcription, speakers=self.needs_voices)

    @property
    def hotword_use(self) -> HotwordUse | None:
        """The number of hotwords that are used; None: there are none."""
        return hotword_use(self.transcription.hotwords)

    def replaced_by(self, options: "StreamOptions", model: ModelDescription) -> "StreamOptions":
        """Return those options with what is fixed at the start: title, privacy, and whether anything is stored.

        Raises:
            InvalidMessage: they change what is fixed too: a container, or channels that are kept apart; or the model
                cannot do what they need. It is not fatal, because the stream can go on with its present options.
        """
        is_container = CONTAINER in (options.audio.encoding, self.audio.encoding)
        if (is_container and options.audio != self.audio) or options.n_channels_apart != self.n_channels_apart:
            raise InvalidMessage("a container and channels apart are fixed", code="unsupported_encoding", fatal=False)
        replaced = replace(options, title=self.title, private=self.private, keep=self.keep)
        return replaced.for_model(model, fatal=False)

    def for_model(self, model: ModelDescription, *, fatal: bool = True) -> "StreamOptions":
        """Return the options with the language of a model that has only one.

        Raises:
            InvalidMessage: the model cannot do what the stream needs: `unsupported_language`, `unsupported_task`,
                `unsupported_translation` or `unsupported_speakers`.
        """
        asked = self.transcription
        if not {asked.language or model.languages[0], *asked.languages} <= set(model.languages):
            supported = ", ".join(sorted(model.languages))
            raise InvalidMessage(
                f"the model {model.model} does not support this language, but {supported}",
                code="unsupported_language",
                fatal=fatal,
            )
        if asked.task == "translate" and not model.translates:
            raise InvalidMessage(f"the model {model.model} cannot translate", code="unsupported_task", fatal=fatal)
        if not set(self.tracks) <= set(model.tracks):
            offered = ", ".join(model.tracks) or "no language (--translate)"
            raise InvalidMessage(f"this server translates into {offered}", code="unsupported_translation", fatal=fatal)
        if self.needs_voices and not model.speakers:
            offered = "this server does not tell speakers apart (--speakers)"
            raise InvalidMessage(offered, code="unsupported_speakers", fatal=fatal)
        only = model.languages[0] if len(model.languages) == 1 else None
        return replace(self, transcription=replace(asked, language=asked.language or only))


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """The state of a stream that an earlier server began.

    Attributes:
        finals: all finals that the earlier server sent, in order.
        audio_ms: stream time from which audio is needed. All audio before it is transcribed or silent.
        transcribed_ms: end of the newest final's audio, of each channel that has one. The key is None if the channels
            are mixed.
    """

    finals: tuple[Final, ...] = ()
    audio_ms: int = 0
    transcribed_ms: Mapping[int | None, int] = field(default_factory=dict, hash=False)


STREAM_START = ResumePoint()
"""The resume point of a stream that no server has begun."""
