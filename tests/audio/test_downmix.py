"""Channels are averaged, unless they cancel each other."""

import functools

import numpy as np
import numpy.typing as npt
import pytest

from livecaption.audio.downmix import Downmixer
from livecaption.audio.formats import Samples
from tests.support.cases import for_each, spread
from tests.support.properties import StageProperties
from tests.support.streaming import jfk_pcm

RATE_HZ = 16_000
SPEECH = (np.frombuffer(jfk_pcm(), "<i2") / 2**15).astype(np.float32)
SILENCE = np.zeros_like(SPEECH)
LOUDNESS = float(np.sqrt(np.mean(SPEECH**2)))


def mixed(*channels: npt.NDArray[np.float32]) -> Samples:
    return Downmixer(len(channels), RATE_HZ).push(np.stack(channels, axis=1))


def mean(*channels: npt.NDArray[np.float32]) -> Samples:
    average: Samples = np.stack(channels, axis=1).mean(axis=1, dtype=np.float32)
    return average


@functools.cache
def white_noise() -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((2, len(SPEECH))).astype(np.float32)


def noise(number: int, snr_db: float) -> Samples:
    return white_noise()[number] * np.float32(LOUDNESS * 10 ** (-snr_db / 20))


ADDING = {
    "equal channels": lambda: (SPEECH, SPEECH),
    "a channel that is softer": lambda: (SPEECH, SPEECH * np.float32(0.3)),
    "a dead channel": lambda: (SPEECH, SILENCE),
    "a channel of noise": lambda: (SPEECH, noise(0, 0.0)),
    "two microphones, 1 ms apart": lambda: (SPEECH, np.roll(SPEECH, 16)),
    "microphones with noise of their own": lambda: (SPEECH + noise(0, 10.0), SPEECH + noise(1, 10.0)),
    "a person in each channel": lambda: (SPEECH, np.roll(SPEECH, 5 * RATE_HZ)),
    "the centre of 5.1": lambda: (SILENCE, SILENCE, SPEECH, SILENCE, SILENCE, SILENCE),
    "a soft second one that is inverted": lambda: (SPEECH, SPEECH * np.float32(-0.3)),
    "silence": lambda: (SILENCE, SILENCE),
    "faint hum that is inverted": lambda: (noise(0, 60.0), -noise(0, 60.0)),
}


@for_each("name", spread(ADDING, 4))
def test_channels_that_do_not_cancel_are_averaged(name: str) -> None:
    """Not a bit of the mix differs, because all that was measured with it holds on."""
    channels = ADDING[name]()
    assert np.array_equal(mixed(*channels), mean(*channels))


CANCELLING = {
    "inverted": lambda: (SPEECH, -SPEECH),
    "inverted and softer": lambda: (SPEECH, SPEECH * np.float32(-0.7)),
    "inverted, with noise 30 dB below": lambda: (SPEECH + noise(0, 30.0), noise(1, 30.0) - SPEECH),
    "inverted, with noise 20 dB below": lambda: (SPEECH + noise(0, 20.0), noise(1, 20.0) - SPEECH),
    "one of the front channels of 5.1": lambda: (SPEECH, -SPEECH, SILENCE, SILENCE, SILENCE, SILENCE),
}


@for_each("name", CANCELLING)
def test_of_channels_that_cancel_one_is_taken(name: str) -> None:
    """JFK begins to speak after 0.3 s. No more than the first 0.1 s of that may be lost."""
    channels = CANCELLING[name]()
    samples = mixed(*channels)
    begin = round(0.45 * RATE_HZ)
    assert np.array_equal(samples[begin:], channels[0][begin:])


def test_a_pause_does_not_end_it() -> None:
    """In a pause only the noise of each channel is left, and that does not cancel. The next word must not be lost."""
    speech = np.concatenate((SPEECH, SILENCE[: 3 * RATE_HZ], SPEECH))
    left, right = speech + np.resize(noise(0, 30.0), speech.size), np.resize(noise(1, 30.0), speech.size) - speech
    samples = mixed(left, right)
    assert np.array_equal(samples[RATE_HZ:], left[RATE_HZ:])


def test_channels_that_add_again_are_averaged_again() -> None:
    """A plug that was turned round, or music with an effect."""
    left = np.concatenate((SPEECH, SPEECH))
    right = np.concatenate((-SPEECH, SPEECH))
    samples = mixed(left, right)
    begin = len(SPEECH) + 3 * RATE_HZ
    assert np.array_equal(samples[begin:], mean(left, right)[begin:])


def test_channels_that_begin_to_cancel_are_noticed_after_others_that_add() -> None:
    left, right = np.concatenate((SPEECH, SPEECH)), np.concatenate((SPEECH, -SPEECH))
    samples = mixed(left, right)
    begin = len(SPEECH) + round(0.5 * RATE_HZ)
    assert np.array_equal(samples[begin:], left[begin:])


def test_another_channel_that_is_louder_is_mixed_in_soon() -> None:
    """Opposite sounds of the front channels of a film, and then somebody speaks from the centre."""
    ambience = noise(0, 6.0)
    centre = np.concatenate((SILENCE[: 2 * RATE_HZ], SPEECH))[: len(SPEECH)]
    channels = (ambience, -ambience, centre, SILENCE, SILENCE, SILENCE)
    samples = mixed(*channels)
    begin = round(2.6 * RATE_HZ)
    loud = np.abs(centre[begin:]) > 4 * np.abs(ambience[begin:])
    wanted = mean(*channels)[begin:]
    assert np.mean(samples[begin:][loud] == wanted[loud]) > 0.9


def test_the_other_channel_is_taken_if_the_first_one_ends() -> None:
    left = np.concatenate((SPEECH, SILENCE))
    right = np.concatenate((-SPEECH, SPEECH))
    samples = mixed(left, right)
    begin = len(SPEECH) + RATE_HZ
    assert np.array_equal(samples[begin:], mean(left, right)[begin:])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mono_passes_unchanged(dtype: type) -> None:
    samples = SPEECH[:1000].astype(dtype)
    assert np.array_equal(Downmixer(1, RATE_HZ).push(samples[:, np.newaxis]), SPEECH[:1000])


class TestDownmixerProperties(StageProperties):
    def stream(self) -> npt.NDArray[np.float32]:
        left = np.concatenate((SPEECH[:8000], SPEECH[:8000]))
        return np.stack((left, np.concatenate((SPEECH[:8000], -SPEECH[:8000]))), axis=1)

    def run(self, chunks: object) -> list[float]:
        downmixer = Downmixer(2, 11_025)  # a block has 220 samples and a half
        return [value for chunk in chunks for value in downmixer.push(chunk).tolist()]  # type: ignore[attr-defined]

    def check_complete(self, stream: npt.NDArray[np.float32], output: list[float]) -> None:
        assert len(output) == len(stream)
