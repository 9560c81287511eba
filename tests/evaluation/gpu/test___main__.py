"""The measurement on a GPU: each step costs its own time at most, and an aborted run leaves what it found."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from livecaption.evaluation.gpu.__main__ import Findings, PlannedStep, main, measure, plan, run_step
from livecaption.evaluation.gpu.step import StepSettings
from livecaption.evaluation.server_process import processes_with

DATA = Path(__file__).parent.parent.parent / "data"
NINE_MINUTES_S = 540
RESERVE_S = 20
"""Time for imports, and for ending the processes of steps that are stopped."""

FOUND_THEN = "print('{\"found\": 1}', flush=True); "
A_CHILD = f"subprocess.Popen([{sys.executable!r}, '-c', 'import time; time.sleep(100)'], start_new_session=True)"


async def findings_of(script: str, limit_s: float = 20.0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    await run_step([sys.executable, "-c", FOUND_THEN + script], limit_s, found.append)
    return found


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
def test_all_steps_take_nine_minutes_at_most(device: str) -> None:
    assert sum(step.limit_s for step in plan(device)) <= NINE_MINUTES_S - RESERVE_S


async def test_a_step_that_ends_well_has_its_findings_only() -> None:
    assert await findings_of("") == [{"found": 1}]


async def test_a_step_that_crashes_keeps_its_findings_and_the_end_of_its_log() -> None:
    first, problem = await findings_of("import sys; print('reason', file=sys.stderr); sys.exit(7)")
    assert first == {"found": 1}
    assert problem == {"problem": "exit code 7: reason", "log": ["reason"]}


async def test_a_step_that_hangs_is_stopped_with_all_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_OF_A_HANG", "1")
    script = f"import subprocess, time; {A_CHILD}; time.sleep(100)"
    first, problem = await findings_of(script, limit_s=1.0)
    assert first == {"found": 1}
    assert problem == {"problem": "stopped after 1 s", "log": []}
    monkeypatch.delenv("TEST_OF_A_HANG")
    assert processes_with("TEST_OF_A_HANG=1") == []


async def test_findings_are_in_the_files_as_soon_as_there_are_some(tmp_path: Path) -> None:
    findings = Findings(tmp_path)
    findings.add("streams", {"ended": "no time for more streams"})
    assert json.loads((tmp_path / "findings.json").read_text()) == {
        "date": datetime.now(UTC).date().isoformat(),
        "findings": [{"step": "streams", "ended": "no time for more streams"}],
    }
    assert findings.is_good
    findings.add("load", {"refused": "No CUDA device"})
    assert "No CUDA device" in (tmp_path / "report.md").read_text()
    assert not findings.is_good


async def test_steps_run_with_the_device_and_type_that_are_planned(tmp_path: Path) -> None:
    """A GPU that does not exist is refused as by the server, and the steps after it run all the same."""
    findings = Findings(tmp_path)
    steps = [
        PlannedStep("load", "engine", "load", 60, "cuda:98"),
        PlannedStep("environment", "environment", "environment", 60, "cpu", "int8"),
    ]
    await measure(StepSettings("cuda:99", data=DATA), steps, findings)
    load, environment = json.loads((tmp_path / "findings.json").read_text())["findings"]
    assert load["step"] == "load"
    assert "cuda:98" in load["refused"]
    assert environment["step"] == "environment"
    assert environment["versions"]["ctranslate2"]
    assert environment["cores"] >= 1
    assert f"`{environment['commit']}`" in findings.report


def test_a_device_that_is_neither_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--device", "auto"])
    assert "cuda, cuda:N or cpu" in capsys.readouterr().err
