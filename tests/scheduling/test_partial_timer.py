"""A partial is due after each interval of an utterance's audio."""

import pytest

from livecaption.errors import ConfigError
from livecaption.scheduling.partial_timer import PartialsConfig, PartialTimer
from tests.support.cases import for_each


def test_a_partial_is_due_after_each_interval_of_new_audio() -> None:
    timer = PartialTimer()
    timer.begin(at=16_000)
    due = [at for at in range(16_000, 48_000, 320) if timer.due(at, interval_ms=500)]
    assert due == [24_000, 32_000, 40_000]


def test_an_interval_that_changes_counts_from_the_newest_partial() -> None:
    timer = PartialTimer()
    timer.begin(at=0)
    assert timer.due(8_000, interval_ms=500)
    assert not timer.due(16_000, interval_ms=600)
    assert timer.due(16_000, interval_ms=500)


def test_one_large_chunk_is_worth_one_partial() -> None:
    timer = PartialTimer()
    timer.begin(at=0)
    assert timer.due(160_000, interval_ms=500)
    assert not timer.due(160_320, interval_ms=500)


@for_each("interval_ms", [0, 99, 10_001])
def test_an_interval_out_of_range_is_refused(interval_ms: int) -> None:
    with pytest.raises(ConfigError):
        PartialsConfig(interval_ms)
