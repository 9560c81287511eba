"""The captions of one stream in virtual time."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from livecaption.audio.formats import AudioFormat
from livecaption.evaluation import virtual_time
from livecaption.evaluation.bench import load_recordings, read_baseline
from livecaption.evaluation.clips import choose, read_manifest
from livecaption.evaluation.playlist import Recording
from livecaption.evaluation.virtual_time import ANSWER_MS, Row, main, measure_row, stream, table
from livecaption.events import Final, Partial
from livecaption.pipeline.options import StreamOptions
from livecaption.recognition import Hypothesis, TranscriptionOptions
from livecaption.scheduling.request import Request

DATA = Path(__file__).parent.parent / "data"
OPTIONS = StreamOptions(AudioFormat(), TranscriptionOptions("en"))


@pytest.fixture(scope="module")
def recording() -> Recording:
    [recording] = load_recordings(choose(read_manifest(DATA), ["ls-61-70968-0000"]))
    return recording


def answering(text: str) -> virtual_time.Transcribe:
    def transcribe(_: Request) -> Hypothesis:
        return Hypothesis(text, "en", 0.9, 0.0)

    return transcribe


def test_the_same_captions_come_at_the_same_times(recording: Recording) -> None:
    first, second = (stream(recording, answering("He began."), OPTIONS) for _ in range(2))
    assert first == second
    finals = [(item.at_ms, item.event) for item in first if isinstance(item.event, Final)]
    assert finals
    for at_ms, final in finals:
        # The final arrives at an endpoint, because it was requested at the pause before.
        assert at_ms >= final.end_ms + 500
    at_ms, partial = next((item.at_ms, item.event) for item in first if isinstance(item.event, Partial))
    assert at_ms == partial.end_ms + ANSWER_MS


def test_a_row_counts_errors_on_both_sides(recording: Recording) -> None:
    reference = recording.clip.reference
    assert reference is not None
    row = measure_row(recording, answering("nonsense"), OPTIONS, reference)
    assert row.alone is not None
    assert row.alone.rate == 0.0
    assert row.measurement.word_errors is not None
    assert row.measurement.word_errors.rate == pytest.approx(1.0, abs=0.1)
    assert row.languages == ("en",)
    assert row.n_in_silence == 0


def test_words_where_nobody_spoke_are_counted(recording: Recording) -> None:
    clip = replace(recording.clip, words=tuple(replace(w, end_ms=w.end_ms + 60_000) for w in recording.clip.words))
    row = measure_row(replace(recording, clip=clip), answering("nonsense"), OPTIONS, None)
    assert row.n_in_silence == row.n_finals > 0
    assert row.alone is None


def test_the_table_sums_up(recording: Recording) -> None:
    rows: list[Row] = [measure_row(recording, answering("nonsense"), OPTIONS, "nonsense")] * 2
    assert table(rows).row_count == 3


@pytest.mark.model
@pytest.mark.usefixtures("environment_of_its_own")
def test_the_command_compares_with_faster_whisper(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.loads(line) for line in (DATA / "manifest.jsonl").read_text().splitlines()]
    [entry] = [line for line in lines if line["id"] == "ls-61-70968-0000"]
    shutil.copy(DATA / entry["file"], tmp_path)
    (tmp_path / "manifest.jsonl").write_text(json.dumps({**entry, "file": Path(entry["file"]).name}))
    report = tmp_path / "report.json"
    assert main([str(tmp_path), "--json", str(report)]) == 0
    out, _ = capsys.readouterr()
    [line] = [line for line in out.splitlines() if "ls-61-70968-0000" in line]
    cells = [cell.strip() for cell in line.split("│")]
    assert cells[-2] == "en"
    assert float(cells[4]) < 20
    assert float(cells[5]) < 20
    errors = read_baseline(report.read_text())["ls-61-70968-0000"]
    assert errors.rate == pytest.approx(float(cells[4]) / 100, abs=0.001)


def test_a_directory_without_a_manifest_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "manifest.jsonl" in capsys.readouterr().err
