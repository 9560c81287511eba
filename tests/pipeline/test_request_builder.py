"""A window goes with the language, the text so far, and the preceding utterance."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from livecaption.audio import samples_of
from livecaption.events import Final
from livecaption.ipc.messages import Transcribed, decode, encode
from livecaption.pipeline.final_queue import FinalQueue
from livecaption.pipeline.request_builder import MAX_CONTEXT_CHARACTERS, RequestBuilder
from livecaption.recognition import Analysis, Hypothesis, RequestId, SessionId, TranscriptionOptions, Window
from livecaption.scheduling.load_control import ServiceLevel
from livecaption.scheduling.request import Request
from livecaption.speech.utterance import Utterance
from tests.support.cases import for_each
from tests.support.pipeline import SPECULATIVE, USUAL_LEVEL

FIRST_MS, SECOND_MS = (1000, 3000), (3400, 5000)
"""The windows of two utterances, with 400 ms between them."""


def utterance(number: int, window_ms: tuple[int, int]) -> Utterance:
    """An utterance whose speech begins 100 ms behind the start of its window and ends 200 ms before its end."""
    start, end = map(samples_of, window_ms)
    samples = np.full(end - start, number + 1, np.float32)
    return Utterance(number, start + samples_of(100), end - samples_of(200), start, end, samples)


def final_of(spoken: Utterance, text: str = "Good morning.", confidence: float = 0.9) -> Final:
    return Final(spoken.number, text, spoken.start // 16, spoken.end // 16, "en", confidence, 300)


def builder(
    *finals: Final, level: ServiceLevel = SPECULATIVE, language: str | None = "en", newest: Final | None = None
) -> RequestBuilder:
    """A builder that has these finals; the newest one is out."""
    queue = FinalQueue(newest or (finals[-1] if finals else None))
    ids = itertools.count(1)
    options = TranscriptionOptions(language)
    return RequestBuilder(SessionId("s"), options, lambda: level, lambda: RequestId(next(ids)), queue, finals)


def build(made: RequestBuilder, spoken: Utterance, language: str | None = None) -> Request:
    return made.build(spoken, "", language, is_final=True, now_s=0.0)


def test_a_request_has_the_audio_of_its_utterance_and_the_words_that_are_committed() -> None:
    spoken = utterance(3, FIRST_MS)
    request = builder().build(spoken, "And so", None, is_final=False, now_s=12.5)
    assert (request.session, request.utterance, request.asked_s) == ("s", 3, 12.5)
    assert (request.window_start, request.is_final, request.window.prefix) == (spoken.window_start, False, "And so")
    assert request.window.samples is spoken.samples


def test_a_refreshed_partial_keeps_its_id_and_has_the_newest_audio() -> None:
    made = builder()
    partial = made.build(utterance(0, (1000, 2000)), "", None, is_final=False, now_s=1.0)
    longer = utterance(0, (1000, 2500))
    refreshed = made.refresh(partial, longer, "And so", None, 2.0)
    assert (refreshed.id, refreshed.asked_s, refreshed.is_final) == (partial.id, 2.0, False)
    assert refreshed.window.samples is longer.samples
    assert refreshed.window.prefix == "And so"


@pytest.mark.parametrize("level", [USUAL_LEVEL, SPECULATIVE])
def test_a_window_has_full_effort_where_there_is_capacity(level: ServiceLevel) -> None:
    assert build(builder(level=level), utterance(0, FIRST_MS)).window.effort == level.effort


def test_the_context_is_the_end_of_what_was_said_without_what_the_model_was_unsure_of() -> None:
    made = builder()
    for number, (text, confidence) in enumerate((("One.", 0.9), ("Nonsense.", 0.3), ("Two.", 0.9))):
        made.note_final(final_of(utterance(number, FIRST_MS), text, confidence))
    assert build(made, utterance(0, FIRST_MS)).window.context.split() == ["One.", "Two."]
    made.note_final(final_of(utterance(3, FIRST_MS), "x" * 1000))
    assert build(made, utterance(0, FIRST_MS)).window.context == "x" * MAX_CONTEXT_CHARACTERS


def test_text_that_is_known_later_than_the_text_after_it_is_no_context() -> None:
    made = builder()
    for number, text in ((1, "One."), (3, "Three."), (2, "Two.")):
        made.note_final(final_of(utterance(number, FIRST_MS), text))
    assert build(made, utterance(4, FIRST_MS)).window.context.split() == ["One.", "Three."]


def test_the_finals_of_an_earlier_server_are_context_and_give_the_language() -> None:
    finals = [Final(n, "Guten Tag.", n * 1000, n * 1000 + 900, "de", 0.9, 300) for n in range(2)]
    window = build(builder(*finals, language=None), utterance(2, FIRST_MS)).window
    assert window.context.split() == ["Guten", "Tag."] * 2
    assert (window.options.language, window.likely_language) == (None, "de")


def test_the_language_of_an_utterance_is_that_of_the_publisher_or_the_one_that_was_detected_in_it() -> None:
    assert build(builder(language="en"), utterance(0, FIRST_MS), "de").window.options.language == "en"
    assert build(builder(language=None), utterance(0, FIRST_MS), "de").window.options.language == "de"
    assert build(builder(language=None), utterance(0, FIRST_MS)).window.options.language is None


def test_after_a_change_of_language_the_context_is_in_the_new_one() -> None:
    made = builder(language=None)
    for text, language, confidence in (("Guten Tag.", "de", 0.9), ("Hello.", "en", 0.9), ("Salut.", "fr", 0.3)):
        made.note_final(replace(final_of(utterance(0, FIRST_MS), text, confidence), language=language))
    window = build(made, utterance(0, FIRST_MS)).window
    assert (window.context.strip(), window.likely_language) == ("Hello.", "en")


def test_the_preceding_utterance_goes_with_a_window_that_is_certain_to_be_in_its_language() -> None:
    first, second = utterance(0, FIRST_MS), utterance(1, SECOND_MS)
    made = builder(final_of(first), language=None)
    made.note_end(first)
    assert build(made, second, "en").window.preceding is not None
    assert build(made, second, "de").window.preceding is None


@for_each(("end_ms", "confidence", "context"), [(1100, 0.9, "Good morning."), (1100, 0.3, ""), (1000, 0.9, "")])
def test_without_capacity_the_context_goes_only_with_what_begins_where_the_newest_final_ends(
    end_ms: int, confidence: float, context: str
) -> None:
    newest = Final(0, "Good morning.", 0, end_ms, "en", confidence, 300)
    made = builder(newest, level=USUAL_LEVEL)
    assert build(made, utterance(1, FIRST_MS)).window.context.strip() == context


def test_the_preceding_utterance_goes_with_a_window_up_to_the_first_sample_of_it() -> None:
    first, second = utterance(0, FIRST_MS), utterance(1, SECOND_MS)
    made = builder(final_of(first))
    made.note_end(first)
    preceding = build(made, second).window.preceding
    assert preceding is not None
    assert (preceding.text, preceding.speech_end_ms, preceding.next_start_ms) == ("Good morning.", 1800, 2500)
    assert len(preceding.samples) == samples_of(2400)
    assert not preceding.samples[samples_of(2000) :].any()
    later = build(made, utterance(1, (3400, 6000))).window.preceding
    assert later.samples is preceding.samples, "it is copied once"
    made.note_end(replace(first, samples=2 * first.samples))
    assert build(made, second).window.preceding.samples[0] == 2.0, "that was of another utterance"


@pytest.mark.parametrize(
    ("level", "language", "first_ms", "second_ms", "confidence"),
    [
        pytest.param(USUAL_LEVEL, "en", FIRST_MS, SECOND_MS, 0.9, id="no capacity"),
        pytest.param(SPECULATIVE, None, FIRST_MS, SECOND_MS, 0.9, id="no language"),
        pytest.param(SPECULATIVE, "en", FIRST_MS, (3601, 5000), 0.9, id="too far"),
        pytest.param(SPECULATIVE, "en", FIRST_MS, (2900, 5000), 0.9, id="overlapping"),
        pytest.param(SPECULATIVE, "en", FIRST_MS, (3400, 15_001), 0.9, id="too long"),
        pytest.param(SPECULATIVE, "en", FIRST_MS, SECOND_MS, 0.3, id="unsure"),
    ],
)
def test_a_window_goes_alone_where_the_preceding_utterance_is_no_help(
    level: ServiceLevel, language: str | None, first_ms: tuple[int, int], second_ms: tuple[int, int], confidence: float
) -> None:
    first = utterance(0, first_ms)
    made = builder(final_of(first, confidence=confidence), level=level, language=language)
    made.note_end(first)
    assert build(made, utterance(1, second_ms)).window.preceding is None


def test_a_window_goes_alone_where_the_final_of_the_preceding_utterance_is_not_out() -> None:
    first, second = utterance(0, FIRST_MS), utterance(1, SECOND_MS)
    made = builder(newest=final_of(utterance(7, (0, 500))))
    made.note_end(first)
    assert build(made, second).window.preceding is None


def test_the_preceding_utterance_is_dropped_once_the_next_one_must_be_too_far_from_it() -> None:
    first, second = utterance(0, FIRST_MS), utterance(1, SECOND_MS)
    made = builder(final_of(first))
    made.note_end(first)
    made.forget_distant(samples_of(3600))
    assert build(made, second).window.preceding is not None
    made.forget_distant(samples_of(3620))
    assert build(made, second).window.preceding is None


def test_no_audio_is_kept_at_the_end() -> None:
    first, second = utterance(0, FIRST_MS), utterance(1, SECOND_MS)
    made = builder(final_of(first))
    made.note_end(first)
    made.forget_audio()
    assert build(made, second).window.preceding is None


def analysis(n_chunks: int, first_chunk: int = 0, n_bands: int = 80) -> Analysis:
    speech, state = np.full(n_chunks, 0.5, np.float32), np.zeros((2, 128), np.float32)
    return Analysis(speech, state, 0.5, np.zeros((3 * n_chunks, n_bands), np.float32), first_chunk)


def n_known(window: Window) -> int | None:
    return None if window.analysis is None else len(window.analysis.speech)


def test_the_analysis_of_a_window_goes_with_the_next_one_of_the_utterance() -> None:
    made, spoken = builder(), utterance(0, FIRST_MS)
    partial = made.build(spoken, "", None, is_final=False, now_s=1.0)
    assert n_known(partial.window) is None
    made.note_analysis(partial, analysis(20))
    refreshed = made.refresh(partial, spoken, "", None, 2.0)
    assert n_known(refreshed.window) == 20
    made.note_analysis(refreshed, analysis(5, first_chunk=20))
    made.note_analysis(refreshed, None)
    assert n_known(build(made, spoken).window) == 25
    assert n_known(build(made, utterance(1, FIRST_MS)).window) is None


def test_a_later_answer_to_an_older_request_takes_nothing_away() -> None:
    made, spoken = builder(), utterance(0, FIRST_MS)
    older, newer = build(made, spoken), build(made, spoken)
    made.note_analysis(newer, analysis(30))
    made.note_analysis(older, analysis(20))
    assert n_known(build(made, spoken).window) == 30


def test_the_analysis_of_a_new_model_with_other_bands_replaces_the_old_one() -> None:
    made, spoken = builder(), utterance(0, FIRST_MS)
    made.note_analysis(build(made, spoken), analysis(20))
    made.note_analysis(build(made, spoken), analysis(5, 20, n_bands=128))
    assert n_known(build(made, spoken).window) == 20, "it is not the whole"
    made.note_analysis(build(made, spoken), analysis(30, n_bands=128))
    window = build(made, spoken).window
    assert (n_known(window), window.analysis.bands.shape) == (30, (90, 128))


def test_an_analysis_that_does_not_follow_what_is_known_is_not_kept() -> None:
    """Only a broken engine answers so."""
    made, spoken = builder(), utterance(0, FIRST_MS)
    made.note_analysis(build(made, spoken), analysis(5, 1))
    assert n_known(build(made, spoken).window) is None
    made.note_analysis(build(made, spoken), analysis(20))
    made.note_analysis(build(made, spoken), analysis(5, 21))
    assert n_known(build(made, spoken).window) == 20


def test_an_analysis_that_is_kept_has_no_memory_in_common_with_the_answers_of_its_batch() -> None:
    """The numbers of a message are views of all its bytes."""
    made, spoken = builder(), utterance(0, FIRST_MS)
    for first_chunk in (0, 20):
        answer = Hypothesis("", "en", 0.9, 0.0, analysis=analysis(20, first_chunk))
        message = decode(encode(Transcribed(1, (answer,) * 64, 0.1)))
        assert isinstance(message, Transcribed)
        made.note_analysis(build(made, spoken), message.hypotheses[0].analysis)
        window = build(made, spoken).window
        assert n_known(window) == first_chunk + 20
        arrays = window.analysis.speech, window.analysis.state, window.analysis.bands
        assert all(array.base is None for array in arrays)


def test_an_utterance_precedes_the_next_one_with_its_analysis() -> None:
    """Also if its final is answered after its end."""
    made, first = builder(final_of(utterance(0, FIRST_MS))), utterance(0, FIRST_MS)
    made.note_analysis(build(made, first), analysis(20))
    final = build(made, first)
    made.note_end(first)
    preceding = build(made, utterance(1, SECOND_MS)).window.preceding
    assert (len(preceding.analysis.speech), preceding.n_gap) == (20, samples_of(400))
    made.note_analysis(final, analysis(40, first_chunk=20))
    assert len(build(made, utterance(1, SECOND_MS)).window.preceding.analysis.speech) == 60


def test_a_translation_has_the_analysis_of_its_utterance_as_long_as_that_is_kept() -> None:
    made, spoken = builder(), utterance(0, FIRST_MS)
    made.note_analysis(build(made, spoken), analysis(20))
    made.note_end(spoken)
    assert n_known(made.translate(spoken, final_of(spoken), "de", 2.0).window) == 20
    made.forget_audio()
    assert n_known(made.translate(spoken, final_of(spoken), "de", 2.0).window) is None


@pytest.mark.parametrize("level", [USUAL_LEVEL, SPECULATIVE])
def test_no_analysis_is_kept_of_an_utterance_whose_audio_is_not_kept(level: ServiceLevel) -> None:
    made, spoken = builder(level=level), utterance(0, FIRST_MS)
    request = build(made, spoken)
    made.note_analysis(request, analysis(20))
    made.note_end(spoken)
    made.forget_audio()
    made.note_analysis(request, analysis(20))
    assert n_known(build(made, spoken).window) is None
