"""Recordings are encoded into all kinds of containers, and damaged in the same way each time."""

import io

import numpy as np
import pytest

from livecaption.audio.container import decode_container
from livecaption.evaluation.containers import HEAD_BYTES, KINDS, encode, mutate
from tests.support.streaming import jfk_pcm

TWO_SECONDS = jfk_pcm()[: 2 * 32_000]


@pytest.mark.parametrize("name", KINDS)
def test_a_container_holds_the_recording(name: str) -> None:
    container = encode(TWO_SECONDS, KINDS[name])
    samples = np.concatenate(list(decode_container(io.BytesIO(container))))
    assert len(samples) == pytest.approx(32_000, abs=2000)
    # The mix has an eighth of the level, because only the centre of eight channels has audio.
    assert np.abs(samples).max() > 0.05


def test_a_seed_always_does_the_same_damage() -> None:
    container = bytes(range(256)) * 40
    mutants = [mutate(container, seed) for seed in range(50)]
    assert mutants == [mutate(container, seed) for seed in range(50)]
    assert len(set(mutants)) > 45
    assert {len(mutant) for mutant in mutants} == {len(container)}


def test_half_of_the_damage_is_done_to_the_head() -> None:
    container = bytes(100_000)
    places = [at for seed in range(200) for at, byte in enumerate(mutate(container, seed)) if byte]
    n_in_head = sum(at < HEAD_BYTES for at in places)
    assert 0.3 < n_in_head / len(places) < 0.7
    assert max(places) > 90_000


def test_a_container_that_is_shorter_than_a_head_is_damaged_too() -> None:
    assert any(mutate(b"RIFF", seed) != b"RIFF" for seed in range(5))
