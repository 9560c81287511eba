"""Latencies of streams that are written by hand."""

from typing import Any

from livecaption.evaluation.latency import (
    Received,
    SpokenWord,
    final_latency_ms,
    first_partial_latency_ms,
    percentile,
    plain_words,
    word_latencies,
)
from livecaption.events import Final, Partial, SpeechStart
from tests.support.cases import for_each


def partial(at_ms: float, text: str, stable: str = "", start_ms: int = 0, end_ms: int = 10_000) -> Received:
    return Received(at_ms, Partial(0, 0, text, stable, start_ms, end_ms))


def final(at_ms: float, text: str, start_ms: int = 0, end_ms: int = 10_000, utterance: int = 0) -> Received:
    return Received(at_ms, Final(utterance, text, start_ms, end_ms, "en", 0.9, 0))


WORDS = [SpokenWord("Hello,", 500), SpokenWord("brave", 1000), SpokenWord("world!", 1500)]


def test_first_partial_latency_counts_from_the_beginning_of_speech_to_the_first_text() -> None:
    received = [Received(300, SpeechStart(0, 200)), partial(700, ""), partial(900, "Hello"), final(2000, "Hello.")]
    assert first_partial_latency_ms(received, speech_start_ms=200) == 700


def test_a_final_without_partials_is_the_first_text() -> None:
    assert first_partial_latency_ms([final(2000, "Hello.")], 200) == 1800


def test_first_partial_latency_is_unknown_if_nothing_was_ever_shown() -> None:
    assert first_partial_latency_ms([partial(700, ""), final(900, "")], 200) is None


@for_each(
    ("start_ms", "end_ms", "text", "expected"),
    [
        (100, 1500, "Hello", 900),
        (100, 900, "Hello", 900),  # the reference includes a breath
        (100, 899, "Hello", None),  # other speech
        (1500, 3000, "Hello", None),  # begins after it
        (100, 1500, "", None),  # covers it, but the words are lost
    ],
)
def test_final_latency_counts_from_the_end_of_speech_to_the_final_that_covers_it(
    start_ms: int, end_ms: int, text: str, expected: float | None
) -> None:
    assert final_latency_ms([final(2400, text, start_ms, end_ms)], speech_end_ms=1500) == expected


def test_the_final_of_an_earlier_utterance_does_not_cover_a_later_one() -> None:
    received = [final(1500, "One", 0, 1000), final(3900, "Two", 2000, 3000, utterance=1)]
    assert final_latency_ms(received, 3000) == 900


def test_the_final_of_what_ends_a_little_before_does_not_cover_the_last_words() -> None:
    """A cut or a short pause ends an utterance so near to the end of speech that both finals match."""
    received = [final(15_300, "Long", 0, 15_000), final(16_400, "end", 15_000, 15_400, utterance=1)]
    assert final_latency_ms(received, 15_400) == 1000


def test_a_word_is_shown_once_a_caption_of_its_time_holds_it() -> None:
    received = [partial(900, "hello"), partial(1600, "hello brave"), final(2500, "Hello, brave world.")]
    assert word_latencies(received, WORDS).shown == (400, 600, 1000)


def test_a_word_is_committed_once_it_is_in_stable_or_in_a_final() -> None:
    received = [
        partial(900, "hello"),
        partial(1600, "hello brave", stable="hello"),
        final(2500, "Hello, brave world."),
    ]
    assert word_latencies(received, WORDS).committed == (1100, 1500, 1000)


def test_a_word_counts_from_its_first_showing_even_if_it_was_taken_back_meanwhile() -> None:
    received = [partial(900, "hello"), partial(1200, "yellow"), final(2500, "Hello brave world")]
    assert word_latencies(received, WORDS).shown[0] == 400


def test_a_word_that_is_recognized_wrongly_never_came() -> None:
    latencies = word_latencies([final(2500, "Hello grave world")], WORDS)
    assert latencies.shown == (2000, None, 1000)
    assert latencies.committed == (2000, None, 1000)


def test_a_word_that_is_said_again_later_is_not_shown_by_the_earlier_one() -> None:
    """The word `you` of the first utterance does not count for `you` of the second."""
    words = [SpokenWord("you", 500), SpokenWord("you", 3000)]
    received = [final(1000, "You", 0, 600), final(4000, "You", 2500, 3000, utterance=1)]
    assert word_latencies(received, words).shown == (500, 1000)


def test_a_caption_cannot_show_a_word_that_is_said_after_it() -> None:
    words = [SpokenWord("you", 500), SpokenWord("you", 3000)]
    assert word_latencies([partial(1000, "you", end_ms=900)], words).shown == (500, None)


@for_each(("percent", "expected"), [(50, 2), (75, 3), (95, 4), (100, 4), (1, 1)])
def test_percentile_is_the_nearest_rank(percent: float, expected: float) -> None:
    assert percentile([4, 1, 3, 2], percent) == expected


def test_percentile_of_nothing_is_unknown() -> None:
    assert percentile([], 50) is None


@for_each(
    ("text", "expected"),
    [
        ("", []),
        ("Hello, World!", ["hello", "world"]),
        ("— don't … 3", ["don't", "3"]),
        ("Their bodies' 'force'", ["their", "bodies", "force"]),
        ("判断的。", ["判", "断", "的"]),
    ],
)
def test_plain_words_ignore_case_and_punctuation(text: str, expected: Any) -> None:
    assert plain_words(text) == expected
