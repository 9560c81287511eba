"""The measurement of uploads, with the scripted engine."""

from pathlib import Path
from typing import Any

import pytest

from livecaption.evaluation import uploads
from livecaption.evaluation.bench import Row
from livecaption.evaluation.clips import Clip
from livecaption.evaluation.playlist import Recording
from livecaption.evaluation.server_process import serving
from livecaption.evaluation.uploads import Turn
from livecaption.evaluation.wer import WordErrors
from tests.support.recordings import TWO_UTTERANCES

DATA = Path(__file__).parent.parent / "data"
TEXT = "One two three four five six. One two three four five six seven."


def recording() -> Recording:
    clip = Clip("two", Path(), "en", TEXT)
    return Recording(clip, TWO_UTTERANCES, 4800)


async def test_a_recording_is_uploaded_and_streamed_and_the_load_is_measured_in_turns() -> None:
    async with serving() as server:
        await server.ready()
        uploaded, streamed = await uploads.compare(await server.listening(), [recording()])
        assert (uploaded.n_errors, uploaded.reference_words) == (0, streamed.reference_words)
        turns = await uploads.measure(await server.listening(), [recording()], 1, 2.0, 1)
    assert [turn.uploads for turn in turns] == [False, True]


async def test_a_refusal_is_reported() -> None:
    async with serving() as server:
        await server.ready()
        with pytest.raises(OSError, match="400"):
            await uploads.upload(await server.listening(), b"no audio")


def test_the_report_compares_the_medians_of_the_turns() -> None:
    turns = [Turn(False, 400.0, 1000.0), Turn(True, 400.0, 1050.0, n_uploaded=3)]
    assert uploads.report(turns, WordErrors(1, 0, 0, 10), WordErrors(0, 0, 0, 10)) == [
        "finals without an upload, p50 / p95 in ms: 400 / 1000",
        "finals with an upload, p50 / p95 in ms: 400 / 1050",
        "p95 with an upload: +5.0 %",
        "uploads that were answered meanwhile: 3",
        "word errors of 10 words: 1 uploaded, 0 streamed",
    ]


def test_turns_that_lack_streams_or_finals_are_not_compared() -> None:
    """The streams that remain are faster without the others."""
    turns = [Turn(False, 400.0, 1000.0), Turn(True, None, None, n_failed=23, n_refused=1, n_missing=2)]
    lines = uploads.report(turns, WordErrors(), WordErrors())
    assert lines[1:3] == [
        "finals with an upload, p50 / p95 in ms: - / -",
        "INCOMPLETE with an upload: 23 streams failed, 1 refused, 2 finals missing",
    ]
    assert not any("%" in line for line in lines)


@pytest.mark.parametrize(("failed", "code"), [(0, 0), (23, 1)])
def test_the_command_fails_with_its_streams(
    failed: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def bench(*_: Any) -> Row:
        return Row({"final_ms": {"p50": 500, "p95": 700, "missing": 0}, "failed": failed, "refused": 0}, [])

    monkeypatch.setattr(uploads, "bench", bench)
    monkeypatch.setenv("LIVECAPTION_ENGINE", "scripted")
    assert uploads.main([str(DATA), "ps-austen-0880", "--turns", "1"]) == code
    assert ("INCOMPLETE" in capsys.readouterr().out) == (failed > 0)


@pytest.mark.parametrize(
    ("manifest", "reason"), [("{", "Expecting"), ("[]", "malformed"), ("", "no recording matches")]
)
def test_without_recordings_there_is_nothing_to_measure(
    manifest: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "manifest.jsonl").write_text(manifest)
    assert uploads.main([str(tmp_path), "ls-*"]) == 2
    assert reason in capsys.readouterr().err
