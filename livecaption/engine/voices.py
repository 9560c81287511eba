"""Find the voices in finals: stretches in which one person speaks, each with its embedding.

A network analyzes the speech of a final once. People who talk to each other leave no pause that ends an utterance, so a
final is cut at the gaps between words around which the voices differ. Both parts are cut the same way.

    prepare: speech of finals ─> a thread: network ─────┐
    compute: decoder, words aligned ─> gaps ─> cuts <───┘ ─> voices

The network runs on a thread of its own while the decoder computes. It is loaded when the first window asks for it, as
most publishers do not. If anything of this fails, finals go without voices: captions matter more.
Figures: docs/decisions/0061-voices.md.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from livecaption.audio import samples_of
from livecaption.engine.speaker_model import find_speaker_model
from livecaption.engine.speech_detection import Speech
from livecaption.engine.voice_model import AnalyzedSpeech, Span, VoiceModel, load_voice_model
from livecaption.ipc.config import EngineConfig
from livecaption.recognition import Voice, Window, Word

LEAST_MS = 1000
"""Least length in ms of the parts of a final. Less: their voices are not certain. More: short turns are lost."""
SIDE_MS = 3000
"""Audio in ms that is compared before and after a gap. Less: voices are less certain. More: earlier turns count too."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BegunVoices:
    """Speech that the network analyzes, or has analyzed.

    Attributes:
        begin_ms, end_ms: the speech, from the first sample of its window.
        analyzed: what was analyzed, and the cosine below which voices differ; None: the network could not be loaded.
    """

    begin_ms: int
    end_ms: int
    analyzed: "Future[tuple[AnalyzedSpeech, float] | None]"


def voices_of(config: EngineConfig) -> "VoiceFinder | None":
    """Return what finds voices with these settings; None: they do not allow it.

    A network that is not the installed one is loaded now, because nobody has checked it.

    Raises:
        EngineUnusable: the network is missing or damaged, or is none for voices.
    """
    if not config.speakers:
        return None
    file = find_speaker_model(config.speaker_model)
    if not config.speaker_model:
        return VoiceFinder(partial(load_voice_model, file))
    model = load_voice_model(file)
    return VoiceFinder(lambda: model)


class VoiceFinder:
    """Finds voices by the network that `load` returns, on the thread of this class."""

    def __init__(self, load: Callable[[], VoiceModel]) -> None:
        self._load = load
        self._thread = ThreadPoolExecutor(1, "voices")
        self._model: Future[VoiceModel | None] | None = None
        self._has_failed = False

    def begin(self, windows: Sequence[Window], speech: Sequence[Speech]) -> dict[int, BegunVoices]:
        """Let the network analyze the speech of finals that ask for speakers. Return at once, by their indices."""
        asking = [i for i, window in enumerate(windows) if window.options.speakers]
        if not asking:
            return {}
        if self._model is None:  # a partial comes first, mostly
            self._model = self._thread.submit(self._load_once)
        return {i: self._begin(self._model, windows[i], speech[i]) for i in asking if windows[i].is_final}

    def _load_once(self) -> VoiceModel | None:
        """Load the network. An exception that each final raised again would keep the audio of all of them."""
        try:
            return self._load()
        except Exception:
            self._note_failure()
            return None

    def _begin(self, model: "Future[VoiceModel | None]", window: Window, speech: Speech) -> BegunVoices:
        # Audio before and after the speech is not the speaker's.
        samples = window.samples[samples_of(speech.start_ms) : samples_of(speech.end_ms)]

        def analyze() -> tuple[AnalyzedSpeech, float] | None:
            loaded = model.result()  # this thread has loaded it before
            return (loaded.analyze(samples), loaded.same) if loaded else None

        return BegunVoices(speech.start_ms, speech.end_ms, self._thread.submit(analyze))

    def find(
        self, begun: Mapping[int, BegunVoices], words: Mapping[int, Sequence[Word]]
    ) -> dict[int, tuple[Voice, ...]]:
        """Return the voices of finals that have words, by the same indices as in both arguments."""
        return {i: self._find(each, words[i]) for i, each in begun.items() if words.get(i)}

    def _find(self, begun: BegunVoices, words: Sequence[Word]) -> tuple[Voice, ...]:
        try:
            found = begun.analyzed.result()
            return voices(*found, begun.begin_ms, begun.end_ms, words) if found else ()
        except Exception:
            self._note_failure()
            return ()

    def _note_failure(self) -> None:
        if not self._has_failed:
            logger.exception("finals go without voices")
        self._has_failed = True


def voices(
    analyzed: AnalyzedSpeech, same: float, begin_ms: int, end_ms: int, words: Sequence[Word]
) -> tuple[Voice, ...]:
    """Return the voices of a final, in order.

    Args:
        analyzed: its speech.
        same: cosine of neighbouring voices below which two people speak.
        begin_ms, end_ms: that speech, from the first sample of its window.
        words: its words, with times from the same sample on.
    """
    if end_ms <= begin_ms:
        return ()
    gaps = [(word.end_ms + after.start_ms) // 2 - begin_ms for word, after in pairwise(words)]
    spans = parts(analyzed, same, sorted(set(gaps)), (0, end_ms - begin_ms))
    embeddings = analyzed.voices(spans)
    return tuple(
        Voice(begin_ms + begin, begin_ms + end, embedding)
        for (begin, end), embedding in zip(spans, embeddings, strict=True)
        if np.isfinite(embedding).all()
    )


def parts(analyzed: AnalyzedSpeech, same: float, gaps: Sequence[int], whole: Span) -> list[Span]:
    """Cut a stretch at the gap around which the voices differ most, if two people speak, and then both parts.

    Args:
        analyzed: audio that the stretch is part of.
        same: cosine of neighbouring voices below which two people speak.
        gaps: times in ms at which it may be cut, in order.
        whole: the stretch.
    """
    begin, end = whole
    inner = [gap for gap in gaps if begin + LEAST_MS <= gap <= end - LEAST_MS]
    if not inner:
        return [whole]
    before = analyzed.voices([(max(begin, gap - SIDE_MS), gap) for gap in inner])
    after = analyzed.voices([(gap, min(end, gap + SIDE_MS)) for gap in inner])
    cosines: npt.NDArray[np.float32] = np.sum(before * after, axis=1)
    lowest = int(cosines.argmin())
    if not cosines[lowest] < same:
        return [whole]
    cut = inner[lowest]
    return parts(analyzed, same, gaps, (begin, cut)) + parts(analyzed, same, gaps, (cut, end))
