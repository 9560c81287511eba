"""Define what the server and an engine exchange: windows to transcribe, hypotheses, and the model's description."""

from dataclasses import dataclass, field, replace
from typing import Literal, NewType

import numpy as np
import numpy.typing as npt

RequestId = NewType("RequestId", int)
SessionId = NewType("SessionId", str)


def logged_id(name: str) -> str:
    """Return enough of a session's id, or of a room's name, to distinguish them in the log.

    The whole id or name admits readers, and must be in no log.
    """
    return name[:6]


Task = Literal["transcribe", "translate"]
TASKS: tuple[Task, ...] = ("transcribe", "translate")

Effort = Literal["full", "reduced"]
"""The computing that a window may take. Under load it is reduced: smaller beams, less context, no early finals."""

MAX_WINDOW_MS = 30_000
"""Whisper's encoder takes 30 s at a time (Radford et al. 2022, section 2.2)."""

MAX_BANDS = 128
"""Bands of the features, at most: those of large-v3. Smaller models have 80."""
FRAME_SAMPLES = 160
"""Samples from one frame of the features to the next, 10 ms."""
CHUNK_SAMPLES = 512
"""Samples of a chunk of the detector of speech, 32 ms."""
N_STATE = 256
"""Numbers in `Analysis.state`."""

SURE_LANGUAGE_MS = 2000
"""Length of a window in ms from which on its detected language is reliable. With `base` and recordings in nine
languages, 10 of 65 were wrong at 1.5 s, 2 of 64 at 2 s and none of 52 at 3 s:
docs/decisions/0031-language-of-each-utterance.md."""
MAX_EMBEDDING = 1024
"""Numbers in `Voice.embedding`, at most. Networks for voices have 192 to 512."""
MAX_VOICES = 30
"""Voices in a window, at most: one in each second."""
MAX_HOTWORD_TOKENS = 111
"""Tokens of hotwords that the decoder is given: half of the 223 that Whisper takes of earlier text. Further ones are
left out. More: a prompt has no place beside them."""


@dataclass(frozen=True, slots=True)
class TranscriptionOptions:
    """Options for the transcription of a window.

    Attributes:
        language: ISO 639-1 code; None: detect it in each window.
        languages: the languages to expect if it is detected; empty: all of the model.
        task: `transcribe` (same language) or `translate` (to English).
        words: whether times and confidences of the words of finals are wanted.
        prompt: text that the speaker is likely to continue, or said before; empty: none.
        hotwords: names and terms that are likely to occur; the first `MAX_HOTWORD_TOKENS` of them count.
        speakers: whether finals are to come with their words and voices, so that speakers can be distinguished.
    """

    language: str | None = None
    languages: tuple[str, ...] = ()
    task: Task = "transcribe"
    words: bool = False
    prompt: str = ""
    hotwords: tuple[str, ...] = ()
    speakers: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """Speech and features of the beginning of a window. An engine that gets them back computes only the rest.

    The server keeps them from one window of an utterance to the next, and does not interpret them.

    Attributes:
        speech: float32 [n_chunks], the probability of speech in each chunk of the detector.
        state: float32 [2, 128], the state of the detector's network after them.
        peak: the peak by which the window was amplified for the detector.
        bands: float32 [n_frames, n_mels], log10 of the power in each band of the features.
        first_chunk: number of earlier chunks whose `speech` stays valid.
    """

    speech: npt.NDArray[np.float32]
    state: npt.NDArray[np.float32]
    peak: float
    bands: npt.NDArray[np.float32]
    first_chunk: int = 0

    @property
    def n_bytes(self) -> int:
        """Size of its numbers."""
        return self.speech.nbytes + self.state.nbytes + self.bands.nbytes

    def then(self, more: "Analysis") -> "Analysis":
        """Return this with what was computed after it, as a copy; this alone if that does not follow.

        An engine whose features have other bands does not use this, and begins at the first chunk.
        """
        has_other_bands = more.bands.shape[1] != self.bands.shape[1]
        if more.first_chunk > (0 if has_other_bands else len(self.speech)):
            return self
        if has_other_bands:
            return more.copy()
        speech = np.concatenate([self.speech[: more.first_chunk], more.speech])
        return Analysis(speech, more.state.copy(), more.peak, np.concatenate([self.bands, more.bands]))

    def copy(self) -> "Analysis":
        """Return a copy that keeps no message alive: its numbers are views of the message that it came with."""
        return replace(self, speech=self.speech.copy(), state=self.state.copy(), bands=self.bands.copy())


@dataclass(frozen=True, slots=True, eq=False)
class PrecedingUtterance:
    """The utterance before a window. The engine transcribes both together, and the words of this one are given.

    Attributes:
        samples: float32 [n_samples], like those of the window, which follow immediately.
        text: its words.
        speech_end_ms: end of its speech, from its first sample on.
        next_start_ms: beginning of the window's speech, from the same sample on.
        n_gap: number of its last samples that are not its own, but silence up to the window.
        analysis: what an engine has computed of it, perhaps with audio after its own; None: nothing.
    """

    samples: npt.NDArray[np.float32]
    text: str
    speech_end_ms: int
    next_start_ms: int
    n_gap: int = 0
    analysis: Analysis | None = None


@dataclass(frozen=True, slots=True)
class TranslationTask:
    """The task to translate a final into `language` (ISO 639-1). `text` is the final's."""

    language: str
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Audio for an engine, and how to transcribe it.

    Attributes:
        samples: float32 [n_samples], mono, 16 kHz, -1..1; at most 30 s with those of `preceding`. Never modified, so
            they may be kept.
        options: how to transcribe it.
        is_final: True: a doubtful text is worth a second decoding. For a partial it is not.
        prefix: committed words, with which the text begins; empty: none yet.
        context: text before it, for a window without `preceding`; empty: none that helps.
        effort: how much computing it may take.
        preceding: the preceding utterance, if that helps; only with `options.language`.
        likely_language: the language of the newest text before it, if the language is detected; None: not known.
        translation: what to do instead of a transcription: translate the window, which is that of a final. Its language
            is in `options`.
        analysis: what an engine has computed of its beginning, perhaps with audio after its end; None: nothing.
    """

    samples: npt.NDArray[np.float32]
    options: TranscriptionOptions = field(default_factory=TranscriptionOptions)
    is_final: bool = True
    prefix: str = ""
    context: str = ""
    effort: Effort = "full"
    preceding: PrecedingUtterance | None = None
    likely_language: str | None = None
    translation: TranslationTask | None = None
    analysis: Analysis | None = None

    @property
    def n_encoder_samples(self) -> int:
        """Samples that the encoder gets: those of the preceding utterance and of the window."""
        return len(self.samples) + (len(self.preceding.samples) if self.preceding else 0)

    @property
    def n_bytes(self) -> int:
        """Size of its numbers in a message to an inference process or in the answer, whichever is larger.

        To the process go audio as 16 bits for each sample, and analyses. Back comes, at most, what was not analyzed.
        """
        parts = (self.analysis, self.preceding and self.preceding.analysis)
        sent = 2 * self.n_encoder_samples + sum(part.n_bytes for part in parts if part)
        n_frames = len(self.samples) // FRAME_SAMPLES - (len(self.analysis.bands) if self.analysis else 0)
        n_chunks = len(self.samples) // CHUNK_SAMPLES  # all of them, if the window has become louder
        return max(sent, 4 * (N_STATE + n_chunks + MAX_BANDS * max(0, n_frames)))


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a hypothesis.

    Attributes:
        text: the word with its punctuation, without surrounding space.
        start_ms, end_ms: from the first sample of the window.
        confidence: mean token probability, 0..1.
    """

    text: str
    start_ms: int
    end_ms: int
    confidence: float


@dataclass(frozen=True, slots=True, eq=False)
class Voice:
    """A stretch of a window in which one person speaks.

    Attributes:
        start_ms, end_ms: from the first sample of the window.
        embedding: float32 [n], of length 1: the direction is that of the voice. Two of one person are alike. It is
            biometric data, so it is kept in memory only, and never logged.
    """

    start_ms: int
    end_ms: int
    embedding: npt.NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """The engine's answer for one window.

    Attributes:
        text: the words, without surrounding space; empty if there was no speech.
        language: ISO 639-1 code, as given or detected.
        confidence: exp of the mean log probability of the tokens, 0..1.
        no_speech_probability: the model's own probability that nobody spoke, 0..1.
        words: filled only if the window asked for words or speakers.
        suspicious: True: the guard found a fault, and the text must not be trusted. Only for partials; a final is
            decoded again, and then accepted or emptied.
        runaway: True: the first text had no end or repeated itself. It is counted in any case.
        redone: True: the first text was not to be trusted, and the window was decoded once more. Only for finals.
        speech_end_ms: end of the last speech in the window; 0: there is none; None: no detector has judged.
        analysis: what the engine has computed of the window after `Window.analysis`; None: nothing that helps later.
        voices: in order, without overlap; only for a final whose window asked for speakers. Empty: none was clear.
    """

    text: str
    language: str
    confidence: float
    no_speech_probability: float
    words: tuple[Word, ...] = ()
    suspicious: bool = False
    runaway: bool = False
    redone: bool = False
    speech_end_ms: int | None = None
    analysis: Analysis | None = field(default=None, repr=False, compare=False)
    voices: tuple[Voice, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """The loaded model, for people and for `ready`.

    Attributes:
        model: short name, such as `tiny.en`.
        device: name of the device for people, such as `cpu` or `NVIDIA H200 (cuda:0)`.
        compute_type: such as `int8` or `float16`.
        languages: ISO 639-1 codes that the model supports.
        translates: whether the model can do the task `translate`.
        revision: commit of the Hugging Face hub; empty for other files.
        tracks: languages into which finals can be translated.
        speakers: whether the voices of finals can be distinguished.
    """

    model: str
    device: str
    compute_type: str
    languages: tuple[str, ...]
    translates: bool
    revision: str = ""
    tracks: tuple[str, ...] = ()
    speakers: bool = False


@dataclass(frozen=True, slots=True)
class BatchTime:
    """The time in s that an engine took for a batch of `n_windows` of one kind.

    Raises:
        ValueError: there is no such batch.
    """

    n_windows: int
    compute_s: float

    def __post_init__(self) -> None:
        if self.n_windows < 1 or self.compute_s < 0.0:
            raise ValueError("a batch has a window and takes time")


@dataclass(frozen=True, slots=True)
class EngineCosts:
    """The times that an engine measured while it loaded.

    Attributes:
        finals, partials: times of batches of each kind, in growing sizes; at least one of each.
        max_batch: windows that it takes in one batch, at most.

    Raises:
        ValueError: nothing was measured.
    """

    finals: tuple[BatchTime, ...]
    partials: tuple[BatchTime, ...]
    max_batch: int

    def __post_init__(self) -> None:
        if not self.finals or not self.partials or self.max_batch < 1:
            raise ValueError("an engine measures batches of both kinds")


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Memory of a GPU: the part that all processes use, and the total."""

    used_bytes: int
    total_bytes: int
