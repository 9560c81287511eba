"""Finals, from their request to their turn to go out."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.audio import samples_of
from livecaption.captions.speakers import Speakers
from livecaption.captions.stabilizer import Stabilizer
from livecaption.events import CaptionWord, Event, Final, Flushed, Turn
from livecaption.pipeline.final_queue import AwaitedFinal, FinalQueue
from livecaption.pipeline.latency import Latency
from livecaption.recognition import RequestId, TranscriptionOptions, Voice, Word
from livecaption.speech.utterance import Utterance
from tests.support.pipeline import hypothesis


def awaited(number: int, *, committed: str = "", due_since_s: float | None = None, words: bool = False) -> AwaitedFinal:
    """The final of the `number`th second, of which the first 200 and the last 300 ms are silent."""
    window_start, window_end = samples_of(number * 1000), samples_of(number * 1000 + 1000)
    utterance = Utterance(
        number,
        window_start + samples_of(200),
        window_end - samples_of(300),
        window_start,
        window_end,
        np.zeros(window_end - window_start, np.float32),
    )
    stabilizer = Stabilizer()
    for window_end_ms in (0, 1000, 2000):
        stabilizer.push(committed, window_end_ms, at_pause=True)
    options = TranscriptionOptions("en", words=words)
    return AwaitedFinal(utterance, stabilizer, options, 10.0, 9.5, due_since_s, RequestId(number + 100))


def queue_of(*items: AwaitedFinal | Flushed) -> FinalQueue:
    queue = FinalQueue()
    for item in items:
        queue.append(item)
    return queue


def texts(released: list[Event]) -> list[str]:
    return [event.text if isinstance(event, Final) else type(event).__name__ for event in released]


def test_finals_are_released_in_the_order_of_their_utterances() -> None:
    first, second = awaited(0), awaited(1)
    queue = queue_of(first, second)
    second.answer(hypothesis("World."), 10.0)
    assert queue.release() == []
    first.answer(hypothesis("Hello."), 10.0)
    assert texts(queue.release()) == ["Hello.", "World."]
    assert queue.is_empty


def test_a_mark_of_a_flush_waits_for_the_finals_before_it_and_for_none_behind_it() -> None:
    first, second = awaited(0), awaited(1)
    queue = queue_of(first, Flushed(7), second)
    first.answer(hypothesis("Hello."), 10.0)
    assert texts(queue.release()) == ["Hello.", "Flushed"]
    assert not queue.is_empty


def test_a_final_has_the_times_of_its_speech_and_the_latency_since_its_last_voice() -> None:
    assert awaited(3).answer(hypothesis("Hello."), 10.25) == Final(3, "Hello.", 3200, 3700, "en", 0.9, latency_ms=750)


def test_a_final_keeps_the_words_that_were_committed() -> None:
    assert awaited(0, committed="ride a may").answer(hypothesis("ride a maying today"), 10.0).text == "ride a may today"


def test_words_are_in_stream_time_and_come_only_where_they_were_asked_for() -> None:
    answer = hypothesis("Hello.", words=(Word("Hello.", 300, 700, 0.8765),))
    assert awaited(3, words=True).answer(answer, 10.0).words == (CaptionWord("Hello.", 3300, 3700, 0.876),)
    assert awaited(3).answer(answer, 10.0).words is None


def test_a_failed_final_has_the_words_that_were_committed_and_no_confidence() -> None:
    final = awaited(0, committed="And so")
    final.fail(10.0)
    assert final.event is not None
    assert (final.event.text, final.event.confidence, final.event.language) == ("And so", 0.0, "en")


def test_a_discarded_final_is_empty_even_if_words_were_committed() -> None:
    final = awaited(0, committed="And so")
    final.discard(10.0)
    assert final.event is not None
    assert (final.event.text, final.event.confidence) == ("", 0.0)


@pytest.mark.parametrize(
    ("text", "due_since_s", "kinds"),
    [
        pytest.param("Hello.", None, ["final"], id="a partial was shown"),
        pytest.param("Hello.", 9.0, ["first_partial", "final"], id="it is the first caption"),
        pytest.param("", 9.0, ["final"], id="it shows nothing"),
    ],
)
def test_a_final_is_measured_from_its_last_voice_and_as_a_first_caption_from_its_first(
    text: str, due_since_s: float | None, kinds: list[str]
) -> None:
    final = awaited(0, due_since_s=due_since_s)
    final.answer(hypothesis(text), 11.0)
    measured = list(final.latencies(11.0))
    assert [latency.kind for latency in measured] == kinds
    assert measured[-1] == Latency("final", 1.5)
    assert due_since_s is None or text == "" or measured[0].seconds == 2.0


def test_the_case_of_a_final_is_joined_to_the_newest_one_that_has_text() -> None:
    items = [awaited(number) for number in range(3)]
    queue = queue_of(*items)
    for item, text in zip(items, ("Commit itself.", "", "to achieving the goal"), strict=True):
        item.answer(hypothesis(text), 10.0)
    assert texts(queue.release()) == ["Commit itself.", "", "To achieving the goal"]
    assert queue.newest is not None
    assert queue.newest.utterance == 2


@pytest.mark.parametrize("text", ["and then", "ßa"])  # a capital may be two letters
def test_the_first_word_has_the_case_of_the_text(text: str) -> None:
    first, second = awaited(0), awaited(1, words=True)
    queue = queue_of(first, second)
    first.answer(hypothesis("Yes."), 10.0)
    second.answer(hypothesis(text, words=tuple(Word(word, 200, 700, 0.9) for word in text.split())), 10.0)
    final = queue.release()[1]
    assert isinstance(final, Final)
    assert final.words is not None
    assert final.text == text[0].upper() + text[1:] == " ".join(word.word for word in final.words)


def test_a_final_is_found_by_its_request_until_it_is_out() -> None:
    final = awaited(4)
    queue = queue_of(Flushed(None), final)
    assert queue.find(RequestId(104)) is final
    assert queue.find(RequestId(4)) is None
    final.answer(hypothesis("Hello."), 10.0)
    queue.release()
    assert queue.find(RequestId(104)) is None


def test_the_oldest_and_the_oldest_unanswered_final_and_the_backlog_are_known() -> None:
    first, second = awaited(0), awaited(1)
    queue = queue_of(first, second)
    first_and_second_ms = 2000
    assert (queue.oldest, queue.oldest_unanswered, queue.backlog_ms) == (first, first, first_and_second_ms)
    second.answer(hypothesis("World."), 10.0)
    assert (queue.oldest, queue.oldest_unanswered, queue.backlog_ms) == (first, first, first_and_second_ms)
    first.answer(hypothesis("Hello."), 10.0)
    assert (queue.oldest, queue.oldest_unanswered) == (first, None)
    queue.release()
    assert (queue.oldest, queue.backlog_ms) == (None, 0)


# Speakers


def person(number: int) -> Voice:
    embedding = np.zeros(192, np.float32)
    embedding[number] = 1.0
    return Voice(200, 1900, embedding)


@given(people=st.lists(st.integers(1, 5), min_size=1, max_size=8), data=st.data())
def test_speakers_do_not_depend_on_the_order_of_the_answers(people: list[int], data: st.DataObject) -> None:
    def told(order: list[int]) -> list[Event]:
        queue = FinalQueue(speakers=Speakers(9))
        items = [awaited(number) for number in range(len(people))]
        for item in items:
            queue.append(item)
        released: list[Event] = []
        for number in order:
            answer = hypothesis("Hello.", words=(Word("Hello.", 200, 700, 0.9),))
            items[number].answer(replace(answer, voices=(person(people[number]),)), 10.0)
            released += queue.release()
        return released

    in_order = list(range(len(people)))
    finals = told(data.draw(st.permutations(in_order)))
    assert finals == told(in_order)
    numbers = list(dict.fromkeys(people))
    turns = [final.turns for final in finals if isinstance(final, Final)]
    assert turns == [
        (Turn(numbers.index(each) + 1, "Hello.", 1000 * i + 200, 1000 * i + 700),) for i, each in enumerate(people)
    ]


def test_turns_are_those_of_the_text_with_the_case_in_which_it_was_sent() -> None:
    queue = FinalQueue(speakers=Speakers(9))
    first, second = awaited(0), awaited(1)
    for item, text in ((first, "Yes."), (second, "and then")):
        queue.append(item)
        item.answer(replace(hypothesis(text, words=(Word(text.split()[0], 200, 700, 0.9),)), voices=(person(1),)), 10.0)
    final = queue.release()[1]
    assert isinstance(final, Final)
    assert final.turns is not None
    assert (final.text, [turn.text for turn in final.turns]) == ("And then", ["And then"])


def test_a_failed_final_is_one_turn_of_nobody_and_a_discarded_one_has_none() -> None:
    queue = FinalQueue(speakers=Speakers(9))
    failed, discarded = awaited(0, committed="And so"), awaited(1)
    queue.append(failed)
    queue.append(discarded)
    failed.fail(10.0)
    discarded.discard(10.0)
    turns = [final.turns for final in queue.release() if isinstance(final, Final)]
    assert turns == [(Turn(None, "And so", 200, 700),), ()]


def test_a_stream_that_asked_for_no_speakers_has_no_turns() -> None:
    final = awaited(0)
    queue = queue_of(final)
    final.answer(replace(hypothesis("Hello."), voices=(person(1),)), 10.0)
    assert [each.turns for each in queue.release() if isinstance(each, Final)] == [None]
