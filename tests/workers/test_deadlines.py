"""The deadline of a batch."""

import pytest

from livecaption.workers.deadlines import BatchDeadlines


def test_an_unknown_device_has_twice_the_audio_and_the_least_time() -> None:
    assert BatchDeadlines(least_s=10).deadline_s(audio_s=30) == 70


def test_a_fast_device_has_the_least_time_however_long_the_audio() -> None:
    deadlines = BatchDeadlines(least_s=10)
    for _ in range(20):
        deadlines.learn(audio_s=20, compute_s=0.2)
    assert deadlines.deadline_s(audio_s=100) == 10


def test_a_slow_device_has_four_times_what_its_slowest_batch_took() -> None:
    deadlines = BatchDeadlines(least_s=10)
    for compute_s in [1.0] * 30 + [20.0] + [1.0] * 30:
        deadlines.learn(audio_s=20, compute_s=compute_s)
    assert deadlines.deadline_s(audio_s=30) == pytest.approx(5 + 4 * 30)


def test_a_batch_that_was_slow_a_hundred_batches_ago_is_forgotten() -> None:
    deadlines = BatchDeadlines(least_s=10)
    for compute_s in [60.0] + [1.0] * 100:
        deadlines.learn(audio_s=20, compute_s=compute_s)
    assert deadlines.deadline_s(audio_s=30) == pytest.approx(5 + 4 * 1.5)


def test_short_audio_does_not_make_a_device_look_slow() -> None:
    """A word of 0.2 s takes a tenth of a second, because encoders get at least 10 s."""
    deadlines = BatchDeadlines(least_s=10)
    for _ in range(20):
        deadlines.learn(audio_s=0.2, compute_s=0.1)
    assert deadlines.deadline_s(audio_s=100) == 10


def test_it_takes_twenty_batches_to_measure_a_device() -> None:
    deadlines = BatchDeadlines(least_s=10)
    for _ in range(19):
        deadlines.learn(audio_s=20, compute_s=0.2)
    assert deadlines.deadline_s(audio_s=30) == 70
