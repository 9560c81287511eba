"""The measurement of uploads, with the scripted engine."""

from pathlib import Path

import pytest

from livecaption.evaluation import uploads
from livecaption.evaluation.clips import Clip
from livecaption.evaluation.playlist import Recording
from livecaption.evaluation.server_process import serving
from livecaption.evaluation.uploads import Turn
from livecaption.evaluation.wer import WordErrors
from tests.support.recordings import TWO_UTTERANCES

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
    turns = [Turn(False, 400.0, 1000.0, 0), Turn(True, 400.0, 1050.0, 3)]
    assert uploads.report(turns, WordErrors(1, 0, 0, 10), WordErrors(0, 0, 0, 10)) == [
        "finals without an upload, p50 / p95 in ms: 400 / 1000",
        "finals with an upload, p50 / p95 in ms: 400 / 1050",
        "p95 with an upload: +5.0 %",
        "uploads that were answered meanwhile: 3",
        "word errors of 10 words: 1 uploaded, 0 streamed",
    ]
