"""When a partial is due."""

import pytest

from livecaption.errors import ConfigError
from livecaption.scheduling.cadence import Cadence, PartialsConfig


def test_a_partial_is_due_after_each_interval_of_new_audio() -> None:
    cadence = Cadence(PartialsConfig(interval_ms=500))
    cadence.begin(at=16_000)
    due = [at for at in range(16_000, 48_000, 320) if cadence.due(at)]
    assert due == [24_000, 32_000, 40_000]


def test_one_large_chunk_is_worth_one_partial() -> None:
    cadence = Cadence(PartialsConfig(interval_ms=500))
    cadence.begin(at=0)
    assert cadence.due(160_000)
    assert not cadence.due(160_320)


@pytest.mark.parametrize("interval_ms", [0, 99, 10_001])
def test_an_interval_out_of_range_is_refused(interval_ms: int) -> None:
    with pytest.raises(ConfigError):
        PartialsConfig(interval_ms)
