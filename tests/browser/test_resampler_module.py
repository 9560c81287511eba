"""static/resampler.js turns the sound of a page into 16 kHz as well as the server does."""

import base64

import numpy as np
import numpy.typing as npt
import pytest
from playwright.async_api import Page

from tests.support.streaming import jfk_pcm

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

Samples = npt.NDArray[np.float32]


def tone(frequency_hz: int, sample_rate_hz: int) -> Samples:
    time_s = np.arange(sample_rate_hz) / sample_rate_hz
    return (0.5 * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


async def resampled(page: Page, samples: Samples, sample_rate_hz: int, quantum: int = 128) -> Samples:
    """Resample in the page. The samples go there and come back in base64, because numbers one by one take seconds."""
    sent = await page.evaluate(
        """async ([samples, rateHz, quantum]) => {
          const { Resampler } = await import('/resampler.js');
          const all = new Float32Array(Uint8Array.from(atob(samples), (each) => each.charCodeAt(0)).buffer);
          const resampler = new Resampler(rateHz);
          const made = [];
          for (let at = 0; at < all.length; at += quantum)
            made.push(...resampler.push(all.slice(at, at + quantum)));
          const bytes = new Uint8Array(Float32Array.from(made).buffer);
          let text = "";
          for (let at = 0; at < bytes.length; at += 8192)
            text += String.fromCharCode(...bytes.subarray(at, at + 8192));
          return btoa(text);
        }""",
        [base64.b64encode(samples.tobytes()).decode(), sample_rate_hz, quantum],
    )
    return np.frombuffer(base64.b64decode(sent), np.float32)


async def test_a_tone_keeps_its_place_and_height(module_page: Page) -> None:
    for sample_rate_hz in (22_050, 32_000, 44_100, 48_000, 96_000):
        made = await resampled(module_page, tone(1000, sample_rate_hz), sample_rate_hz)
        assert 15_900 < len(made) <= 16_000
        inner = slice(1600, len(made))
        np.testing.assert_allclose(made[inner], tone(1000, 16_000)[inner], atol=1e-4)


async def test_frequencies_above_those_of_speech_are_removed_and_not_aliased(module_page: Page) -> None:
    """10 kHz would fold to 6 kHz, amid the consonants."""
    for frequency_hz in (8450, 10_000, 20_000):
        made = await resampled(module_page, tone(frequency_hz, 48_000), 48_000)
        assert np.abs(made[1600:]).max() < 1e-4


async def test_consonants_keep_their_height(module_page: Page) -> None:
    made = await resampled(module_page, tone(7500, 48_000), 48_000)
    assert np.abs(made[1600:]).max() == pytest.approx(0.5, rel=0.01)


async def test_speech_comes_out_as_it_was(module_page: Page) -> None:
    speech = (np.frombuffer(jfk_pcm(), "<i2") / 2**15).astype(np.float32)[:48_000]
    at_48_khz = 3 * np.fft.irfft(np.fft.rfft(speech), 3 * len(speech))  # the same band, and nothing above it
    made = await resampled(module_page, at_48_khz.astype(np.float32), 48_000)
    difference = np.sqrt(np.mean((made - speech[: len(made)]) ** 2)) / np.sqrt(np.mean(speech**2))
    assert difference < 0.01


async def test_pieces_of_any_length_give_the_same_samples(module_page: Page) -> None:
    samples = tone(440, 44_100)
    whole = await resampled(module_page, samples, 44_100, len(samples))
    for quantum in (1, 128, 441):
        np.testing.assert_array_equal(await resampled(module_page, samples, 44_100, quantum), whole)


async def test_a_rate_is_sent_as_it_is_if_it_is_low_or_needs_thousands_of_filters(module_page: Page) -> None:
    script = "async (rates) => rates.map((await import('/resampler.js')).sentRateHz)"
    sent = await module_page.evaluate(script, [48_000, 44_100, 16_000, 8000, 47_999])
    assert sent == [16_000, 16_000, 16_000, 8000, 47_999]


async def test_such_a_rate_passes_unchanged(module_page: Page) -> None:
    samples = tone(440, 8000)
    for sample_rate_hz in (8000, 16_000, 47_999):
        np.testing.assert_array_equal(await resampled(module_page, samples, sample_rate_hz), samples)
