"""Conversations with short turns, made out of a recording."""

import functools
from itertools import pairwise
from pathlib import Path

import numpy as np

from livecaption.evaluation.clips import Clip
from livecaption.evaluation.fast_turns import fast_turns
from livecaption.evaluation.playlist import Recording
from livecaption.evaluation.speaker_errors import Stretch

LEVELS = {"Ada": 0.1, "Bob": 0.3}


@functools.cache
def recording() -> Recording:
    """Return 40 s of two people, each of whom has a level."""
    turns = [Stretch(at, at + 9_000, speaker) for at, speaker in zip((0, 10_000, 20_000, 30_000), "abab", strict=True)]
    turns = [Stretch(t.start_ms, t.end_ms, {"a": "Ada", "b": "Bob"}[str(t.speaker)]) for t in turns]
    sound = np.zeros(40 * 16_000)
    for turn in turns:
        begin, end = int(turn.start_ms * 16), int(turn.end_ms * 16)
        sound[begin:end] = LEVELS[str(turn.speaker)]
    pcm = (sound * 32767).astype("<i2").tobytes()
    return Recording(Clip("talk", Path("talk.wav"), "en", turns=tuple(turns)), pcm, 40_000)


def made(seed: int = 7) -> Recording:
    return fast_turns(recording(), ["Ada", "Bob"], np.random.default_rng(seed), "talk, fast")


def test_all_that_people_say_is_in_turns_of_1_5_to_8_s_with_short_gaps() -> None:
    conversation = made()
    lengths_ms = [turn.end_ms - turn.start_ms for turn in conversation.clip.turns]
    gaps_ms = [after.start_ms - turn.end_ms for turn, after in pairwise(conversation.clip.turns)]
    assert sum(lengths_ms) == 36_000
    assert 1_000 <= min(lengths_ms) <= max(lengths_ms) <= 8_000
    assert 50 <= min(gaps_ms) <= max(gaps_ms) <= 2_000
    assert sorted(gaps_ms)[len(gaps_ms) // 2] <= 350
    assert conversation.duration_ms >= conversation.clip.turns[-1].end_ms


def test_a_turn_has_the_sound_of_its_speaker() -> None:
    conversation = made()
    for turn in conversation.clip.turns:
        middle = int((turn.start_ms + turn.end_ms) * 8)
        assert abs(np.mean(conversation.samples[middle - 800 : middle + 800]) - LEVELS[str(turn.speaker)]) < 0.01


def test_the_same_seed_makes_the_same_conversation() -> None:
    assert made() == made()
    assert made().clip.turns != made(8).clip.turns
