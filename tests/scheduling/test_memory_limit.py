"""Batches are as large as memory was last enough for."""

from livecaption.scheduling.memory_limit import RETRY_AFTER_S, MemoryLimit


def test_memory_that_was_never_short_bounds_nothing() -> None:
    assert MemoryLimit(16).windows(1e9) == 16


def test_a_batch_is_as_large_as_what_fitted() -> None:
    limit = MemoryLimit(64)
    limit.learn(16, 100.0)
    assert limit.windows(100.0) == 16
    limit.learn(4, 101.0)
    assert limit.windows(101.0) == 4


def test_a_larger_batch_that_was_sent_before_does_not_raise_the_limit() -> None:
    limit = MemoryLimit(64)
    limit.learn(4, 100.0)
    limit.learn(16, 101.0)
    assert limit.windows(101.0) == 4


def test_twice_as_many_are_tried_each_minute_up_to_the_size_that_is_configured() -> None:
    limit = MemoryLimit(16)
    limit.learn(2, 100.0)
    assert [limit.windows(100.0 + n * RETRY_AFTER_S) for n in range(5)] == [2, 4, 8, 16, 16]
    assert limit.windows(100.0 + RETRY_AFTER_S - 0.1) == 2
    assert limit.windows(1e9) == 16


def test_a_try_that_fails_counts_from_then_on() -> None:
    limit = MemoryLimit(16)
    limit.learn(2, 100.0)
    limit.learn(2, 161.0)
    assert [limit.windows(161.0), limit.windows(220.0), limit.windows(221.0)] == [2, 2, 4]
