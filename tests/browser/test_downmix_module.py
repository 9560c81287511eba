"""static/downmix.js mixes channels as the server does."""

import base64

import numpy as np
import numpy.typing as npt
import pytest
from playwright.async_api import Page

from livecaption.audio.downmix import Downmixer
from tests.support.streaming import jfk_pcm

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

RATE_HZ = 16_000
QUANTUM = 128
SPEECH = (np.frombuffer(jfk_pcm(), "<i2") / 2**15).astype(np.float32)[: 3 * RATE_HZ // QUANTUM * QUANTUM]
SILENCE = np.zeros_like(SPEECH)
NOISE = (np.random.default_rng(0).standard_normal((2, len(SPEECH))) * 0.001).astype(np.float32)

SOURCES = {
    "mono": [SPEECH],
    "equal": [SPEECH, SPEECH],
    "dead": [SPEECH, SILENCE],
    "inverted": [SPEECH + NOISE[0], NOISE[1] - SPEECH],
    "inverted, then equal": [np.concatenate((SPEECH, SPEECH)), np.concatenate((-SPEECH, SPEECH))],
    "5.1": [SILENCE, SILENCE, SPEECH, SILENCE, SILENCE, SILENCE],
}


async def mixed(page: Page, channels: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Mix in the page. The samples go there and come back in base64, because numbers one by one take seconds."""
    mono = await page.evaluate(
        """async ([channels, rateHz, quantum]) => {
          const { Downmixer } = await import('/downmix.js');
          const bytes = (text) => Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
          const samples = channels.map((each) => new Float32Array(bytes(each).buffer));
          const downmixer = new Downmixer(rateHz);
          const mixed = new Float32Array(samples[0].length);
          for (let at = 0; at < mixed.length; at += quantum)
            downmixer.mix(samples.map((each) => each.slice(at, at + quantum)), mixed.subarray(at, at + quantum));
          return btoa(Array.from(new Uint8Array(mixed.buffer), (each) => String.fromCharCode(each)).join(""));
        }""",
        [[base64.b64encode(each.tobytes()).decode() for each in channels], RATE_HZ, QUANTUM],
    )
    return np.frombuffer(base64.b64decode(mono), np.float32)


@pytest.mark.parametrize("name", SOURCES)
async def test_the_page_mixes_as_the_server_does(module_page: Page, name: str) -> None:
    channels = SOURCES[name]
    expected = Downmixer(len(channels), RATE_HZ).push(np.stack(channels, axis=1))
    np.testing.assert_allclose(await mixed(module_page, channels), expected, atol=1e-6)


async def test_no_channels_are_silence(module_page: Page) -> None:
    mono = await module_page.evaluate(
        """async () => {
          const { Downmixer } = await import('/downmix.js');
          const mono = new Float32Array(4).fill(1);
          new Downmixer(48000).mix([], mono);
          return [...mono];
        }"""
    )
    assert mono == [0, 0, 0, 0]
