"""The figures of a run are computed from the events of its clips."""

from pathlib import Path

import pytest

from livecaption.evaluation.clips import Clip
from livecaption.evaluation.latency import Received, SpokenWord
from livecaption.evaluation.measurement import Measurement, measure, spread, summarize
from livecaption.evaluation.stability import Stability
from livecaption.evaluation.wer import WordErrors
from livecaption.events import Final, Partial

CLIP = Clip("a", Path("a.flac"), "en", "hello brave world", 100, (1500,), (SpokenWord("hello", 500),))
RECEIVED = [
    Received(800, Partial(0, 0, "hello", "", 100, 700)),
    Received(2200, Final(0, "Hello, grave world.", 100, 1500, "en", 0.9, 700)),
]
MEASUREMENT = Measurement(
    clip="a",
    transcript="Hello, grave world.",
    word_errors=WordErrors(1, 0, 0, 3),
    first_partial_latency_ms=700,
    final_latencies_ms=(700,),
    words_shown_ms=(300,),
    words_committed_ms=(1700,),
    stability=Stability(3, 0, 0),
)


def test_a_clip_gives_its_errors_latencies_and_stability() -> None:
    assert measure(CLIP, RECEIVED) == MEASUREMENT


def test_figures_that_the_manifest_has_no_data_for_are_not_measured() -> None:
    assert measure(Clip("a", Path("a.flac")), RECEIVED) == Measurement(
        clip="a", transcript="Hello, grave world.", stability=Stability(3, 0, 0)
    )


def test_a_run_sums_errors_and_stability_and_counts_what_never_came() -> None:
    other = Measurement(
        clip="b",
        word_errors=WordErrors(0, 0, 0, 1),
        final_latencies_ms=(None,),
        words_shown_ms=(500, None),
        words_committed_ms=(None, None),
        stability=Stability(1, 2, 1),
    )
    summary = summarize([MEASUREMENT, other])
    assert summary == {
        "clips": 2,
        "wer": pytest.approx(0.25),
        "reference_words": 4,
        "first_partial_ms": {"n": 1, "missing": 1, "p50": 700, "p95": 700},
        "word_shown_ms": {"n": 2, "missing": 1, "p50": 300, "p95": 500},
        "word_committed_ms": {"n": 1, "missing": 2, "p50": 1700, "p95": 1700},
        "final_ms": {"n": 1, "missing": 1, "p50": 700, "p95": 700},
        "taken_back_per_final_word": 0.5,
        "committed_words_taken_back": 1,
    }


def test_a_spread_of_nothing_is_empty() -> None:
    assert spread([None]) == {"n": 0, "missing": 1, "p50": None, "p95": None}
