"""An open utterance requests transcriptions and gives captions."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from livecaption.audio import FRAME_SAMPLES, samples_of
from livecaption.errors import WorkerDied
from livecaption.events import Partial
from livecaption.pipeline.final_queue import FinalQueue
from livecaption.pipeline.latency import Latency
from livecaption.pipeline.open_utterance import CaptionClock, EarlyFinal, OpenUtterance
from livecaption.pipeline.request_builder import RequestBuilder
from livecaption.recognition import Hypothesis, RequestId, SessionId, TranscriptionOptions
from livecaption.scheduling.load_control import ServiceLevel
from livecaption.scheduling.request import Request
from livecaption.speech.endpointing import EndpointingConfig
from livecaption.speech.utterance import UtteranceCutter, UtteranceEnded, UtteranceEvent, UtteranceStarted
from tests.support.pipeline import SPECULATIVE, USUAL_LEVEL, hypothesis
from tests.support.speech import voiced_flags

PAUSED = ServiceLevel(None, effort="reduced")
OPTIONS = TranscriptionOptions("en")


def frames_of(script: str) -> np.ndarray:
    """Frames whose samples are positive where voiced, zero elsewhere."""
    return np.repeat(np.array(voiced_flags(script), np.float32), FRAME_SAMPLES).reshape(-1, FRAME_SAMPLES)


def judge(frames: np.ndarray, energies: Sequence[float]) -> list[bool]:
    return [bool(frame[0] > 0) for frame in frames]


class Conversation:
    """An utterance that is open since 1 s, and the stream that it is in.

    Attributes:
        latencies: all that were recorded.
        noisy: whether the speech is in noise.
    """

    def __init__(self, *, partials: bool = True, level: ServiceLevel = USUAL_LEVEL, manual: bool = False) -> None:
        self.level = level
        self.noisy = False
        self.latencies: list[Latency] = []
        self.cutter = UtteranceCutter(EndpointingConfig(manual=manual), judge, begins_mid_phrase=partials)
        (started,) = self.cutter.push(frames_of("silence 1000ms, speech 60ms"))
        assert isinstance(started, UtteranceStarted)
        ids = itertools.count(1)
        requests = RequestBuilder(
            SessionId("s"), OPTIONS, lambda: self.level, lambda: RequestId(next(ids)), FinalQueue()
        )
        clock = CaptionClock(first_due_since_s=1.0, shown_until_s=1.0)
        self.utterance = OpenUtterance(
            started,
            self.cutter,
            requests,
            clock,
            partials=partials,
            is_noisy=lambda: self.noisy,
            record=self.latencies.append,
        )

    def feed(self, script: str) -> list[Request]:
        """Send a script frame by frame; what is requested meanwhile. It must not end the utterance."""
        asked = []
        for frame in frames_of(script):
            assert self.cutter.push(frame[np.newaxis]) == []
            asked += self.utterance.ask(self.level, self.cutter.now / 16_000)
        return asked

    def answer(self, request: Request, text: str, now_s: float = 9.0) -> Partial | None:
        return self.utterance.receive_answer(request, hypothesis(text), now_s)

    def end(self) -> UtteranceEnded:
        (ended,) = self.cutter.flush("flush")
        assert isinstance(ended, UtteranceEnded)
        return ended


def ends_ms(asked: list[Request]) -> list[int]:
    return [(request.window_start + len(request.window.samples)) // 16 for request in asked]


def test_a_partial_is_requested_for_each_interval_of_new_audio() -> None:
    asked = Conversation().feed("speech 1600ms")
    assert ends_ms(asked) == [1500, 2000, 2500]
    assert not any(request.is_final for request in asked)


@pytest.mark.parametrize(("partials", "level"), [(False, USUAL_LEVEL), (True, PAUSED)])
def test_no_partial_is_requested_where_none_is_wanted_or_they_pause(partials: bool, level: ServiceLevel) -> None:
    assert Conversation(partials=partials, level=level).feed("speech 1600ms") == []


def test_a_refreshed_partial_has_the_newest_audio_and_the_next_interval_counts_from_it() -> None:
    talk = Conversation()
    (asked,) = talk.feed("speech 440ms")
    talk.feed("speech 200ms")
    refreshed = talk.utterance.refresh(asked, 2.0)
    assert ends_ms([asked, refreshed]) == [1500, 1700]
    assert ends_ms(talk.feed("speech 600ms")) == [2200]


def test_with_capacity_one_early_final_is_requested_at_each_pause() -> None:
    talk = Conversation(partials=False, level=SPECULATIVE)
    (first,) = talk.feed("speech 440ms, silence 400ms")
    talk.answer(first, "And so")
    (second,) = talk.feed("speech 300ms, silence 400ms")
    assert ends_ms([first, second]) == [1700, 2400]
    assert first.is_final
    assert second.is_final


def test_no_early_final_is_requested_while_another_is_awaited() -> None:
    talk = Conversation(partials=False, level=SPECULATIVE)
    (first,) = talk.feed("speech 440ms, silence 400ms, speech 300ms, silence 300ms")
    talk.answer(first, "And so")
    (second,) = talk.feed("silence 20ms")
    assert ends_ms([first, second]) == [1700, 2520]


def test_an_early_final_is_the_final_where_the_utterance_ends_at_its_pause() -> None:
    talk = Conversation(partials=False, level=SPECULATIVE)
    (asked,) = talk.feed("speech 440ms, silence 300ms")
    answer = hypothesis("Yes.")
    talk.utterance.receive_answer(asked, answer, 2.0)
    assert talk.utterance.ask_final(talk.end().utterance, 2.0) == EarlyFinal(asked.id, samples_of(1500), answer)


def test_where_speech_went_on_after_the_pause_the_final_is_requested_at_the_end() -> None:
    talk = Conversation(partials=False, level=SPECULATIVE)
    (early,) = talk.feed("speech 440ms, silence 300ms, speech 100ms")
    ended = talk.end().utterance
    final = talk.utterance.ask_final(ended, 2.0)
    assert isinstance(final, Request)
    assert final.is_final
    assert final.id != early.id
    assert final.window.samples is ended.samples


def test_captions_have_revisions_and_the_times_of_the_utterance() -> None:
    talk = Conversation()
    first, second = talk.feed("speech 1100ms")
    assert talk.answer(first, "one two") == Partial(0, 0, "one", "", 1000, 1500)
    assert talk.answer(second, "one two three") == Partial(0, 1, "one two", "", 1000, 2000)


def test_words_that_hypotheses_agree_on_are_the_prefix_of_later_requests_and_of_the_final() -> None:
    talk = Conversation()
    for request in talk.feed("speech 1600ms"):
        talk.answer(request, "And so my")
    (partial,) = talk.feed("speech 500ms")
    ended = talk.end().utterance
    final = talk.utterance.ask_final(ended, 4.0)
    assert isinstance(final, Request)
    assert (partial.window.prefix, final.window.prefix) == ("And so my", "And so my")
    awaited = talk.utterance.end(ended, OPTIONS, 3.0, 4.0)
    assert awaited.answer(hypothesis("And so mighty"), 5.0).text == "And so my"


def test_in_noise_no_later_request_is_made_to_begin_with_words_that_hypotheses_agree_on() -> None:
    talk = Conversation()
    talk.noisy = True
    for request in talk.feed("speech 1600ms"):
        shown = talk.answer(request, "And so my")
    assert shown is not None
    assert (shown.text, shown.stable) == ("And so", "")
    (partial,) = talk.feed("speech 500ms")
    assert partial.window.prefix == ""
    talk.noisy = False
    shown = talk.answer(partial, "And so my", 4.0)
    assert shown is not None
    assert shown.stable == "And so my"


@pytest.mark.parametrize(("noisy", "ended"), [(False, True), (True, False)])
def test_in_noise_a_full_stop_does_not_shorten_the_silence_that_ends_the_utterance(noisy: bool, ended: bool) -> None:
    talk = Conversation()
    talk.noisy = noisy
    for request in talk.feed("speech 700ms"):
        talk.answer(request, "So I apply some.")
    events = [event for frame in frames_of("silence 600ms") for event in talk.cutter.push(frame[np.newaxis])]
    assert any(isinstance(event, UtteranceEnded) for event in events) == ended


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(hypothesis("the the the", suspicious=True), id="suspected"),
        pytest.param(hypothesis(""), id="empty"),
        pytest.param(WorkerDied("gone"), id="failed"),
    ],
)
def test_an_answer_that_shows_nothing_is_no_caption_and_no_delay(answer: Hypothesis | WorkerDied) -> None:
    talk = Conversation()
    (asked,) = talk.feed("speech 440ms")
    assert talk.utterance.receive_answer(asked, answer, 2.0) is None
    assert talk.latencies == []
    assert talk.utterance.partial_asked_s is None


def test_an_answer_that_has_less_audio_than_the_newest_one_is_no_caption() -> None:
    talk = Conversation()
    first, second = talk.feed("speech 1100ms")
    assert talk.answer(second, "one two three") is not None
    assert talk.answer(first, "one two") is None


def test_a_partial_on_its_way_at_a_pause_commits_nothing_that_is_not_in_the_prefix_of_the_early_final() -> None:
    talk = Conversation(level=SPECULATIVE)
    partial, early = talk.feed("speech 440ms, silence 200ms")
    assert (partial.is_final, early.is_final) == (False, True)
    assert talk.answer(partial, "wrong words") is None
    shown = talk.answer(early, "right words")
    assert shown is not None
    assert shown.text == "right words", "the last word is whole at a pause"


def test_the_age_of_the_oldest_unanswered_partial_is_known() -> None:
    talk = Conversation()
    first, _ = talk.feed("speech 1100ms")
    assert talk.utterance.partial_asked_s == first.asked_s
    talk.answer(first, "one")
    assert talk.utterance.partial_asked_s is None


def test_delays_count_from_the_first_voice_and_then_from_what_was_shown() -> None:
    talk = Conversation()
    first, second = talk.feed("speech 1100ms")  # requested at 1.5 and 2.0 s
    talk.answer(first, "one two", now_s=3.0)
    talk.answer(second, "one two", now_s=4.0)
    assert talk.latencies == [
        Latency("first_partial", 2.0),
        Latency("partial", 3.0 - (1.0 + 1.5) / 2),
        Latency("partial", 4.0 - (1.5 + 2.0) / 2),
    ]


@pytest.mark.parametrize("shown", [True, False])
def test_a_final_is_the_first_caption_unless_a_partial_was(shown: bool) -> None:
    talk = Conversation()
    (asked,) = talk.feed("speech 440ms")
    if shown:
        talk.answer(asked, "one two")
    awaited = talk.utterance.end(talk.end().utterance, OPTIONS, 1.5, 2.0)
    assert awaited.first_caption_due_since_s == (None if shown else 1.0)


def recheck(talk: Conversation, answer: Hypothesis) -> tuple[Request, list[UtteranceEvent]]:
    """Recheck the endpoint by the newest answer, of an utterance of 2.5 s."""
    *_, newest = talk.feed("speech 2440ms")
    return newest, talk.utterance.recheck_endpoint(newest, answer)


def test_an_utterance_that_noise_keeps_open_ends_where_the_engine_found_the_end_of_speech() -> None:
    newest, events = recheck(Conversation(), replace(hypothesis("Good morning."), speech_end_ms=1000))
    ended, restarted = events
    assert isinstance(ended, UtteranceEnded)
    assert ended.utterance.end == newest.window_start + samples_of(1000)
    assert isinstance(restarted, UtteranceStarted)


def test_where_nobody_spoke_the_empty_answer_is_the_final() -> None:
    talk, answer = Conversation(), replace(hypothesis(""), speech_end_ms=0)
    newest, (ended, *_) = recheck(talk, answer)
    assert isinstance(ended, UtteranceEnded)
    assert talk.utterance.ask_final(ended.utterance, 4.0) == EarlyFinal(newest.id, ended.utterance.end, answer)


def test_an_answer_that_is_suspected_may_end_an_utterance_but_is_not_its_final() -> None:
    talk = Conversation()
    _, (ended, *_) = recheck(talk, replace(hypothesis("", suspicious=True), speech_end_ms=1000))
    assert isinstance(ended, UtteranceEnded)
    assert isinstance(talk.utterance.ask_final(ended.utterance, 4.0), Request)


@pytest.mark.parametrize(
    ("answer", "manual"),
    [
        pytest.param(hypothesis("Good morning."), False, id="no detector has judged"),
        pytest.param(replace(hypothesis("Good morning."), speech_end_ms=0), False, id="words without speech"),
        pytest.param(replace(hypothesis("", suspicious=True), speech_end_ms=0), False, id="suspected"),
        pytest.param(replace(hypothesis("Good morning."), speech_end_ms=1000), True, id="manual"),
    ],
)
def test_an_answer_that_is_in_doubt_ends_no_utterance_and_none_does_where_endpointing_is_manual(
    answer: Hypothesis, manual: bool
) -> None:
    assert recheck(Conversation(manual=manual), answer)[1] == []
