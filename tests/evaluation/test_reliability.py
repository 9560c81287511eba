"""The measurement of stops and crashes: each kind runs and stays within the figures of docs/measuring.md.

A run that did not measure what it was meant to measure has no figure.
"""

import pytest

from livecaption.errors import LivecaptionError
from livecaption.evaluation import reliability
from livecaption.evaluation.process_end import TIMEOUT_FACTOR
from livecaption.evaluation.reliability import (
    BATCH_SCRIPT,
    COMPUTING_SCRIPT,
    FLAGS,
    SCENARIOS,
    Scenario,
    idle_stop,
    killed_at_the_start_of_a_worker,
    second_signal,
    stop_in_mid_sentence,
    stop_with_stopped_worker,
    worker_replaced,
)
from livecaption.evaluation.server_process import serving
from tests.support.streaming import JFK, jfk_pcm

pytestmark = pytest.mark.processes

BOUNDS_S = {
    stop_with_stopped_worker: 2.1,
    second_signal: 0.3,
    killed_at_the_start_of_a_worker: 1.0,
    worker_replaced: 2.0,
}


@pytest.mark.parametrize(("scenario", "script"), SCENARIOS, ids=[scenario.__name__ for scenario, _ in SCENARIOS])
async def test_an_end_stays_within_its_bound(scenario: Scenario, script: str) -> None:
    async with serving(*FLAGS, "--model", script) as server:
        assert await scenario(server, jfk_pcm()) <= BOUNDS_S.get(scenario, 0.5) * TIMEOUT_FACTOR


@pytest.mark.parametrize(
    ("scenario", "flags", "reason"),
    [
        # A second after the signal the server goes without the finals.
        (stop_in_mid_sentence, ("--model", COMPUTING_SCRIPT, "--drain-timeout", "1"), "ended with 70 instead of 0"),
        (second_signal, ("--model", BATCH_SCRIPT, "--max-streams", "9"), "of 10 streams received .*as many streams as"),
    ],
)
async def test_a_wrong_end_and_a_stream_that_is_not_open_have_no_figure(
    scenario: Scenario, flags: tuple[str, ...], reason: str
) -> None:
    async with serving(*FLAGS, *flags) as server:
        with pytest.raises(LivecaptionError, match=reason):
            await scenario(server, jfk_pcm())


def test_a_run_without_a_figure_is_reported_and_the_command_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reliability, "SCENARIOS", [(idle_stop, "no such script")])
    assert reliability.main([str(JFK), "--runs", "1"]) == 2
    assert "was not logged" in capsys.readouterr().err


def test_a_measurement_has_at_least_one_run() -> None:
    with pytest.raises(SystemExit, match="2"):
        reliability.main([str(JFK), "--runs", "0"])
