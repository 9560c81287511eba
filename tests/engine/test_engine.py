"""Every engine must pass these: the scripted one of the tests, and Whisper."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from livecaption.engine.engine import Engine, answered
from livecaption.engine.scripted import ScriptedEngine
from livecaption.errors import TranscriptionFailed
from livecaption.recognition import TranscriptionOptions, Window

JFK, _ = soundfile.read(Path(__file__).parent.parent / "data" / "jfk.flac", dtype="float32")
PHRASE = JFK[8 * 16_000 :]
"""Its last three seconds."""


@pytest.fixture(scope="module", params=["scripted", pytest.param("whisper", marks=pytest.mark.model)])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "scripted":
        yield ScriptedEngine()
    else:
        from livecaption.engine.models import find_model
        from livecaption.engine.whisper import load_engine

        yield load_engine(find_model(), device="cpu", threads=1)


def test_no_windows_have_no_hypotheses(engine: Engine) -> None:
    assert engine.transcribe([]) == []


def test_each_window_has_its_hypothesis_in_order(engine: Engine) -> None:
    beginning, middle, end = JFK[: 3 * 16_000], JFK[5 * 16_000 : 9 * 16_000], JFK[136_000:]
    windows = [Window(samples) for samples in (middle, beginning, end, beginning)]
    together = [hypothesis.text for hypothesis in engine.transcribe(windows)]
    assert together == [engine.transcribe([window])[0].text for window in windows]
    assert len(set(together)) == 3


def test_the_same_window_has_the_same_hypothesis_again(engine: Engine) -> None:
    window = Window(PHRASE, TranscriptionOptions(words=True))
    assert engine.transcribe([window]) == engine.transcribe([window])


def test_a_batch_in_which_no_window_may_fail_fails_with_one_that_does() -> None:
    engine = ScriptedEngine()
    usual, failing = Window(JFK[:9600]), Window(JFK[:9600], TranscriptionOptions(prompt="script: nan"))
    assert [hypothesis.text for hypothesis in answered(engine.transcribe([usual, usual]))] == ["One two."] * 2
    with pytest.raises(TranscriptionFailed, match="NaN"):
        answered(engine.transcribe([usual, failing]))


def test_a_window_is_not_modified(engine: Engine) -> None:
    samples = PHRASE.copy()
    samples.flags.writeable = False
    engine.transcribe([Window(samples)])
    assert np.array_equal(samples, PHRASE)


@pytest.mark.parametrize("n_samples", [0, 1, 100, 399, 400])
@pytest.mark.parametrize("is_final", [True, False])
def test_a_window_of_next_to_no_audio_has_no_text(engine: Engine, n_samples: int, is_final: bool) -> None:
    options = TranscriptionOptions(words=True)
    [hypothesis] = engine.transcribe([Window(np.zeros(n_samples, np.float32), options, is_final=is_final)])
    assert (hypothesis.text, hypothesis.words, hypothesis.suspicious) == ("", (), False)


@pytest.mark.parametrize("seconds", [1, 30])
def test_a_window_may_have_any_length_up_to_30_s(engine: Engine, seconds: int) -> None:
    samples = np.resize(PHRASE, 16_000)
    samples = np.pad(samples, (0, seconds * 16_000 - len(samples)))
    [hypothesis] = engine.transcribe([Window(samples)])
    assert hypothesis.text


def test_the_language_is_the_one_given_or_one_that_the_engine_supports(engine: Engine) -> None:
    given, detected = engine.transcribe([Window(PHRASE, TranscriptionOptions(language="en")), Window(PHRASE)])
    assert given.language == "en"
    assert detected.language in engine.description.languages


def test_words_come_only_with_finals_where_they_are_asked_for(engine: Engine) -> None:
    asked = TranscriptionOptions(words=True)
    hypotheses = engine.transcribe([Window(PHRASE, asked), Window(PHRASE), Window(PHRASE, asked, is_final=False)])
    assert [bool(hypothesis.words) for hypothesis in hypotheses] == [True, False, False]


def test_words_make_the_text_and_follow_one_another_within_the_window(engine: Engine) -> None:
    [hypothesis] = engine.transcribe([Window(PHRASE, TranscriptionOptions(words=True))])
    assert " ".join(word.text for word in hypothesis.words) == hypothesis.text
    times_ms = [time_ms for word in hypothesis.words for time_ms in (word.start_ms, word.end_ms)]
    assert all(before <= after for before, after in pairwise([0, *times_ms, 3000]))
    assert all(0 < word.confidence <= 1 for word in hypothesis.words)


def test_the_text_is_stripped_and_the_probabilities_are_probabilities(engine: Engine) -> None:
    [hypothesis] = engine.transcribe([Window(PHRASE)])
    assert hypothesis.text == hypothesis.text.strip() != ""
    assert 0 < hypothesis.confidence <= 1
    assert 0 <= hypothesis.no_speech_probability <= 1
