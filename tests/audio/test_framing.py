import weakref
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.audio import FRAME_MS, FRAME_SAMPLES, SAMPLE_RATE_HZ
from livecaption.audio.formats import Samples
from livecaption.audio.framing import EnergyMeter, Framer
from tests.support.properties import StageProperties


def test_a_frame_is_20_ms() -> None:
    assert (FRAME_MS, FRAME_SAMPLES * 1000 / SAMPLE_RATE_HZ) == (20, 20)


def test_whole_frames_come_out_at_once_and_the_rest_waits() -> None:
    framer = Framer()
    samples = np.arange(700, dtype=np.float32)
    assert framer.push(samples).tolist() == samples[:640].reshape(2, 320).tolist()
    assert framer.push(samples[:259]).shape == (0, 320)
    assert framer.push(samples[:1]).tolist() == [[*range(640, 700), *range(259), 0]]


def test_the_last_frame_is_padded_with_zeros() -> None:
    framer = Framer()
    framer.push(np.ones(330, np.float32))
    assert framer.flush().tolist() == [[1.0] * 10 + [0.0] * 310]
    assert framer.flush().shape == (0, 320)


def test_the_energy_of_a_frame_is_that_of_its_sound_at_any_offset() -> None:
    sound = np.random.default_rng(0).normal(scale=0.05, size=(3, 320)).astype(np.float32)
    sound -= sound.mean(axis=1, keepdims=True)
    squares = np.square(sound).sum(axis=1)
    for offset in (0.0, 0.03, -0.5):
        assert EnergyMeter().measure(sound + np.float32(offset)) == pytest.approx(squares, rel=1e-3)


def test_an_offset_that_begins_within_the_stream_is_sound_for_some_seconds() -> None:
    silence = np.zeros((500, 320), np.float32)
    energies = EnergyMeter().measure(np.concatenate([silence, silence + np.float32(0.03)]))
    assert max(energies[:500]) == 0
    assert energies[500] == pytest.approx(320 * 0.03**2, rel=0.05)
    assert energies[-1] < energies[500] / 1000


def test_low_sound_is_no_offset() -> None:
    """It is noise, and words in noise are not certain."""
    rumble = (0.03 * np.sin(2 * np.pi * 10 * np.arange(16_000) / 16_000)).astype(np.float32)
    energies = EnergyMeter().measure(Framer().push(rumble))
    assert np.mean(energies) == pytest.approx(320 * 0.03**2 / 2, rel=0.2)


def test_a_rest_does_not_keep_a_large_chunk_alive() -> None:
    framer = Framer()
    samples = np.zeros(320 * 1000 + 1, np.float32)
    chunk = weakref.ref(samples)
    framer.push(samples)
    del samples
    assert chunk() is None


@given(st.lists(st.integers(0, 1000), max_size=12))
def test_chunks_of_any_lengths_lose_no_sample(lengths: list[int]) -> None:
    samples = np.arange(sum(lengths), dtype=np.float32)
    framer = Framer()
    chunks = np.split(samples, np.cumsum(lengths))
    frames = np.concatenate([framer.push(chunk) for chunk in chunks])
    assert len(frames) == len(samples) // 320
    assert np.concatenate([frames, framer.flush()]).reshape(-1)[: len(samples)].tolist() == samples.tolist()


class TestFramerProperties(StageProperties):
    def stream(self) -> Samples:
        return np.arange(1, 7778, dtype=np.float32)

    def run(self, chunks: Iterable[Samples]) -> list[list[float]]:
        framer = Framer()
        output = [frame for chunk in chunks for frame in framer.push(chunk).tolist()]
        return output + framer.flush().tolist()

    def check_complete(self, stream: Samples, output: list[list[float]]) -> None:
        n_padding = -len(stream) % 320
        assert [value for frame in output for value in frame] == [*stream.tolist(), *[0.0] * n_padding]
