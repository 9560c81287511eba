"""Each second of audio is analyzed once, however often it is transcribed."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from livecaption.engine import speech_detection
from livecaption.engine.analysis import Analyzer, at_usual_level
from livecaption.engine.level import USUAL_PEAK
from livecaption.evaluation import virtual_time
from livecaption.evaluation.bench import load_recordings
from livecaption.evaluation.clips import choose, read_manifest
from livecaption.pipeline.options import StreamOptions
from livecaption.recognition import CHUNK_SAMPLES, Effort, Hypothesis, PrecedingUtterance, Window
from livecaption.scheduling.load_control import ServiceLevel
from livecaption.scheduling.request import Request

DATA = Path(__file__).parents[1] / "data"
N_BANDS = 80


class CountingSession:
    """A session of ONNX Runtime that counts the chunks."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.n_chunks = 0

    def run(self, outputs: None, inputs: dict[str, Any]) -> Any:
        self.n_chunks += len(inputs["input"])
        return self._session.run(outputs, inputs)


@pytest.fixture(scope="module")
def speech() -> npt.NDArray[np.float32]:
    samples, _ = soundfile.read(DATA / "jfk.flac", dtype="float32")
    return samples


@pytest.fixture
def analyzer() -> Analyzer:
    return Analyzer(N_BANDS)


@pytest.fixture
def session(analyzer: Analyzer, monkeypatch: pytest.MonkeyPatch) -> CountingSession:
    counting = CountingSession(analyzer._detector._session)
    monkeypatch.setattr(analyzer._detector, "_session", counting)
    return counting


def test_a_growing_window_is_analyzed_like_a_new_one(analyzer: Analyzer, speech: npt.NDArray[np.float32]) -> None:
    """Also while it becomes louder, as its beginning was amplified too much before."""
    speech = speech * np.linspace(0.1, 1, len(speech), dtype=np.float32)
    growing = Window(speech[:CHUNK_SAMPLES])
    for end in (*range(13_600, len(speech), 13_600), len(speech)):
        growing, found, _ = analyzer.analyze(replace(growing, samples=speech[:end]))
        whole, expected, _ = analyzer.analyze(Window(speech[:end]))
        np.testing.assert_allclose(growing.analysis.bands, whole.analysis.bands, atol=1e-2)
        np.testing.assert_allclose(growing.analysis.speech, whole.analysis.speech, atol=1e-4)
        assert (found.total_ms, found.end_ms, found.pause_ms) == (
            expected.total_ms,
            expected.end_ms,
            expected.pause_ms,
        )
        assert growing.analysis.peak == np.abs(speech[:end]).max()


def test_an_answer_has_the_new_part_of_the_analysis(analyzer: Analyzer, speech: npt.NDArray[np.float32]) -> None:
    speech = speech[65_000:].copy()
    speech[0] = 1.0  # so that it does not become louder
    first, _, analysis = analyzer.analyze(Window(speech[:16_000]))
    longer, _, new = analyzer.analyze(Window(speech[:24_000], analysis=analysis))
    _, _, nothing = analyzer.analyze(Window(speech[:20_000], analysis=longer.analysis))
    assert nothing is None
    assert (analysis.first_chunk, new.first_chunk) == (0, 31)
    assert (len(analysis.speech), len(new.speech)) == (31, 15)
    assert (len(first.analysis.bands), len(new.bands)) == (99, 50)


@pytest.mark.parametrize("n_samples", [21_000, 31_000, 31_744, 31_800], ids=str)
@pytest.mark.parametrize("door", [True, False], ids=["a slammed door follows", "speech goes on"])
def test_a_window_is_judged_without_the_audio_after_its_end(
    analyzer: Analyzer, speech: npt.NDArray[np.float32], n_samples: int, *, door: bool
) -> None:
    """A final may end before the newest partial did. At the gain of a door, its soft speech would be silence."""
    audio = speech[128_000:160_200] * np.float32(0.02)
    audio[0] = np.abs(audio).max()
    if door:
        audio[31_900:] = 1.0
    longer, _, _ = analyzer.analyze(Window(audio))
    _, found, _ = analyzer.analyze(Window(audio[:n_samples], analysis=longer.analysis))
    _, expected, _ = analyzer.analyze(Window(audio[:n_samples]))
    assert found == expected
    assert found.total_ms > 800


def test_the_analysis_of_another_model_is_not_used(analyzer: Analyzer, speech: npt.NDArray[np.float32]) -> None:
    _, _, analysis = Analyzer(128).analyze(Window(speech[:16_000]))
    preceding = PrecedingUtterance(speech[:16_000], "", 0, 0, analysis=analysis)
    window, _, new = analyzer.analyze(Window(speech[:24_000], preceding=preceding, analysis=analysis))
    assert window.analysis is new
    assert new.bands.shape == (149, N_BANDS)
    assert analyzer.log_mel.features(window, 300).shape == (N_BANDS, 300)


def test_soft_speech_has_the_features_of_amplified_speech(analyzer: Analyzer, speech: npt.NDArray[np.float32]) -> None:
    soft = speech[:64_000] * np.float32(0.05)
    window, _, analysis = analyzer.analyze(Window(soft))
    preceding = PrecedingUtterance(soft, "", 0, 0, analysis=analysis)
    louder = at_usual_level(replace(window, preceding=preceding))
    assert np.abs(louder.samples).max() == pytest.approx(USUAL_PEAK)
    without = replace(louder, analysis=None, preceding=replace(louder.preceding, analysis=None))
    features = (analyzer.log_mel.features(made, 1000) for made in (louder, without))
    np.testing.assert_allclose(*features, atol=1e-3)


def chunks_of(analyzer: Analyzer, *clips: str) -> tuple[int, int, int]:
    """Stream recordings, analyze each window, and count the chunks.

    Returns the number of whole chunks of the utterances, that of all windows, and that of unfinished chunks.
    """
    n_in_windows, n_unfinished = 0, 0
    n_chunks = defaultdict[tuple[str, int], int](int)

    def transcribe(request: Request) -> Hypothesis:
        nonlocal n_in_windows, n_unfinished
        window, _, new = analyzer.analyze(request.window)
        n, n_rest = divmod(len(window.samples), CHUNK_SAMPLES)
        n_in_windows += n
        n_unfinished += n_rest > 0
        key = recording.clip.id, request.utterance
        n_chunks[key] = max(n_chunks[key], n)
        return Hypothesis("And so.", "en", 0.9, 0.0, analysis=new)

    for recording in load_recordings(choose(read_manifest(DATA), list(clips))):
        virtual_time.stream(recording, transcribe, StreamOptions())
    return sum(n_chunks.values()), n_in_windows, n_unfinished


def test_each_chunk_of_a_stream_is_judged_once(
    analyzer: Analyzer, session: CountingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Partials, early finals and finals begin with the same audio. Each is answered before the next is requested.

    The last chunk of a window, which it does not fill, is judged with it alone.
    """
    monkeypatch.setattr(virtual_time, "ANSWER_MS", 0)
    monkeypatch.setattr(speech_detection, "MIN_PEAK", 1.0)  # so that no window becomes louder
    n_once, n_in_windows, n_unfinished = chunks_of(analyzer, "jfk", "ls-374-180298-0000")
    assert n_once <= session.n_chunks <= n_once + n_unfinished
    assert n_in_windows > 5 * n_once


@pytest.mark.parametrize("effort", ["full", "reduced"])
def test_chunks_are_seldom_judged_again(
    analyzer: Analyzer, session: CountingSession, monkeypatch: pytest.MonkeyPatch, effort: Effort
) -> None:
    """Also where windows become louder, and finals are shorter than partials, as they are with reduced effort."""
    monkeypatch.setattr(virtual_time, "SERVICE_LEVEL", ServiceLevel(partial_interval_ms=500, effort=effort))
    n_once, n_in_windows, _ = chunks_of(analyzer, "jfk", "ls-*", "ps-*")
    assert session.n_chunks <= 1.7 * n_once
    assert n_in_windows > 5 * n_once
