"""Analyze windows: find their speech and compute their features, only where that is not done yet.

The windows of an utterance begin with the same audio. What was computed of it comes with each window as `Analysis`, and
the answer has what was computed in addition. So each second of a stream is analyzed once, whichever worker gets the
window. Figures: docs/decisions/0055-analyzed-once.md.
"""

import math
from dataclasses import replace
from typing import TypeVar

import numpy as np

from livecaption.engine.features import LogMel
from livecaption.engine.level import usual_gain
from livecaption.engine.speech_detection import Speech, SpeechDetector, speech_of
from livecaption.recognition import CHUNK_SAMPLES, Analysis, PrecedingUtterance, Window

Part = TypeVar("Part", Window, PrecedingUtterance)


class Analyzer:
    """Analyzes windows for an engine whose features have `n_mels` bands. It keeps nothing between windows."""

    def __init__(self, n_mels: int) -> None:
        self._n_mels = n_mels
        self._detector = SpeechDetector()
        self.log_mel = LogMel(n_mels)

    def analyze(self, window: Window) -> tuple[Window, Speech, Analysis | None]:
        """Return the window with its whole analysis, its speech, and what is new of the analysis.

        Nothing is new of a window that is shorter than its analysis.
        """
        window = self._usable(window)
        if window.preceding is not None:
            window = replace(window, preceding=self._usable(window.preceding))
        samples, known = window.samples, window.analysis
        judged = self._detector.analyze(samples, known)
        n_whole = len(samples) // CHUNK_SAMPLES
        new = None
        if known is None or len(known.speech) <= n_whole:
            bands = self.log_mel.whole_frames(samples, 0 if known is None else len(known.bands))
            new = Analysis(judged.speech[judged.n_known : n_whole], judged.state, judged.peak, bands, judged.n_known)
        analysis = known if new is None else new if known is None else known.then(new)
        return replace(window, analysis=analysis), speech_of(judged.speech), new

    def _usable(self, part: Part) -> Part:
        """Return the part without its analysis, if that is of a model with other bands."""
        if part.analysis is None or part.analysis.bands.shape[1] == self._n_mels:
            return part
        return replace(part, analysis=None)


def at_usual_level(window: Window) -> Window:
    """Return the window, and the preceding utterance, with speech that is soft amplified."""
    window = _amplified(window)
    return window if window.preceding is None else replace(window, preceding=_amplified(window.preceding))


def _amplified(part: Part) -> Part:
    gain = usual_gain(part.samples)
    if gain == 1.0:
        return part
    analysis = part.analysis
    if analysis is not None:
        analysis = replace(analysis, bands=analysis.bands + np.float32(2 * math.log10(gain)))
    return replace(part, samples=part.samples * np.float32(gain), analysis=analysis)
