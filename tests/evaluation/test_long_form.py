"""`transcribe` is compared with faster-whisper on recordings."""

import json
from pathlib import Path

import pytest

from livecaption.evaluation.clips import choose, read_manifest, read_pcm
from livecaption.evaluation.long_form import SIDES, Row, joined, main, table

DATA = Path(__file__).parent.parent / "data"
TWO = ["ls-61-70968-0000", "ls-254-12312-0000"]


def test_recordings_are_joined_with_a_second_of_silence_after_each(tmp_path: Path) -> None:
    clips = choose(read_manifest(DATA), TWO)
    clip = joined(clips, tmp_path)
    first, second = (read_pcm(each.path) for each in clips)
    assert len(read_pcm(clip.path)) == len(first) + len(second) + 2 * 32_000
    assert clip.reference == f"{clips[0].reference} {clips[1].reference}"


def test_the_ratio_is_that_of_the_batched_side() -> None:
    cpu_s = {"livecaption": 5.0, "plain": 20.0, "batched": 10.0}
    rows = [Row("a", side, "tiny.en", 60.0, 100, 7, cpu_s[side], 3.0) for side in SIDES]
    made = table(rows)
    ratios, speeds = list(made.columns[8].cells), list(made.columns[10].cells)
    assert ratios == ["0.50", "2.00", "1.00"]
    assert speeds == ["20.0"] * 3


@pytest.mark.model
def test_all_sides_transcribe_the_same_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    assert main([str(DATA), *TWO, "--join", "--json", str(report)]) == 0
    assert "2 joined" in capsys.readouterr().out
    rows = json.loads(report.read_text())
    assert [row["side"] for row in rows] == list(SIDES)
    for row in rows:
        assert row["audio_s"] == pytest.approx(11.7, abs=0.1)
        assert row["n_errors"] <= 0.2 * row["n_words"]
        assert row["cpu_s"] > 0.5


def test_recordings_without_a_text_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(DATA), "nonspeech-dog"]) == 2
    assert "no recording with a text" in capsys.readouterr().err
