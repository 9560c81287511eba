"""Words that were shown and changed later, in captions that are written by hand."""

from hypothesis import given
from hypothesis import strategies as st

from livecaption.evaluation.stability import Stability, stability
from livecaption.events import Event, Final, Partial
from tests.support.cases import for_each


def partial(text: str, stable: str = "", utterance: int = 0) -> Partial:
    return Partial(utterance, 0, text, stable, 0, 1000)


def final(text: str, utterance: int = 0) -> Final:
    return Final(utterance, text, 0, 1000, "en", 0.9, 0)


@for_each(
    ("events", "expected"),
    [
        ([], Stability(0, 0, 0)),
        ([partial("a"), partial("a b"), final("a b c")], Stability(3, 0, 0)),
        # `c` replaces `b`.
        ([partial("a b"), final("a c")], Stability(2, 1, 0)),
        # Words after a changed one are taken back too, even if they are the same.
        ([partial("a b c d"), final("a x c d")], Stability(4, 3, 0)),
        ([partial("a b c"), partial("a"), final("a b c")], Stability(3, 2, 0)),
        # Case and punctuation change freely.
        ([partial("hello world"), final("Hello, world!")], Stability(2, 0, 0)),
        # Each utterance has its own caption.
        ([partial("a"), final("a"), partial("b", utterance=1), final("b", utterance=1)], Stability(2, 0, 0)),
        ([partial("a b"), final("")], Stability(0, 2, 0)),
    ],
)
def test_a_word_is_taken_back_if_the_next_caption_does_not_repeat_all_up_to_it(
    events: list[Event], expected: Stability
) -> None:
    assert stability(events) == expected


@for_each(
    ("events", "expected"),
    [
        ([partial("a b", stable="a"), partial("a c", stable="a"), final("a c")], 0),
        ([partial("a b", stable="a b"), partial("a c", stable="a")], 1),
        ([partial("a b", stable="a b"), final("x b")], 2),
        ([partial("a b", stable="a b"), partial("a", stable="a"), final("a")], 1),
    ],
)
def test_a_committed_word_is_taken_back_if_a_later_caption_does_not_keep_it(events: list[Event], expected: int) -> None:
    assert stability(events).committed_taken_back == expected


def test_erasure_is_words_taken_back_per_final_word() -> None:
    assert Stability(final_words=4, taken_back=3, committed_taken_back=0).erasure == 0.75
    assert Stability(final_words=0, taken_back=3, committed_taken_back=0).erasure == 0


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=4), max_size=6))
def test_captions_that_only_grow_take_nothing_back(growth: list[list[str]]) -> None:
    words: list[str] = []
    events: list[Event] = []
    for more in growth:
        committed, words = " ".join(words), words + more
        events.append(partial(" ".join(words), stable=committed))
    assert stability([*events, final(" ".join(words))]) == Stability(len(words), 0, 0)
