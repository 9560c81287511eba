"""Answers and batches are counted by their kind."""

import numpy as np

from livecaption.errors import TranscriptionFailed
from livecaption.ipc.messages import Transcribed
from livecaption.recognition import Hypothesis, RequestId, SessionId, Window
from livecaption.scheduling.request import Request
from livecaption.workers.counts import WorkCounts

ANSWER = Hypothesis("a", "en", 1.0, 0.0)


def request(*, is_final: bool) -> Request:
    window = Window(np.zeros(8_000, np.float32), is_final=is_final)
    return Request(RequestId(1), SessionId("a"), 0, 0.0, window)


def test_answers_are_counted_apart_by_their_kind_and_by_whether_they_failed() -> None:
    counts = WorkCounts()
    failed = TranscriptionFailed("failed")
    for is_final, answer in [(True, ANSWER), (True, failed), (False, failed), (False, ANSWER), (False, ANSWER)]:
        counts.answer(request(is_final=is_final), answer)
    assert (counts.finals_answered, counts.finals_failed) == (1, 1)
    assert (counts.partials_answered, counts.partials_failed) == (2, 1)


def test_a_batch_is_counted_with_its_size_its_audio_and_its_time() -> None:
    counts = WorkCounts()
    counts.compute([request(is_final=True)] * 3, Transcribed(1, (ANSWER,) * 3, compute_s=0.25))
    assert (dict(counts.batch_sizes), counts.audio_s, counts.compute_s) == ({3: 1}, 1.5, 0.25)
