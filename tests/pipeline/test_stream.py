"""The promises of a stream, as conversations: no loop, no process, no clock."""

import gc
import itertools
import random
import tracemalloc
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import inf

import numpy as np
import pytest

from livecaption.audio import ms_of
from livecaption.audio.formats import AudioFormat
from livecaption.errors import TranscriptionFailed, WorkerDied, WrongState
from livecaption.events import CaptionWord, ErrorReport, Event, Final, Flushed, Partial, SpeechEnd, SpeechStart, Turn
from livecaption.pipeline.channel import OVERLOADED_AFTER_S, PATIENCE_IN_SILENCE_S
from livecaption.pipeline.latency import Latency
from livecaption.pipeline.options import ResumePoint, StreamOptions
from livecaption.pipeline.stream import Output, StreamPipeline
from livecaption.recognition import SURE_LANGUAGE_MS, Hypothesis, TranscriptionOptions, Voice, Word
from livecaption.scheduling.load_control import ServiceLevel
from livecaption.scheduling.request import Cancel, Request
from livecaption.speech.endpointing import EndpointingConfig
from tests.support.cases import for_each, spread
from tests.support.pipeline import (
    SPECULATIVE,
    TWO_UTTERANCES,
    USUAL_LEVEL,
    chunks,
    events,
    feed,
    hypothesis,
    new_stream,
    requests,
)
from tests.support.speech import pcm_s16le, sound


def test_each_utterance_starts_ends_and_asks_for_one_final() -> None:
    outputs = feed(new_stream(), TWO_UTTERANCES)
    kinds = [type(output).__name__ for output in outputs]
    assert kinds == ["SpeechStart", "SpeechEnd", "Request"] * 2
    assert [event.utterance for event in events(outputs) if isinstance(event, SpeechStart)] == [0, 1]
    assert all(request.is_final for request in requests(outputs))


def test_the_windows_of_two_finals_share_no_audio() -> None:
    first, second = requests(feed(new_stream(), TWO_UTTERANCES))
    assert first.window_start + len(first.window.samples) <= second.window_start


def test_a_final_carries_the_times_of_the_speech_and_the_latency_since_the_last_voice() -> None:
    stream = new_stream()
    outputs = feed(stream, "silence 400ms, speech 1000ms, silence 800ms", now_s=10.0)
    (final,) = stream.receive_answer(requests(outputs)[0], hypothesis("Good morning."), now_s=10.75)
    start = next(event for event in events(outputs) if isinstance(event, SpeechStart))
    end = next(event for event in events(outputs) if isinstance(event, SpeechEnd))
    assert final == Final(0, "Good morning.", start.start_ms, end.end_ms, "en", 0.9, latency_ms=750)
    assert abs(start.start_ms - 400) <= 60
    assert abs(end.end_ms - 1400) <= 150  # the VAD stays voiced for a while


def test_finals_come_in_order_although_the_answers_do_not() -> None:
    stream = new_stream()
    first, second = requests(feed(stream, TWO_UTTERANCES))
    assert stream.receive_answer(second, hypothesis("world"), 0.0) == []
    released = stream.receive_answer(first, hypothesis("hello"), 0.0)
    assert [(event.utterance, event.text) for event in released if isinstance(event, Final)] == [
        (0, "hello"),
        (1, "world"),
    ]


def test_a_failed_final_is_reported_and_comes_all_the_same() -> None:
    stream = new_stream()
    (request,) = requests(feed(stream, "silence 400ms, speech 1000ms, silence 800ms"))
    report, final = stream.receive_answer(request, WorkerDied("gone"), 0.0)
    assert report == ErrorReport("worker_died", "gone", fatal=False)
    assert isinstance(final, Final)
    assert (final.utterance, final.text, final.confidence) == (0, "", 0.0)


def test_a_failure_is_reported_directly_before_its_final() -> None:
    stream = new_stream()
    first, second = requests(feed(stream, TWO_UTTERANCES))
    assert stream.receive_answer(second, WorkerDied("gone"), 0.0) == []
    before, report, final = stream.receive_answer(first, hypothesis(""), 0.0)
    assert isinstance(before, Final)
    assert isinstance(final, Final)
    assert (before.utterance, report, final.utterance) == (0, ErrorReport("worker_died", "gone", fatal=False), 1)


def test_a_failed_final_keeps_what_readers_were_promised() -> None:
    stream = new_stream(partials=True)
    asked = requests(feed(stream, "silence 400ms, speech 3000ms, silence 800ms"))
    for request, text in zip(asked, ["And so", "And so my fellow", "And so my fellow Americans"], strict=False):
        *_, partial = stream.receive_answer(request, hypothesis(text), 0.0)
    ended = feed(stream, "silence 800ms")
    (request,) = [output for output in [*asked, *requests(ended)] if output.is_final]
    report, final = stream.receive_answer(request, TranscriptionFailed("no memory"), 0.0)
    assert isinstance(report, ErrorReport)
    assert isinstance(final, Final)
    assert (final.text, final.confidence) == (partial.stable, 0.0)
    assert final.text


def test_partials_are_asked_for_at_a_steady_interval_while_somebody_speaks() -> None:
    outputs = feed(new_stream(partials=True), "silence 400ms, speech 3000ms")
    ends = [request.window_start + len(request.window.samples) for request in requests(outputs)]
    assert len(ends) == 6  # at 0.5, 1.0 ... 3.0 s of speech
    assert all(later - earlier == 8000 for earlier, later in itertools.pairwise(ends))


def test_no_partial_is_asked_for_in_silence_or_when_none_is_wanted() -> None:
    assert requests(feed(new_stream(partials=True), "silence 5000ms")) == []
    assert requests(feed(new_stream(partials=False), "silence 400ms, speech 3000ms")) == []


def test_stable_text_grows_and_is_never_taken_back_by_a_later_partial() -> None:
    stream = new_stream(partials=True)
    asked = requests(feed(stream, "silence 400ms, speech 3000ms"))
    texts = ["And so", "And so my fellow", "And so, my yellow Americans", "And so my fellow Americans ask"]
    captions = [
        stream.receive_answer(request, hypothesis(text), 0.0)[0] for request, text in zip(asked, texts, strict=False)
    ]
    assert all(isinstance(caption, Partial) for caption in captions)
    stables = [caption.stable for caption in captions if isinstance(caption, Partial)]
    assert stables == ["", "", "And so,", "And so, my"]
    for caption, stable in zip(captions, stables, strict=True):
        assert isinstance(caption, Partial)
        assert caption.text.startswith(stable)
    assert [caption.revision for caption in captions if isinstance(caption, Partial)] == [0, 1, 2, 3]


def test_stable_text_is_the_prefix_of_every_later_window_and_of_the_finals() -> None:
    stream = new_stream(partials=True)
    asked = requests(feed(stream, "silence 400ms, speech 1600ms"))
    assert [request.window.prefix for request in asked] == [""] * 3
    for request, text in zip(asked, ["And so", "And so my", "And so, my fellow"], strict=True):
        stream.receive_answer(request, hypothesis(text), 0.0)
    partial, *_ = requests(feed(stream, "speech 600ms"))
    (final,) = requests(stream.end("stop", 0.0))
    assert (partial.window.prefix, final.window.prefix) == ("And so,", "And so,")
    assert final.is_final


def test_a_partial_that_comes_after_one_of_more_audio_is_not_shown() -> None:
    stream = new_stream(partials=True)
    first, second = requests(feed(stream, "silence 400ms, speech 1100ms"))
    assert stream.receive_answer(second, hypothesis("one two three"), 0.0) != []
    assert stream.receive_answer(first, hypothesis("one"), 0.0) == []


def test_partials_come_as_often_as_the_workers_can_and_none_while_they_pause() -> None:
    level = ServiceLevel(1000, effort="reduced")
    stream = new_stream(partials=True, service_level=lambda: level)
    assert len(requests(feed(stream, "silence 400ms, speech 2100ms"))) == 2
    level = ServiceLevel(None, effort="reduced")
    assert requests(feed(stream, "speech 2000ms")) == []
    assert stream.status(0.0).partials == "paused"
    level = ServiceLevel(1000, effort="reduced")
    assert len(requests(feed(stream, "speech 100ms"))) == 1


@for_each(("interval_ms", "seen"), [(500, "on"), (1500, "on"), (1600, "slow"), (None, "paused")])
def test_the_status_has_how_often_partials_come(interval_ms: int | None, seen: str) -> None:
    assert new_stream(service_level=lambda: ServiceLevel(interval_ms, effort="reduced")).status(0.0).partials == seen


def with_speech_end(text: str, speech_end_ms: int) -> Hypothesis:
    return replace(hypothesis(text), speech_end_ms=speech_end_ms)


def test_an_utterance_that_noise_keeps_open_ends_where_the_engine_detected_the_end_of_speech() -> None:
    stream = new_stream(partials=True)
    *_, newest = requests(feed(stream, "silence 400ms, speech 2800ms"))
    partial, ended, request, started = stream.receive_answer(newest, with_speech_end("Good morning.", 1200), 0.0)
    assert isinstance(partial, Partial)
    assert isinstance(ended, SpeechEnd)
    assert isinstance(request, Request)
    assert (ended.end_ms, ended.reason) == (newest.window_start // 16 + 1200, "silence")
    assert request.is_final
    assert started == SpeechStart(1, ended.end_ms + 400)


def test_an_utterance_in_which_nobody_spoke_has_its_empty_final_without_being_asked_again() -> None:
    stream = new_stream(partials=True)
    *_, newest = requests(feed(stream, "silence 400ms, speech 2800ms"))
    outputs = stream.receive_answer(newest, with_speech_end("", 0), 0.0)
    assert [type(output).__name__ for output in outputs][:2] == ["SpeechEnd", "Final"]
    assert [event.text for event in events(outputs) if isinstance(event, Final)] == [""]


def test_where_there_are_words_the_engine_must_have_detected_speech_before_it_ends_an_utterance() -> None:
    stream = new_stream(partials=True)
    *_, newest = requests(feed(stream, "silence 400ms, speech 2800ms"))
    outputs = stream.receive_answer(newest, with_speech_end("Good morning.", 0), 0.0)
    assert [type(output) for output in outputs] == [Partial]


def test_a_suspicious_hypothesis_ends_no_utterance() -> None:
    stream = new_stream(partials=True)
    *_, newest = requests(feed(stream, "silence 400ms, speech 2800ms"))
    assert stream.receive_answer(newest, replace(with_speech_end("", 0), suspicious=True), 0.0) == []


def test_a_final_has_no_other_word_where_stable_text_was() -> None:
    stream = new_stream(partials=True)
    for request in requests(feed(stream, "silence 400ms, speech 1600ms")):
        stream.receive_answer(request, hypothesis("ride a may"), 0.0)
    (request,) = requests(stream.end("stop", 0.0))
    (final,) = stream.receive_answer(request, hypothesis("ride a maying today"), 0.0)
    assert isinstance(final, Final)
    assert final.text == "ride a may today"


def test_at_full_effort_the_text_before_is_the_context_of_every_window() -> None:
    stream = new_stream(service_level=lambda: SPECULATIVE)
    first, second = requests(feed(stream, TWO_UTTERANCES))
    stream.receive_answer(first, hypothesis("Hello."), 0.0)
    stream.receive_answer(second, replace(hypothesis("World."), confidence=0.3), 0.0)
    (third,) = requests(feed(stream, "speech 1000ms, silence 800ms"))
    assert (first.window.context, third.window.context.split()) == ("", ["Hello."])


@pytest.mark.parametrize("confidences", [(0.9, 0.9, 0.9, 0.9), (0.9, 0.9, 0.3, 0.9)])
def test_at_reduced_effort_the_text_before_is_context_only_after_a_cut_for_length(
    confidences: tuple[float, ...],
) -> None:
    """And only if it is what was cut that goes: what the model was unsure of is no context, nor what came before it."""
    stream = new_stream(endpointing=EndpointingConfig(max_utterance_ms=4_000))
    contexts: list[str] = []
    for chunk in chunks("speech 1000ms, silence 900ms, speech 1000ms, silence 900ms, speech 5000ms, silence 900ms"):
        for request in requests(stream.receive_audio(chunk, 0.0)):
            contexts.append(request.window.context.strip())
            answer = replace(hypothesis(f"part {len(contexts)}"), confidence=confidences[len(contexts) - 1])
            stream.receive_answer(request, answer, 0.0)
    assert contexts == ["", "", "", "part 1 part 2 part 3" if min(confidences) > 0.5 else ""]


def test_a_stream_that_waits_for_a_final_asks_for_none_early_and_gives_none_an_older_text() -> None:
    """A recording does that: it is sent faster than it is transcribed."""
    stream = new_stream(service_level=lambda: SPECULATIVE)
    (first,) = requests(feed(stream, "silence 400ms, speech 1000ms, silence 900ms"))
    stream.receive_answer(first, hypothesis("Hello."), 0.0)
    asked = requests(feed(stream, "speech 1000ms, silence 900ms, speech 1000ms, silence 400ms"))
    assert [request.utterance for request in asked] == [1]
    (third,) = requests(feed(stream, "silence 500ms"))
    assert (asked[0].window.context.split(), third.window.context) == (["Hello."], "")


ENGLISH = TranscriptionOptions("en")


def second_request(stream: StreamPipeline, first: str, pause: str, second: str, *, confidence: float = 0.9) -> Request:
    """The last request for an utterance behind one that was answered."""
    for request in requests(feed(stream, f"silence 400ms, {first}, silence 700ms")):
        stream.receive_answer(request, replace(hypothesis("Good morning."), confidence=confidence), 0.0)
    return requests(feed(stream, f"{pause}, {second}, silence 700ms"))[-1]


def test_at_full_effort_an_utterance_is_transcribed_together_with_the_preceding_one() -> None:
    stream = new_stream(service_level=lambda: SPECULATIVE, transcription=ENGLISH)
    request = second_request(stream, "speech 1000ms", "silence 500ms", "speech 1200ms")
    preceding = request.window.preceding
    assert preceding is not None
    assert preceding.text == "Good morning."
    begin_ms = (request.window_start - len(preceding.samples)) // 16
    assert begin_ms == 0  # the pre-roll
    assert abs(preceding.speech_end_ms - 1400) <= 150
    assert abs(preceding.next_start_ms - 2600) <= 60
    expected = sound("silence 400ms, speech 1000ms")
    np.testing.assert_allclose(preceding.samples[: len(expected)], expected, atol=2 / 32767)
    assert not preceding.samples[-16 * 100 :].any()
    assert request.window.context.strip() == "Good morning."  # for an engine that cannot take both


def test_a_final_that_was_not_asked_for_at_a_pause_is_transcribed_together_with_the_preceding_utterance() -> None:
    stream = new_stream(service_level=lambda: SPECULATIVE, transcription=ENGLISH)
    for request in requests(feed(stream, "silence 400ms, speech 1000ms, silence 700ms")):
        stream.receive_answer(request, hypothesis("Good morning."), 0.0)
    feed(stream, "silence 500ms, speech 1200ms")
    (request,) = requests(stream.flush(None, 0.0))
    assert request.window.preceding is not None
    assert request.window.preceding.text == "Good morning."


@pytest.mark.parametrize(
    ("level", "transcription", "first", "pause", "confidence"),
    [
        pytest.param(USUAL_LEVEL, ENGLISH, "speech 1000ms", "silence 500ms", 0.9, id="no time"),
        pytest.param(SPECULATIVE, TranscriptionOptions(), "speech 1000ms", "silence 500ms", 0.9, id="no language"),
        pytest.param(SPECULATIVE, ENGLISH, "speech 1000ms", "silence 2000ms", 0.9, id="long ago"),
        pytest.param(SPECULATIVE, ENGLISH, "speech 10000ms", "silence 500ms", 0.9, id="long"),
        pytest.param(SPECULATIVE, ENGLISH, "speech 1000ms", "silence 500ms", 0.3, id="unsure"),
    ],
)
def test_an_utterance_is_transcribed_alone_where_the_preceding_one_is_no_help(
    level: ServiceLevel, transcription: TranscriptionOptions, first: str, pause: str, confidence: float
) -> None:
    stream = new_stream(service_level=lambda: level, transcription=transcription)
    request = second_request(stream, first, pause, "speech 3000ms", confidence=confidence)
    assert request.window.preceding is None
    has_context = level.effort == "full" and confidence > 0.5
    assert request.window.context.split() == (["Good", "morning."] if has_context else [])


def test_an_utterance_is_transcribed_alone_if_the_preceding_one_has_no_final_yet() -> None:
    stream = new_stream(service_level=lambda: SPECULATIVE, transcription=ENGLISH)
    *_, request = requests(feed(stream, TWO_UTTERANCES))
    assert request.window.preceding is None


def test_no_audio_is_kept_through_a_silence() -> None:
    stream = new_stream(service_level=lambda: SPECULATIVE, transcription=ENGLISH)
    (request,) = requests(feed(stream, "silence 400ms, speech 5000ms, silence 900ms"))
    kept = weakref.ref(request.window.samples.base)
    stream.receive_answer(request, hypothesis("Good morning."), 0.0)
    del request
    assert kept() is not None
    feed(stream, "silence 30000ms")
    assert kept() is None


def test_finals_continue_each_others_sentence_in_any_order_of_answers() -> None:
    stream = new_stream()
    first, second = requests(feed(stream, TWO_UTTERANCES))
    stream.receive_answer(second, hypothesis("to achieving the goal"), 0.0)
    released = stream.receive_answer(first, hypothesis("Commit itself."), 0.0)
    assert [event.text for event in released if isinstance(event, Final)] == ["Commit itself.", "To achieving the goal"]


def test_the_language_of_a_final_is_likely_in_later_windows() -> None:
    stream = new_stream()
    for request in requests(feed(stream, TWO_UTTERANCES)):
        assert (request.window.options.language, request.window.likely_language) == (None, None)
        stream.receive_answer(request, replace(hypothesis("Guten Tag."), language="de"), 0.0)
    (third,) = requests(feed(stream, "speech 1000ms, silence 800ms"))
    assert (third.window.options.language, third.window.likely_language) == (None, "de")


@pytest.mark.parametrize(
    ("length_ms", "text", "language"), [(2500, "Guten Tag.", "de"), (1500, "Guten Tag.", None), (2500, "", None)]
)
def test_within_an_utterance_the_language_stays_from_where_it_is_certain(
    length_ms: int, text: str, language: str | None
) -> None:
    stream = new_stream(partials=True)
    first = requests(feed(stream, f"speech {length_ms}ms"))[-1]
    assert (ms_of(len(first.window.samples)) >= SURE_LANGUAGE_MS) == (length_ms > SURE_LANGUAGE_MS)
    stream.receive_answer(first, replace(hypothesis(text), language="de"), 0.0)
    later = requests(feed(stream, "speech 1000ms"))
    assert later
    assert {request.window.options.language for request in later} == {language}


@pytest.mark.parametrize("level", [USUAL_LEVEL, SPECULATIVE])
def test_windows_have_full_effort_where_there_is_capacity(level: ServiceLevel) -> None:
    asked = requests(
        feed(new_stream(partials=True, service_level=lambda: level), "silence 400ms, speech 1600ms, silence 900ms")
    )
    assert {request.is_final for request in asked} == {False, True}
    assert {request.window.effort for request in asked} == {level.effort}


def test_an_utterance_that_ends_at_the_pause_at_which_its_final_was_asked_has_it_at_the_endpoint() -> None:
    stream = new_stream(service_level=lambda: SPECULATIVE)
    (request,) = requests(feed(stream, "silence 400ms, speech 1000ms, silence 400ms"))
    assert request.is_final
    assert stream.receive_answer(request, hypothesis("Yes."), 0.0) == []
    outputs = feed(stream, "silence 400ms")
    assert [type(output).__name__ for output in outputs] == ["SpeechEnd", "Final"]
    assert [event.text for event in events(outputs) if isinstance(event, Final)] == ["Yes."]


def test_a_final_asked_at_the_pause_that_is_answered_after_the_endpoint_is_asked_only_once() -> None:
    stream = new_stream(service_level=lambda: SPECULATIVE)
    outputs = feed(stream, "silence 400ms, speech 1000ms, silence 800ms")
    (request,) = requests(outputs)
    (final,) = stream.receive_answer(request, hypothesis("Yes."), 0.0)
    assert isinstance(final, Final)
    assert final.text == "Yes."


def test_speech_that_goes_on_after_the_pause_gets_a_final_of_its_own_and_the_first_one_is_a_partial() -> None:
    stream = new_stream(partials=True, service_level=lambda: SPECULATIVE)
    at_pause = requests(feed(stream, "silence 400ms, speech 400ms, silence 400ms"))[-1]
    assert at_pause.is_final
    (partial,) = stream.receive_answer(at_pause, hypothesis("I say"), 0.0)
    assert isinstance(partial, Partial)
    assert partial.text == "I say", "the last word is whole at a pause"
    asked = requests(feed(stream, "speech 1000ms, silence 1100ms"))
    finals = [request for request in asked if request.is_final]
    assert len(finals) == 1
    assert len(finals[0].window.samples) > len(at_pause.window.samples)


def test_a_final_asked_at_a_pause_and_answered_after_the_utterance_went_on_is_no_final() -> None:
    stream = new_stream(service_level=lambda: SPECULATIVE)
    (at_pause,) = requests(feed(stream, "silence 400ms, speech 1000ms, silence 400ms"))
    (final,) = requests(feed(stream, "speech 1000ms, silence 800ms"))
    assert stream.receive_answer(at_pause, hypothesis("I say"), 0.0) == []
    assert [type(event).__name__ for event in stream.receive_answer(final, hypothesis("I say so."), 0.0)] == ["Final"]


def test_a_partial_on_its_way_at_the_pause_adds_nothing_that_is_not_in_the_prefix_of_the_final() -> None:
    stream = new_stream(partials=True, service_level=lambda: SPECULATIVE)
    asked = requests(feed(stream, "silence 400ms, speech 1000ms, silence 400ms"))
    partial, at_pause = [request for request in asked if not request.is_final][-1], asked[-1]
    assert at_pause.is_final
    assert stream.receive_answer(partial, hypothesis("wrong words"), 0.0) == []


def test_an_early_final_that_failed_is_reported_at_the_endpoint_and_not_tried_again() -> None:
    """It was tried twice already where it kills workers."""
    stream = new_stream(service_level=lambda: SPECULATIVE)
    (request,) = requests(feed(stream, "silence 400ms, speech 1000ms, silence 400ms"))
    assert stream.receive_answer(request, WorkerDied("gone"), 0.0) == []
    outputs = feed(stream, "silence 400ms")
    assert [type(output).__name__ for output in outputs] == ["SpeechEnd", "ErrorReport", "Final"]


def test_at_reduced_effort_the_final_is_requested_at_the_endpoint() -> None:
    assert requests(feed(new_stream(), "silence 400ms, speech 1000ms, silence 400ms")) == []


def test_a_partial_that_a_guard_suspects_is_not_shown() -> None:
    stream = new_stream(partials=True)
    (request, *_) = requests(feed(stream, "silence 400ms, speech 1000ms"))
    assert stream.receive_answer(request, hypothesis("the the the the", suspicious=True), 0.0) == []


def test_a_partial_that_comes_after_the_end_of_its_utterance_is_not_shown() -> None:
    stream = new_stream(partials=True)
    outputs = feed(stream, "silence 400ms, speech 1000ms, silence 1100ms")
    partial = next(request for request in requests(outputs) if not request.is_final)
    assert stream.receive_answer(partial, hypothesis("hello"), 0.0) == []


def test_words_of_a_final_are_in_stream_time() -> None:
    stream = new_stream(transcription=TranscriptionOptions(words=True))
    (request,) = requests(feed(stream, "silence 2000ms, speech 1000ms, silence 800ms"))
    word = Word("Hello", 500, 700, 0.8)
    (final,) = stream.receive_answer(request, hypothesis("Hello", words=(word,)), 0.0)
    offset_ms = request.window_start // 16
    assert isinstance(final, Final)
    assert final.words == (CaptionWord("Hello", offset_ms + 500, offset_ms + 700, 0.8),)
    assert 1500 < offset_ms < 2000


def test_words_of_a_final_are_within_its_speech() -> None:
    stream = new_stream(transcription=TranscriptionOptions(words=True))
    (request,) = requests(feed(stream, "silence 2000ms, speech 1000ms, silence 800ms"))
    window_ms = len(request.window.samples) // 16
    words = (Word("Hello", 0, 700, 0.8), Word("there", 700, window_ms, 0.8), Word("you", window_ms, window_ms, 0.8))
    (final,) = stream.receive_answer(request, hypothesis("Hello there you", words=words), 0.0)
    assert isinstance(final, Final)
    assert final.words is not None
    times_ms = [time_ms for word in final.words for time_ms in (word.start_ms, word.end_ms)]
    assert times_ms == sorted(times_ms)
    assert (times_ms[0], times_ms[-1]) == (final.start_ms, final.end_ms)
    assert request.window_start // 16 < final.start_ms < final.end_ms < request.window_start // 16 + window_ms


def test_flush_ends_the_open_utterance_and_is_answered_after_its_final() -> None:
    stream = new_stream()
    feed(stream, "silence 400ms, speech 1000ms")
    end, request = stream.flush("mark", 0.0)
    assert isinstance(end, SpeechEnd)
    assert end.reason == "flush"
    assert isinstance(request, Request)
    final, flushed = stream.receive_answer(request, hypothesis("hello"), 0.0)
    assert isinstance(final, Final)
    assert flushed == Flushed("mark")


def test_a_pause_ends_the_open_utterance_as_silence_does() -> None:
    stream = new_stream()
    feed(stream, "silence 200ms, speech 1200ms")
    begin_ms, outputs = stream.pause(10.0)
    assert begin_ms == 1400
    [ended] = [event for event in events(outputs) if isinstance(event, SpeechEnd)]
    assert (ended.reason, abs(ended.end_ms - 1400) < 100) == ("silence", True)
    [request] = [request for request in requests(outputs) if request.is_final]
    assert isinstance(events(stream.receive_answer(request, hypothesis("one"), 10.0))[-1], Final)
    [started] = [event for event in events(feed(stream, "speech 1200ms")) if isinstance(event, SpeechStart)]
    assert started.start_ms >= begin_ms


def test_a_pause_in_silence_or_after_the_end_ends_nothing() -> None:
    stream = new_stream()
    feed(stream, "silence 1000ms")
    assert stream.pause(10.0) == (1000, [])
    stream.end("stop", 10.0)
    assert stream.pause(10.0) == (1000, [])


IN_SPEECH_S = 3.0


@for_each(
    ("script", "patience_s"),
    [
        ("speech 1200ms", IN_SPEECH_S),
        ("speech 1200ms, silence 100ms", IN_SPEECH_S),
        ("speech 1200ms, silence 400ms", PATIENCE_IN_SILENCE_S),
        ("speech 1200ms, silence 2000ms", PATIENCE_IN_SILENCE_S),
    ],
)
def test_less_patience_is_needed_where_silence_has_begun(script: str, patience_s: float) -> None:
    stream = new_stream()
    feed(stream, script)
    assert stream.patience_s(IN_SPEECH_S) == patience_s


def test_the_silence_that_a_publisher_asks_for_counts_before_and_in_a_pause() -> None:
    stream = new_stream(endpointing=EndpointingConfig(hangover_ms=5000, mid_phrase_hangover_ms=5000))
    feed(stream, "speech 1200ms, silence 1000ms")
    assert 3.9 < stream.patience_s(IN_SPEECH_S) < 4.3


def test_a_stream_may_have_a_patience_of_its_own() -> None:
    stream = new_stream()
    stream.configure(replace(stream.options, patience_ms=1500), 0.0)
    feed(stream, "speech 1200ms")
    assert stream.patience_s(IN_SPEECH_S) == 1.5
    feed(stream, "silence 400ms")
    assert stream.patience_s(IN_SPEECH_S) == PATIENCE_IN_SILENCE_S


def test_a_pause_ends_no_utterance_where_endpointing_is_manual() -> None:
    stream = new_stream(endpointing=EndpointingConfig(manual=True))
    for script in ("speech 1200ms", "silence 1000ms"):
        feed(stream, script)
        assert stream.patience_s(IN_SPEECH_S) == inf


def test_the_next_utterance_goes_without_the_one_before_a_discarded_one() -> None:
    """The audio between them was withdrawn, so they would be transcribed as one."""
    stream = new_stream(service_level=lambda: SPECULATIVE, transcription=ENGLISH)
    (first,) = requests(feed(stream, "silence 400ms, speech 1000ms") + stream.flush(None, 0.0))
    stream.receive_answer(first, hypothesis("Good morning."), 0.0)
    feed(stream, "speech 200ms")
    assert any(isinstance(event, Final) for event in stream.discard(0.0))
    (second,) = requests(feed(stream, "speech 1000ms") + stream.flush(None, 0.0))
    assert second.window_start - (first.window_start + len(first.window.samples)) < 600 * 16
    assert second.window.preceding is None


def test_flush_in_silence_is_answered_at_once() -> None:
    stream = new_stream()
    feed(stream, "silence 400ms")
    assert stream.flush(7, 0.0) == [Flushed(7)]


def test_speech_after_a_flush_is_a_new_utterance_that_loses_no_audio() -> None:
    stream = new_stream()
    feed(stream, "silence 400ms, speech 1000ms")
    first = requests(stream.flush(None, 0.0))[0]
    feed(stream, "speech 1000ms")
    second = requests(stream.end("stop", 0.0))[0]
    assert second.utterance == 1
    assert second.window_start <= first.window_start + len(first.window.samples) + 320


def test_the_end_requests_the_final_of_the_open_utterance() -> None:
    stream = new_stream()
    feed(stream, "silence 400ms, speech 1000ms")
    end, request = stream.end("stop", 0.0)
    assert isinstance(end, SpeechEnd)
    assert end.reason == "stop"
    assert not stream.drained
    assert isinstance(request, Request)
    stream.receive_answer(request, hypothesis("hello"), 0.0)
    assert stream.drained
    assert stream.end("stop", 0.0) == []


def test_audio_after_the_end_is_refused_and_changes_nothing() -> None:
    stream = new_stream()
    stream.end("stop", 0.0)
    with pytest.raises(WrongState) as refusal:
        stream.receive_audio(b"\0\0", 0.0)
    assert not refusal.value.fatal
    assert stream.received_ms == 0
    assert stream.drained


def test_half_a_sample_at_the_end_is_reported_and_costs_nothing_else() -> None:
    stream = new_stream()
    feed(stream, "silence 400ms, speech 1000ms")
    stream.receive_audio(b"\x01", 0.0)
    report, *rest = stream.end("stop", 0.0)
    assert isinstance(report, ErrorReport)
    assert (report.code, report.fatal) == ("truncated_audio", False)
    assert [type(output).__name__ for output in rest] == ["SpeechEnd", "Request"]


def test_non_finite_samples_are_silence_and_reported_once() -> None:
    stream = new_stream(audio=AudioFormat("pcm_f32le"))
    rubbish = np.array([np.nan, np.inf, -np.inf] * 1000, dtype="<f4").tobytes()
    reports = [event for _ in range(3) for event in events(stream.receive_audio(rubbish, 0.0))]
    assert reports == [
        ErrorReport(
            "non_finite_audio", "the audio contains NaN or infinite samples; they are replaced by silence", fatal=False
        )
    ]


def test_finals_that_are_abandoned_are_reported_and_come_in_order() -> None:
    stream = new_stream()
    _, second = requests(feed(stream, TWO_UTTERANCES))
    stream.receive_answer(second, hypothesis(""), 0.0)
    feed(stream, "speech 1000ms")
    outputs = stream.abandon(WorkerDied("the time is up"), 0.0)
    kinds = [type(output).__name__ for output in outputs if not isinstance(output, Request)]
    assert kinds == ["SpeechEnd", "ErrorReport", "Final", "Final", "ErrorReport", "Final"]
    assert stream.drained


def test_the_backlog_is_the_audio_that_waits_for_finals() -> None:
    stream = new_stream()
    first, second = requests(feed(stream, TWO_UTTERANCES))
    waiting_ms = [len(request.window.samples) / 16 for request in (first, second)]
    assert stream.backlog_ms == pytest.approx(sum(waiting_ms), abs=2)
    stream.receive_answer(first, hypothesis("hello"), 0.0)
    assert stream.backlog_ms == pytest.approx(waiting_ms[1], abs=2)


def test_the_status_has_the_age_of_a_final_that_does_not_come() -> None:
    stream = new_stream()
    (request,) = requests(feed(stream, "silence 400ms, speech 1000ms, silence 800ms", now_s=5.0))
    assert stream.status(5.1).state == "ready"
    late = stream.status(5.0 + OVERLOADED_AFTER_S + 0.5)
    assert (late.state, late.lag_ms) == ("overloaded", 3500)
    stream.receive_answer(request, hypothesis("hello"), 9.0)
    assert stream.status(9.0).lag_ms == 0


@for_each("seed", range(4))
def test_bytes_cut_anywhere_give_the_same_events_and_the_same_windows(seed: int) -> None:
    data = pcm_s16le(sound(TWO_UTTERANCES))
    chance = random.Random(seed)
    cuts = sorted(chance.choices(range(len(data)), k=4 ** (seed + 2)))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert transcript_of(pieces) == transcript_of([data])


@for_each("part", [0.0, 0.2, 0.41, 0.6, 0.9])
def test_a_stream_ended_anywhere_gives_every_started_utterance_its_final(part: float) -> None:
    data = pcm_s16le(sound(TWO_UTTERANCES))
    stream = new_stream()
    outputs = stream.receive_audio(data[: round(len(data) * part)], 0.0) + stream.end("disconnect", 0.0)
    started = [event.utterance for event in events(outputs) if isinstance(event, SpeechStart)]
    finals = [
        event.utterance
        for request in requests(outputs)
        for event in stream.receive_answer(request, hypothesis("x"), 0.0)
        if isinstance(event, Final)
    ]
    assert finals == started
    assert stream.drained


def transcript_of(pieces: Iterable[bytes]) -> list[object]:
    stream = new_stream()
    outputs = [output for piece in pieces for output in stream.receive_audio(piece, 0.0)] + stream.end("stop", 0.0)
    return [
        (output.window_start, output.window.samples.tobytes()) if isinstance(output, Request) else output
        for output in outputs
    ]


def test_a_pause_after_words_that_end_no_sentence_does_not_end_the_utterance() -> None:
    """A publisher who thinks in mid-phrase gets one caption; one who has finished gets it at once."""
    for text, n_ended in (("ask not", 0), ("Ask not.", 1)):
        stream = new_stream(partials=True)
        (asked, *_) = requests(feed(stream, "silence 400ms, speech 1000ms"))
        stream.receive_answer(asked, hypothesis(text), 0.0)
        outputs = feed(stream, "silence 800ms")
        assert len([event for event in events(outputs) if isinstance(event, SpeechEnd)]) == n_ended


def test_a_pause_without_known_words_is_as_long_in_one_message_as_in_many() -> None:
    script = "silence 400ms, speech 1000ms, silence 800ms, speech 1000ms, silence 1500ms"
    for pieces in ([pcm_s16le(sound(script))], chunks(script)):
        stream = new_stream(partials=True, endpointing=EndpointingConfig(mid_phrase_hangover_ms=1000))
        seen = events([output for piece in pieces for output in stream.receive_audio(piece, 0.0)])
        assert [type(event).__name__ for event in seen] == ["SpeechStart", "SpeechEnd"]


def timed(stream: StreamPipeline, script: str, from_s: float) -> list[Output]:
    """Feed it at the pace of speech, 100 ms a time; each piece arrives once it is spoken."""
    now_s = from_s
    outputs = []
    for chunk in chunks(script):
        now_s += 0.1
        outputs += stream.receive_audio(chunk, now_s)
    return outputs


def test_a_silence_that_ends_an_utterance_is_the_endpoint_latency() -> None:
    stream = new_stream()
    timed(stream, "silence 400ms, speech 1000ms, silence 800ms", from_s=10.0)
    (latency,) = stream.take_latencies()
    assert latency.kind == "endpoint"
    assert 0.45 <= latency.seconds <= 0.65  # the hangover of 500 ms, counted in pieces of 100 ms
    assert stream.take_latencies() == []


def test_voice_that_follows_the_silence_in_the_same_chunk_is_the_next_utterances() -> None:
    """A publisher goes on at the very moment at which the pause was long enough."""
    stream = new_stream()
    stream.receive_audio(pcm_s16le(sound("silence 400ms, speech 1000ms, silence 200ms")), 10.0)
    outputs = stream.receive_audio(pcm_s16le(sound("silence 600ms, speech 40ms")), 10.625)
    assert stream.take_latencies() == [Latency("endpoint", 0.625)]
    final = stream.receive_answer(requests(outputs)[0], hypothesis("Yes."), 11.0)[0]
    assert isinstance(final, Final)
    assert final.latency_ms == 1000


def test_the_latency_of_a_final_is_that_of_its_event() -> None:
    stream = new_stream()
    (request,) = requests(feed(stream, "silence 400ms, speech 1000ms, silence 800ms", now_s=10.0))
    stream.take_latencies()
    (final,) = stream.receive_answer(request, hypothesis("Good morning."), now_s=10.75)
    assert isinstance(final, Final)
    assert stream.take_latencies() == [Latency("final", final.latency_ms / 1000)]


@for_each("returns", [True, False])
def test_the_time_in_which_the_publisher_was_away_is_no_latency(returns: bool) -> None:
    stream = new_stream(partials=True)
    feed(stream, "silence 400ms, speech 1000ms")  # and then nothing for a minute
    stream.take_latencies()
    outputs = stream.skip_to(60_000, 60.0) if returns else stream.end("disconnect", 60.0)
    (final,) = events(stream.receive_answer(requests(outputs)[-1], hypothesis("Hello."), now_s=60.5))
    assert isinstance(final, Final)
    assert final.latency_ms == 500
    assert stream.take_latencies() == [Latency("final", 0.5)]


def test_a_final_that_failed_has_no_latency() -> None:
    stream = new_stream()
    (request,) = requests(feed(stream, "silence 400ms, speech 1000ms, silence 800ms"))
    stream.take_latencies()
    stream.receive_answer(request, WorkerDied("gone"), 0.0)
    assert stream.take_latencies() == []


def test_the_first_caption_counts_from_the_first_voice_and_partials_from_what_they_show_first() -> None:
    stream = new_stream(partials=True)
    first, second = requests(timed(stream, "silence 400ms, speech 1200ms", from_s=10.0))
    stream.receive_answer(first, hypothesis("one two"), now_s=12.0)
    begun, shown = stream.take_latencies()
    assert begun.kind == "first_partial"
    assert abs(begun.seconds - 1.55) <= 0.1  # first voiced from 10.4 to 10.5
    # Between the first voice and the newest audio of the partial.
    first_voiced_s = 12.0 - begun.seconds
    assert shown == Latency("partial", pytest.approx(12.0 - (first_voiced_s + first.asked_s) / 2))
    stream.receive_answer(second, hypothesis("one two"), now_s=12.5)
    assert stream.take_latencies() == [Latency("partial", pytest.approx(12.5 - (first.asked_s + second.asked_s) / 2))]


def test_a_partial_that_is_not_shown_makes_the_words_of_the_next_one_older() -> None:
    stream = new_stream(partials=True)
    first, second = requests(timed(stream, "silence 400ms, speech 1200ms", from_s=10.0))
    stream.receive_answer(first, hypothesis("the the the", suspicious=True), now_s=12.0)
    assert stream.take_latencies() == []
    stream.receive_answer(second, hypothesis("one two"), now_s=12.0)
    begun, shown = stream.take_latencies()
    first_voiced_s = 12.0 - begun.seconds
    assert shown == Latency("partial", pytest.approx(12.0 - (first_voiced_s + second.asked_s) / 2))


def test_where_no_partial_came_in_time_the_final_is_the_first_caption() -> None:
    stream = new_stream(partials=True)
    outputs = timed(stream, "silence 400ms, speech 1000ms, silence 1100ms", from_s=10.0)
    request = next(request for request in requests(outputs) if request.is_final)
    stream.take_latencies()
    stream.receive_answer(request, hypothesis("One."), now_s=13.0)
    assert [latency.kind for latency in stream.take_latencies()] == ["first_partial", "final"]


def test_an_utterance_that_goes_on_after_a_cut_for_length_waits_for_no_first_caption() -> None:
    stream = new_stream(partials=True, endpointing=EndpointingConfig(max_utterance_ms=2000))
    asked = requests(timed(stream, "silence 400ms, speech 3900ms", from_s=10.0))
    for request in asked:
        stream.receive_answer(request, hypothesis("one two"), now_s=15.0)
    final = next(request for request in asked if request.is_final)
    later = [request for request in asked if request.utterance > final.utterance]
    assert later, "it was not cut"
    kinds = [latency.kind for latency in stream.take_latencies()]
    assert kinds.count("first_partial") == 1
    assert "endpoint" not in kinds


def test_a_pause_before_any_words_are_known_does_not_end_the_utterance_where_words_will_come() -> None:
    for partials, n_ended in ((True, 0), (False, 1)):
        outputs = feed(new_stream(partials=partials), "silence 400ms, speech 1000ms, silence 800ms")
        assert len([event for event in events(outputs) if isinstance(event, SpeechEnd)]) == n_ended


@for_each(
    ("rate", "channels", "seed"),
    spread([(*each, seed) for each in ((16_000, 1), (44_100, 2), (11_025, 1), (96_000, 3)) for seed in range(3)], 4),
)
def test_audio_broken_off_anywhere_and_sent_again_from_received_ms_gives_the_same_windows(
    rate: int, channels: int, seed: int
) -> None:
    """Connections break within samples and within milliseconds, and sometimes again before anything new has come."""
    chance = random.Random(seed)
    mono = sound("silence 200ms, speech 900ms, silence 700ms", rate)
    data = pcm_s16le(np.repeat(mono, channels))

    def fresh() -> StreamPipeline:
        return new_stream(audio=AudioFormat("pcm_s16le", rate, channels))

    unbroken = fresh()
    expected = unbroken.receive_audio(data, 0.0) + unbroken.end("stop", 0.0)
    broken, outputs, at = fresh(), [], 0
    for _ in range(20):
        until = chance.randrange(at, len(data) + 1)
        outputs += broken.receive_audio(data[at:until], 0.0)
        at = broken.rewind() * rate // 1000 * channels * 2
        assert 0 <= until - at <= (rate // 1000 + 2) * channels * 2
    outputs += broken.receive_audio(data[at:], 0.0) + broken.end("stop", 0.0)
    assert broken.received_ms == unbroken.received_ms == len(mono) * 1000 // rate
    assert events(outputs) == events(expected)
    for request, same in zip(requests(outputs), requests(expected), strict=True):
        assert np.array_equal(request.window.samples, same.window.samples)


def test_received_audio_counts_at_once_although_the_resampler_holds_some_of_it_back() -> None:
    stream = new_stream(audio=AudioFormat("pcm_s16le", 48_000))
    stream.receive_audio(bytes(2 * 4800), 0.0)
    assert stream.received_ms == 100


# A stream that an earlier server has begun

LONG_TALK = "silence 400ms, speech 1000ms, silence 800ms, speech 3200ms, silence 1600ms, speech 1100ms, silence 900ms"


def stretches(finals: Iterable[Final]) -> list[tuple[int, int]]:
    """From where to where somebody spoke, in ms; what was cut for length is one."""
    found: list[tuple[int, int]] = []
    for final in finals:
        if found and found[-1][1] == final.start_ms:
            found[-1] = found[-1][0], final.end_ms
        else:
            found.append((final.start_ms, final.end_ms))
    return found


@for_each(("max_utterance_ms", "delay", "offset"), [(15_000, 0, 0), (15_000, 4, 1), (2_000, 0, 1), (2_000, 4, 0)])
def test_wherever_a_server_dies_the_next_one_goes_on_without_a_word_lost_or_doubled(
    max_utterance_ms: int, delay: int, offset: int
) -> None:
    """Finals may be some chunks late; those that were not out are made again, and so is what was open.

    The server may die behind any chunk. Of those behind which the next one begins alike, one counts. Each case tries
    every second of them.
    """
    endpointing = EndpointingConfig(hangover_ms=500, mid_phrase_hangover_ms=500, max_utterance_ms=max_utterance_ms)
    data = list(chunks(LONG_TALK))
    audio = b"".join(data)

    def run(stream: StreamPipeline, pieces: Iterable[bytes]) -> Iterator[list[Event]]:
        """Yield all events so far behind each chunk, and at the end."""
        seen: list[Event] = []
        waiting: list[tuple[int, Request]] = []
        for n, piece in enumerate(pieces):
            outputs = stream.receive_audio(piece, 0.0)
            seen += events(outputs)
            waiting += [(n + delay, request) for request in requests(outputs)]
            while waiting and waiting[0][0] <= n:
                seen += events(stream.receive_answer(waiting.pop(0)[1], hypothesis("Text."), 0.0))
            yield seen
        outputs = stream.end("stop", 0.0)
        seen += events(outputs)
        for request in [*(request for _, request in waiting), *requests(outputs)]:
            seen += events(stream.receive_answer(request, hypothesis("Text."), 0.0))
        yield seen

    first = new_stream(endpointing=endpointing)
    resume_points: dict[ResumePoint, int] = {}
    for n_chunks, seen in enumerate(run(first, data), start=1):
        finals = tuple(event for event in seen if isinstance(event, Final))
        assert max((final.end_ms for final in finals), default=0) <= first.checkpoint_ms <= first.received_ms
        resume_points.setdefault(ResumePoint(finals, first.checkpoint_ms), n_chunks)
    expected = stretches(finals)
    assert len(expected) == 3
    for resume_point, n_chunks in [*resume_points.items()][offset::2]:
        second = new_stream(endpointing=endpointing, resume_point=resume_point)
        assert second.received_ms == resume_point.audio_ms
        rest = audio[resume_point.audio_ms * 32 :]
        *_, after = run(second, (rest[at : at + 3200] for at in range(0, len(rest), 3200)))
        together = [*resume_point.finals, *(event for event in after if isinstance(event, Final))]
        assert [final.utterance for final in together] == list(range(second.n_utterances))
        for got, wanted in zip(stretches(together), expected, strict=True):
            assert max(abs(got[0] - wanted[0]), abs(got[1] - wanted[1])) <= 100, (n_chunks, together, expected)


def test_words_and_partials_of_a_session_that_goes_on_have_the_times_of_the_stream() -> None:
    resume_point = ResumePoint((Final(4, "Before.", 0, 9000, "en", 0.9, 300),), 60_000)
    stream = new_stream(partials=True, resume_point=resume_point, transcription=TranscriptionOptions(words=True))
    seen: list[Event] = []
    for chunk in chunks("silence 400ms, speech 2000ms, silence 1200ms"):
        outputs = stream.receive_audio(chunk, 0.0)
        seen += events(outputs)
        for request in requests(outputs):
            seen += events(
                stream.receive_answer(request, hypothesis("Word.", words=(Word("Word.", 0, 300, 0.9),)), 0.0)
            )
    final = next(event for event in seen if isinstance(event, Final))
    partial = next(event for event in seen if isinstance(event, Partial))
    assert {event.utterance for event in seen if isinstance(event, SpeechStart | SpeechEnd | Partial | Final)} == {5}
    assert abs(final.start_ms - 60_400) < 100
    assert final.start_ms == partial.start_ms < partial.end_ms < final.end_ms
    assert final.words is not None
    assert 60_000 <= final.words[0].start_ms <= final.start_ms


def test_the_text_before_a_servers_death_is_the_context_of_what_follows() -> None:
    resume_point = ResumePoint((Final(0, "He went to the", 0, 900, "en", 0.9, 300),), 900)
    stream = new_stream(resume_point=resume_point, service_level=lambda: SPECULATIVE)
    (request,) = requests(feed(stream, "silence 400ms, speech 1000ms, silence 900ms"))
    assert request.window.context.strip() == "He went to the"


def test_in_silence_the_checkpoint_follows_the_newest_audio() -> None:
    stream = new_stream()
    feed(stream, "silence 30000ms")
    assert 29_000 < stream.checkpoint_ms < 30_000
    assert stream.checkpoint_ms == 30_000 - EndpointingConfig().onset_ms - EndpointingConfig().pre_roll_ms


@for_each("sample_rate", [8_000, 11_025, 16_000, 44_100, 48_000])
def test_a_session_that_goes_on_begins_at_the_very_millisecond(sample_rate: int) -> None:
    """A client that asks where to send from can find the sample, and less than a millisecond is skipped."""
    for until_ms in (0, 1, 7, 333, 60_001):
        stream = new_stream(resume_point=ResumePoint((), until_ms), audio=AudioFormat("pcm_s16le", sample_rate))
        assert stream.received_ms == until_ms
        assert stream.rewind() == until_ms
        stream.receive_audio(bytes(2 * sample_rate), 0.0)
        first_sample = until_ms * sample_rate // 1000
        assert stream.received_ms == (first_sample + sample_rate) * 1000 // sample_rate


def test_audio_that_is_lost_is_skipped_and_ends_what_was_said_before_it() -> None:
    stream = new_stream(resume_point=ResumePoint((), 1000))
    assert stream.skip_to(5000, 0.0) == []
    assert stream.received_ms == stream.checkpoint_ms == 5000
    found = events(feed(stream, "silence 400ms, speech 1000ms"))
    found += events(stream.skip_to(9000, 1.0))
    assert stream.received_ms == 9000
    found += events(feed(stream, "silence 400ms, speech 1000ms"))
    found += events(stream.end("stop", 2.0))
    starts = [event.start_ms for event in found if isinstance(event, SpeechStart)]
    ends = [(event.end_ms, event.reason) for event in found if isinstance(event, SpeechEnd)]
    assert starts == [pytest.approx(5400, abs=100), pytest.approx(9400, abs=100)]
    assert ends == [(pytest.approx(6400, abs=100), "disconnect"), (pytest.approx(10_400, abs=100), "stop")]


def test_an_utterance_that_begins_within_the_window_before_it_is_transcribed_alone() -> None:
    """A recheck that found no speech gives the audio back, though dots that were shown stay as the final."""
    stream = new_stream(partials=True, service_level=lambda: SPECULATIVE, transcription=ENGLISH)
    texts = iter(["..."] * 4)
    waiting: deque[Output] = deque()
    finals: list[Final] = []
    for chunk in chunks("silence 400ms, speech 6000ms, silence 900ms"):
        waiting += stream.receive_audio(chunk, 0.0)
        while waiting:
            output = waiting.popleft()
            if isinstance(output, Request):
                answer = Hypothesis(next(texts, ""), "en", 0.7, 0.7, speech_end_ms=0)
                waiting += stream.receive_answer(output, answer, 0.0)
            elif isinstance(output, Final):
                finals.append(output)
    assert [final.text for final in finals if final.text] == ["..."]


def test_a_session_that_is_over_keeps_no_audio() -> None:
    """It can be found for five minutes more, by those who read it and by a publisher who missed the end."""

    def ended() -> StreamPipeline:
        stream = new_stream(service_level=lambda: SPECULATIVE)
        outputs = [
            *feed(stream, "silence 400ms, speech 2000ms, silence 900ms, speech 2000ms"),
            *stream.end("stop", 0.0),
        ]
        for request in requests(outputs):
            stream.receive_answer(request, hypothesis("words"), 0.0)
        assert stream.drained
        return stream

    ended()  # what is made once for all is made
    gc.collect()
    tracemalloc.start()
    kept = [ended() for _ in range(3)]
    gc.collect()
    used_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used_bytes / len(kept) < 50_000


def test_a_partial_that_its_utterance_did_not_wait_for_is_no_lag_afterwards() -> None:
    """A final takes the place of a waiting partial, which is never answered then."""
    stream = new_stream(partials=True)
    final = requests(feed(stream, "silence 400ms, speech 1000ms, silence 1100ms", now_s=5.0))[-1]
    stream.receive_answer(final, hypothesis("Good morning."), 5.1)
    status = stream.status(60.0)
    assert (status.partials, status.lag_ms) == ("on", 0)


# Options that come late


def test_options_may_be_replaced_until_audio_comes() -> None:
    stream = new_stream(partials=True)
    options = StreamOptions(
        AudioFormat("pcm_s16le", 48_000),
        TranscriptionOptions("de", words=True),
        partials=False,
        endpointing=EndpointingConfig(hangover_ms=2000, mid_phrase_hangover_ms=2000),
    )
    stream.configure(options, 0.0)
    assert stream.options == options
    audio = pcm_s16le(sound("silence 400ms, speech 1000ms, silence 1500ms", 48_000))
    assert [type(event) for event in stream.receive_audio(audio, 0.0)] == [SpeechStart]
    assert stream.received_ms == 2900
    _, final = stream.end("stop", 0.0)
    assert isinstance(final, Request)
    assert final.window.options == options.transcription


def test_options_that_come_late_keep_the_point_at_which_a_stream_goes_on() -> None:
    finals = (Final(4, "He went to the", 0, 900, "en", 0.9, 300),)
    stream = new_stream(resume_point=ResumePoint(finals, 60_000))
    stream.configure(StreamOptions(partials=False), 0.0)
    start, _, request = feed(stream, "silence 400ms, speech 1000ms, silence 900ms")
    assert isinstance(start, SpeechStart)
    assert (start.utterance, abs(start.start_ms - 60_400) < 100) == (5, True)
    assert isinstance(request, Request)


def test_options_after_audio_count_from_there_on() -> None:
    """The publisher goes on with a telephone's audio, in another language, and ends its turns itself."""
    stream = new_stream(partials=True)
    before = feed(stream, "silence 400ms, speech 1000ms, silence 900ms")
    options = StreamOptions(AudioFormat("pcm_s16le", 8000), TranscriptionOptions("de"), endpointing=MANUAL)
    assert stream.configure(options, 0.0) == []
    assert stream.options == options
    received_ms = stream.received_ms
    telephone = pcm_s16le(sound("silence 500ms, speech 1000ms, silence 2000ms", 8000))
    (start,) = events(stream.receive_audio(telephone, 0.0))
    assert stream.received_ms == received_ms + 3500
    assert isinstance(start, SpeechStart)
    assert (start.utterance, abs(start.start_ms - 2800) <= 60) == (1, True)
    _, request = stream.flush("mark", 0.0)
    assert isinstance(request, Request)
    assert {request.window.options.language for request in requests(before)} == {None}
    assert request.window.options.language == "de"
    assert abs(len(request.window.samples) / 16 - 1800) <= 150  # with pre-roll and post-roll


@pytest.mark.parametrize("is_manual", [True, False])
def test_an_open_utterance_has_the_new_endpoints(is_manual: bool) -> None:
    stream = new_stream(endpointing=EndpointingConfig(manual=not is_manual))
    (start,) = events(feed(stream, "silence 400ms, speech 1000ms, silence 200ms"))
    assert isinstance(start, SpeechStart)
    stream.configure(replace(stream.options, endpointing=EndpointingConfig(manual=is_manual)), 0.0)
    ended = [event for event in events(feed(stream, "silence 1000ms")) if isinstance(event, SpeechEnd)]
    assert [event.reason for event in ended] == ([] if is_manual else ["silence"])


def test_a_longer_pre_roll_has_no_audio_that_is_forgotten() -> None:
    stream = new_stream(endpointing=EndpointingConfig(pre_roll_ms=0))
    feed(stream, "silence 2000ms")
    stream.configure(replace(stream.options, endpointing=EndpointingConfig(pre_roll_ms=1000)), 0.0)
    _, _, request = feed(stream, "speech 1000ms, silence 900ms")
    assert isinstance(request, Request)
    assert 1000 <= len(request.window.samples) / 16 <= 1700
    assert abs(request.window_start - 2000 * 16) <= 100 * 16


def test_a_change_of_the_format_keeps_every_sample() -> None:
    stream = new_stream()
    rates_hz = (48_000, 8000, 24_000, 16_000)
    for rate_hz in rates_hz:
        stream.configure(StreamOptions(AudioFormat("pcm_s16le", rate_hz)), 0.0)
        stream.receive_audio(pcm_s16le(sound("silence 500ms", rate_hz)), 0.0)
    assert stream.received_ms == 500 * len(rates_hz)
    (channel,) = stream._channels.values()
    assert channel.now == 500 * 16 * len(rates_hz)


def test_a_change_of_the_options_changes_no_point_to_go_on_from() -> None:
    stream = new_stream()
    feed(stream, "silence 100ms")
    stream.configure(StreamOptions(AudioFormat("mulaw", 8000)), 0.0)
    stream.configure(StreamOptions(AudioFormat("alaw", 8000)), 0.0)
    assert stream.received_ms == 100


def test_options_after_the_end_are_refused() -> None:
    stream = new_stream()
    stream.end("stop", 0.0)
    with pytest.raises(WrongState):
        stream.configure(StreamOptions(), 0.0)


# Endpoints that the client decides

MANUAL = EndpointingConfig(manual=True)


def test_where_endpointing_is_manual_only_a_flush_ends_an_utterance() -> None:
    stream = new_stream(partials=True, endpointing=MANUAL)
    outputs = feed(stream, "silence 400ms, speech 1000ms, silence 3000ms, speech 1000ms, silence 3000ms")
    for request in requests(outputs):
        outputs += stream.receive_answer(request, replace(hypothesis("Good morning."), speech_end_ms=1200), 0.0)
    assert {type(event) for event in events(outputs)} == {SpeechStart, Partial}
    end, request = stream.flush("mark", 0.0)
    assert isinstance(end, SpeechEnd)
    assert (end.reason, abs(end.end_ms - 5400) <= 150) == ("flush", True)
    assert isinstance(request, Request)
    assert [type(event) for event in stream.receive_answer(request, hypothesis("Good morning."), 0.0)] == [
        Final,
        Flushed,
    ]


def test_where_endpointing_is_manual_the_end_and_the_length_limit_end_an_utterance_too() -> None:
    stream = new_stream(endpointing=replace(MANUAL, max_utterance_ms=2000))
    outputs = feed(stream, "silence 400ms, speech 700ms, silence 3000ms, speech 700ms") + stream.end("stop", 0.0)
    assert [event.reason for event in events(outputs) if isinstance(event, SpeechEnd)] == ["max_length", "stop"]


def test_where_endpointing_is_manual_a_flush_behind_a_pause_finds_its_final_made() -> None:
    stream = new_stream(service_level=lambda: SPECULATIVE, endpointing=MANUAL)
    (request,) = requests(feed(stream, "silence 400ms, speech 1000ms, silence 2000ms"))
    stream.receive_answer(request, hypothesis("Yes."), 0.0)
    assert [type(output) for output in stream.flush(None, 0.0)] == [SpeechEnd, Final, Flushed]


# Audio that the client takes back


def test_a_discarded_utterance_gets_an_empty_final_and_its_requests_are_cancelled() -> None:
    """Readers take back its partial, as they do for any utterance in which nothing was said."""
    stream = new_stream(partials=True, service_level=lambda: SPECULATIVE)
    asked = requests(feed(stream, "silence 400ms, speech 3000ms, silence 300ms"))
    for request in asked[:-1]:
        stream.receive_answer(request, hypothesis("And so my fellow"), 0.0)
    end, cancel, final = stream.discard(0.0)
    assert isinstance(end, SpeechEnd)
    assert (end.utterance, end.reason) == (0, "discard")
    assert cancel == Cancel(stream.id, 0)
    assert isinstance(final, Final)
    assert (final.utterance, final.text, final.end_ms) == (0, "", end.end_ms)
    assert stream.receive_answer(asked[-1], hypothesis("And so my fellow Americans"), 0.0) == []


def test_a_discarded_utterance_takes_its_turn_behind_finals_that_are_awaited() -> None:
    stream = new_stream()
    (request,) = requests(feed(stream, "silence 400ms, speech 1000ms, silence 800ms, speech 1000ms"))
    assert [type(output) for output in stream.discard(0.0)] == [SpeechEnd, Cancel]
    finals = stream.receive_answer(request, hypothesis("Hello."), 0.0)
    assert [(final.utterance, final.text) for final in finals if isinstance(final, Final)] == [(0, "Hello."), (1, "")]


def test_nothing_of_discarded_audio_is_in_later_windows_or_their_context() -> None:
    stream = new_stream(service_level=lambda: SPECULATIVE, transcription=ENGLISH)
    feed(stream, "silence 400ms, speech 1000ms")
    stream.discard(0.0)
    (request,) = requests(feed(stream, "speech 1000ms, silence 400ms"))
    assert request.utterance == 1
    assert request.window_start >= 1400 * 16
    assert (request.window.preceding, request.window.context, request.window.prefix) == (None, "", "")


def test_a_discard_in_silence_sends_nothing() -> None:
    stream = new_stream()
    feed(stream, "silence 400ms")
    assert stream.discard(0.0) == []


@pytest.mark.parametrize("script", ["silence 400ms, speech 1000ms", "silence 1400ms"])
def test_discarded_audio_is_not_asked_for_again_by_a_restarted_server(script: str) -> None:
    stream = new_stream()
    feed(stream, script)
    stream.discard(0.0)
    assert stream.checkpoint_ms == stream.received_ms == 1400


def test_a_discard_after_the_end_is_refused() -> None:
    stream = new_stream()
    stream.end("stop", 0.0)
    with pytest.raises(WrongState):
        stream.discard(0.0)


@for_each("part", [0.0, 0.2, 0.41, 0.6, 0.9])
def test_a_stream_discarded_anywhere_gives_every_started_utterance_one_final_and_goes_on(part: float) -> None:
    data = pcm_s16le(sound(TWO_UTTERANCES))
    cut = round(len(data) * part)
    stream = new_stream()
    outputs = stream.receive_audio(data[:cut], 0.0) + stream.discard(0.0)
    outputs += stream.receive_audio(data[cut:], 0.0) + stream.end("stop", 0.0)
    for request in requests(outputs):
        outputs += stream.receive_answer(request, hypothesis("x"), 0.0)
    started = [event.utterance for event in events(outputs) if isinstance(event, SpeechStart)]
    assert sorted(event.utterance for event in events(outputs) if isinstance(event, Final)) == started
    assert stream.drained


# Speakers


def voiced(text: str, *people: int) -> Hypothesis:
    """An answer whose words are shared by people with the same number of words each, who speak for 2 s each."""
    voices = []
    for n, person in enumerate(people):
        embedding = np.zeros(8, np.float32)
        embedding[person] = 1.0
        voices.append(Voice(2000 * n, 2000 * n + 2000, embedding))
    step_ms = 2000 * len(people) // len(text.split())
    words = tuple(Word(word, step_ms * n, step_ms * n + step_ms, 0.9) for n, word in enumerate(text.split()))
    return replace(hypothesis(text, words=words), voices=tuple(voices))


def turns_of(outputs: list[Output]) -> list[list[tuple[int | None, str]]]:
    finals = [output for output in outputs if isinstance(output, Final)]
    return [[(turn.speaker, turn.text) for turn in final.turns or ()] for final in finals]


def test_speakers_have_numbers_in_the_order_of_the_finals_and_not_of_the_answers() -> None:
    stream = new_stream(speakers=9)
    first, second = requests(feed(stream, TWO_UTTERANCES))
    assert first.window.options.speakers
    assert stream.highest_speaker == 0
    assert stream.receive_answer(second, voiced("Yes. And you?", 5), 1.0) == []
    outputs = stream.receive_answer(first, voiced("Hello Ada. Hello Bob.", 3, 5), 1.0)
    assert turns_of(outputs) == [[(1, "Hello Ada. "), (2, "Hello Bob.")], [(2, "Yes. And you?")]]
    assert stream.highest_speaker == 2


def test_numbers_go_on_above_those_of_an_earlier_server() -> None:
    earlier = Final(0, "Hello.", 400, 1400, "en", 0.9, 300, turns=(Turn(4, "Hello.", 400, 1400),))
    stream = new_stream(speakers=9, resume_point=ResumePoint((earlier,), 1500, {None: 1500}))
    assert stream.highest_speaker == 4
    (request,) = requests(feed(stream, "silence 700ms, speech 1200ms, silence 900ms"))
    assert turns_of(stream.receive_answer(request, voiced("Hello.", 3), 1.0)) == [[(5, "Hello.")]]


def test_channels_apart_are_speakers_without_voices() -> None:
    stream = new_stream(speakers=9, channel_mode="separate", audio=AudioFormat("pcm_s16le", 16_000, 2))
    assert stream.highest_speaker == 2
    samples = sound(TWO_UTTERANCES)
    outputs = stream.receive_audio(pcm_s16le(np.stack((np.zeros_like(samples), samples), axis=1)), 0.0)
    first, _ = requests(outputs)
    assert not first.window.options.speakers
    assert turns_of(stream.receive_answer(first, hypothesis("Hello."), 1.0)) == [[(2, "Hello.")]]


def test_whether_speakers_are_distinguished_can_be_changed_until_audio_comes() -> None:
    stream = new_stream()
    stream.configure(replace(stream.options, speakers=3), 0.0)
    first, second = requests(feed(stream, TWO_UTTERANCES))
    stream.configure(replace(stream.options, speakers=0), 0.0)
    assert stream.options.speakers == 3
    assert turns_of(stream.receive_answer(first, voiced("Hello.", 3), 1.0)) == [[(1, "Hello.")]]
    assert second.window.options.speakers


def test_the_translation_of_a_final_needs_no_voices() -> None:
    stream = new_stream(speakers=3, tracks=("de",))
    first, _ = requests(feed(stream, TWO_UTTERANCES))
    (translation,) = requests(stream.receive_answer(first, voiced("Hello.", 3), 1.0))
    assert not translation.window.options.speakers
