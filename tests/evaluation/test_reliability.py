"""The measurement of stops and crashes: each kind runs and stays within the figures of docs/measuring.md."""

import pytest

from livecaption.evaluation.process_end import TIMEOUT_FACTOR
from livecaption.evaluation.reliability import (
    SCENARIOS,
    Scenario,
    killed_at_the_start_of_a_worker,
    second_signal,
    stop_with_stopped_worker,
    worker_replaced,
)
from livecaption.evaluation.server_process import serving
from tests.support.streaming import jfk_pcm

pytestmark = pytest.mark.processes

BOUNDS_S = {
    stop_with_stopped_worker: 2.1,
    second_signal: 0.3,
    killed_at_the_start_of_a_worker: 1.0,
    worker_replaced: 2.0,
}


@pytest.mark.parametrize(("scenario", "script"), SCENARIOS, ids=[scenario.__name__ for scenario, _ in SCENARIOS])
async def test_an_end_stays_within_its_bound(scenario: Scenario, script: str) -> None:
    async with serving("--workers=1", "--model", script) as server:
        assert await scenario(server, jfk_pcm()) <= BOUNDS_S.get(scenario, 0.5) * TIMEOUT_FACTOR
