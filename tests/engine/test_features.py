"""The features of a window are those of faster-whisper, also if some of them came with it."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from faster_whisper.feature_extractor import FeatureExtractor

from livecaption.engine.features import LogMel, n_whole_frames
from livecaption.recognition import FRAME_SAMPLES, Analysis, PrecedingUtterance, Window
from tests.support.cases import for_each

DATA = Path(__file__).parents[1] / "data"
N_FRAMES = 1000
NO_SPEECH, NO_STATE = np.zeros(0, np.float32), np.zeros((2, 128), np.float32)

Samples = npt.NDArray[np.float32]


class CountingLogMel(LogMel):
    """Counts the frames that it computes."""

    n_frames = 0

    def bands(self, samples: Samples, begin: int, end: int) -> Samples:
        self.n_frames += end - begin
        return super().bands(samples, begin, end)


@pytest.fixture(scope="module")
def speech() -> Samples:
    samples, _ = soundfile.read(DATA / "jfk.flac", dtype="float32")
    return samples


@pytest.fixture
def log_mel() -> CountingLogMel:
    return CountingLogMel(80)


def reference(samples: Samples) -> Samples:
    """Return faster-whisper's features of the samples and of silence up to N_FRAMES."""
    padding = N_FRAMES * FRAME_SAMPLES - len(samples)
    return FeatureExtractor(feature_size=80)(samples, padding=padding)[:, :N_FRAMES]


def analysis_of(log_mel: LogMel, samples: Samples) -> Analysis:
    return Analysis(NO_SPEECH, NO_STATE, 0.0, log_mel.whole_frames(samples, 0))


@for_each("n_samples", [0, 100, 201, 1234, 16_000, 80_077, 159_000])
def test_a_window_has_the_features_of_faster_whisper(log_mel: CountingLogMel, speech: Samples, n_samples: int) -> None:
    samples = speech[:n_samples]
    for window in (Window(samples), Window(samples, analysis=analysis_of(log_mel, samples))):
        np.testing.assert_allclose(log_mel.features(window, N_FRAMES), reference(samples), atol=1e-4)


@for_each("n_samples", [0, 200, 201, 359, 360, 519, 520, 16_000])
def test_no_further_audio_changes_a_whole_frame(log_mel: CountingLogMel, speech: Samples, n_samples: int) -> None:
    n_frames = n_whole_frames(n_samples)
    now, later = log_mel.whole_frames(speech[:n_samples], 0), log_mel.whole_frames(speech[: n_samples + 1000], 0)
    assert len(now) == n_frames
    np.testing.assert_allclose(now, later[:n_frames], atol=1e-3)
    if n_frames:  # but the next one does
        assert (n_frames - 1) * FRAME_SAMPLES + 200 <= n_samples < n_frames * FRAME_SAMPLES + 200


def test_frames_that_came_with_a_window_are_not_computed_again(log_mel: CountingLogMel, speech: Samples) -> None:
    analysis = analysis_of(log_mel, speech[:80_000])
    log_mel.n_frames = 0
    log_mel.features(Window(speech[:80_000], analysis=analysis), N_FRAMES)
    assert log_mel.n_frames <= 3, "those in which the window ends"


def test_the_analysis_of_audio_after_the_end_of_a_window_is_left_out(log_mel: CountingLogMel, speech: Samples) -> None:
    window = Window(speech[:40_100], analysis=analysis_of(log_mel, speech[:80_000]))
    np.testing.assert_allclose(log_mel.features(window, N_FRAMES), reference(window.samples), atol=1e-4)


@for_each(
    ("n_before", "n_gap", "max_computed"),
    [(48_000, 0, 7), (48_000, 3_200, 27), (48_000, 77, 320), (47_999, 0, 320)],
)
def test_a_preceding_utterance_goes_with_its_frames(
    log_mel: CountingLogMel, speech: Samples, n_before: int, n_gap: int, max_computed: int
) -> None:
    """The frames where both meet are computed. If the window does not begin where a frame does, so are its own."""
    before, samples = np.pad(speech[:n_before], (0, n_gap)), speech[60_000:110_000]
    preceding = PrecedingUtterance(before, "", 0, 0, n_gap, analysis_of(log_mel, speech[: n_before + 4000]))
    window = Window(samples, preceding=preceding, analysis=analysis_of(log_mel, samples))
    log_mel.n_frames = 0
    features = log_mel.features(window, N_FRAMES)
    np.testing.assert_allclose(features, reference(np.concatenate([before, samples])), atol=1e-4)
    assert log_mel.n_frames <= max_computed
