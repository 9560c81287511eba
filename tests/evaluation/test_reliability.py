"""The measurement of stops: each kind runs and stays within what the README promises."""

import pytest

from livecaption.evaluation.reliability import SCENARIOS, Scenario, second_signal, stop_with_stopped_worker
from livecaption.evaluation.server_process import TIMEOUT_FACTOR, serving
from tests.support.streaming import jfk_pcm

pytestmark = pytest.mark.processes

BOUNDS_S = {stop_with_stopped_worker: 2.1, second_signal: 0.3}


@pytest.mark.parametrize(("scenario", "script"), SCENARIOS, ids=[scenario.__name__ for scenario, _ in SCENARIOS])
async def test_a_stop_stays_within_its_bound(scenario: Scenario, script: str) -> None:
    async with serving("--model", script) as server:
        assert await scenario(server, jfk_pcm()) <= BOUNDS_S.get(scenario, 0.5) * TIMEOUT_FACTOR
