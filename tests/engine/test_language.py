"""The language of each window, where the publisher named none."""

import numpy as np

from livecaption.audio import samples_of
from livecaption.engine.language import (
    CHANGE_ODDS,
    SHORT_FINAL_CHANGE_ODDS,
    SHORT_PARTIAL_CHANGE_ODDS,
    choose_language,
)
from livecaption.recognition import SURE_LANGUAGE_MS, TranscriptionOptions, Window
from tests.support.cases import for_each


def window(
    length_ms: int = SURE_LANGUAGE_MS,
    *,
    likely: str | None = "de",
    expected: tuple[str, ...] = (),
    is_final: bool = True,
) -> Window:
    samples = np.zeros(samples_of(length_ms), np.float32)
    return Window(samples, TranscriptionOptions(languages=expected), is_final, likely_language=likely)


def ranking(**probabilities: float) -> list[tuple[str, float]]:
    return sorted(probabilities.items(), key=lambda item: -item[1])


def test_the_first_language_is_the_most_probable() -> None:
    assert choose_language(window(likely=None), ranking(en=0.4, de=0.3, fr=0.3)) == "en"


def test_the_most_probable_of_the_expected_languages_is_chosen() -> None:
    nynorsk_first = ranking(nn=0.6, de=0.3, fr=0.1)
    assert choose_language(window(likely=None, expected=("fr", "de")), nynorsk_first) == "de"
    assert choose_language(window(likely="en", expected=("fr", "de")), nynorsk_first) == "de"


@for_each(
    ("length_ms", "is_final", "odds"),
    [
        (SURE_LANGUAGE_MS, True, CHANGE_ODDS),
        (SURE_LANGUAGE_MS, False, CHANGE_ODDS),
        (SURE_LANGUAGE_MS - 1, True, SHORT_FINAL_CHANGE_ODDS),
        (SURE_LANGUAGE_MS - 1, False, SHORT_PARTIAL_CHANGE_ODDS),
    ],
)
def test_the_language_changes_only_where_another_is_so_much_more_probable(
    length_ms: int, is_final: bool, odds: float
) -> None:
    spoken = window(length_ms, is_final=is_final)
    assert choose_language(spoken, ranking(en=0.001 * odds * 0.99, de=0.001)) == "de"
    assert choose_language(spoken, ranking(en=0.001 * odds * 1.01, de=0.001)) == "en"
