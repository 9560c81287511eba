from collections.abc import Iterable

import numpy as np
import pytest

from livecaption.audio.formats import Samples
from livecaption.audio.resampling import Resampler
from tests.support.cases import for_each
from tests.support.properties import StageProperties

RATES_HZ = [8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000]


def tone(frequency_hz: int, sample_rate_hz: int, duration_s: float = 1.0) -> Samples:
    time_s = np.arange(round(sample_rate_hz * duration_s)) / sample_rate_hz
    return (0.5 * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def resample(samples: Samples, sample_rate_hz: int, chunk_ms: int = 20) -> Samples:
    resampler = Resampler(sample_rate_hz)
    chunk = sample_rate_hz * chunk_ms // 1000
    parts = [resampler.push(samples[start : start + chunk]) for start in range(0, len(samples), chunk)]
    return np.concatenate([*parts, resampler.flush()])


@for_each("sample_rate_hz", RATES_HZ)
def test_a_tone_keeps_its_place_and_height_and_has_no_clicks(sample_rate_hz: int) -> None:
    """A click between chunks would stand far out of the difference to the tone made at 16 kHz."""
    resampled = resample(tone(1000, sample_rate_hz), sample_rate_hz)
    assert resampled.dtype == np.float32
    # The ends ring: what was before the first and after the last sample is silence.
    inner = slice(1600, -1600)
    np.testing.assert_allclose(resampled[inner], tone(1000, 16_000)[inner], atol=1e-4)


def test_frequencies_above_8_khz_are_removed_and_not_aliased() -> None:
    """10 kHz would fold to 6 kHz, amid the consonants."""
    assert np.abs(resample(tone(10_000, 48_000), 48_000)[1600:-1600]).max() < 1e-4


def test_consonants_keep_their_height() -> None:
    assert np.abs(resample(tone(7000, 48_000), 48_000)[1600:-1600]).max() == pytest.approx(0.5, rel=0.02)


def test_16_khz_passes_unchanged_and_at_once() -> None:
    samples = tone(440, 16_000)
    resampler = Resampler(16_000)
    assert resampler.push(samples).tolist() == samples.tolist()
    assert resampler.flush().size == 0


@for_each(("sample_rate_hz", "worst_ms"), [(48_000, 40), (44_100, 45), (8000, 120)])
def test_live_audio_is_not_held_back(sample_rate_hz: int, worst_ms: int) -> None:
    resampler, n_out = Resampler(sample_rate_hz), 0
    for n_chunks in range(1, 101):
        n_out += resampler.push(np.zeros(sample_rate_hz // 50, np.float32)).size
        assert 20 * n_chunks - n_out / 16 <= worst_ms


def test_after_a_flush_a_new_stream_begins() -> None:
    resampler = Resampler(48_000)
    samples = tone(440, 48_000, 0.1)
    first = np.concatenate([resampler.push(samples), resampler.flush()])
    second = np.concatenate([resampler.push(samples), resampler.flush()])
    assert second.tolist() == first.tolist()


# More samples, as many, fewer by a fraction, and fewer by a whole number.
@pytest.mark.parametrize("sample_rate_hz", [8000, 16_000, 44_100, 48_000])
class TestResamplerProperties(StageProperties):
    @pytest.fixture(autouse=True)
    def _rate(self, sample_rate_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz

    def stream(self) -> Samples:
        return np.random.default_rng(0).normal(scale=0.1, size=20_000).astype(np.float32)

    def run(self, chunks: Iterable[Samples]) -> list[float]:
        resampler = Resampler(self.sample_rate_hz)
        return [value for chunk in chunks for value in resampler.push(chunk).tolist()] + resampler.flush().tolist()

    def check_complete(self, stream: Samples, output: list[float]) -> None:
        assert abs(len(output) - len(stream) * 16_000 / self.sample_rate_hz) <= 1
