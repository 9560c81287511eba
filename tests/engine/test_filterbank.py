"""Kaldi's filterbank: its bands, its scale, and what does not count."""

import numpy as np

from livecaption.engine.filterbank import filterbank


def tone(frequency_hz: float, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * frequency_hz * np.arange(round(16_000 * seconds)) / 16_000).astype(np.float32)


def test_there_is_a_frame_of_80_bands_each_10_ms_that_is_whole() -> None:
    assert filterbank(np.zeros(400, np.float32)).shape == (1, 80)
    assert filterbank(np.zeros(559, np.float32)).shape == (1, 80)
    assert filterbank(np.zeros(16_000, np.float32)).shape == (98, 80)
    assert filterbank(np.zeros(400, np.float32)).dtype == np.float32


def test_higher_tones_are_in_higher_bands() -> None:
    """The middles of the bands are evenly spaced on the mel scale from 20 to 8000 Hz."""
    rest = np.random.default_rng(0).normal(0, 1e-3, 8000).astype(np.float32)
    bands = []
    for frequency_hz in (200, 1000, 4000):
        bands.append(int(filterbank(np.concatenate([rest, tone(frequency_hz)]))[-1].argmax()))
    assert bands == [6, 27, 60]


def test_neither_level_nor_offset_counts() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    expected = filterbank(noise)
    np.testing.assert_allclose(filterbank(noise * np.float32(0.01)), expected, atol=1e-3)
    np.testing.assert_allclose(filterbank(noise + np.float32(0.3)), expected, atol=1e-2)
    assert np.abs(expected.mean(axis=0)).max() < 1e-4


def test_digital_silence_has_finite_numbers() -> None:
    assert np.abs(filterbank(np.zeros(8000, np.float32))).max() < 1e-4
