"""The engine alone is measured with two recordings."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from livecaption.evaluation.bench import load_recordings
from livecaption.evaluation.clips import choose, read_manifest
from livecaption.evaluation.engine_bench import as_json, run, table
from livecaption.evaluation.playlist import Recording
from livecaption.ipc.config import EngineConfig

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    return load_recordings(choose(read_manifest(DATA), ["ls-61-70968-0000", "ls-254-12312-0000"]))


@pytest.mark.model
@pytest.mark.usefixtures("environment_of_its_own")
def test_every_context_and_batch_is_measured(recordings: list[Recording]) -> None:
    too_long = replace(recordings[0], duration_ms=30_001)
    rows = run([*recordings, too_long], EngineConfig(device="cpu"))
    assert [(row.full_context, row.batch_size) for row in rows] == [(c, n) for c in (False, True) for n in (1, 8, 16)]
    for row in rows:
        assert row.n_windows == 2
        assert row.audio_s == pytest.approx(9.8, abs=0.1)
        assert row.wer is not None
        assert row.wer < 0.2
        assert row.cpu_rtf > 0
    assert rows[3].cpu_rtf > 1.3 * rows[0].cpu_rtf  # 30 s instead of 10 s
    assert len(json.loads(as_json(rows))["rows"]) == table(rows).row_count == 6


def test_recordings_that_fit_in_no_window_are_refused(recordings: list[Recording]) -> None:
    with pytest.raises(ValueError, match="at most 30 s long"):
        run([replace(recordings[0], duration_ms=30_001)], EngineConfig())
