"""The audio that the encoder gets, and the width of the search."""

import numpy as np

from livecaption.engine.search import Search
from livecaption.recognition import Window
from tests.support.cases import for_each


def window(seconds: float, **how: object) -> Window:
    return Window(np.zeros(round(seconds * 16_000), np.float32), **how)


@for_each(
    ("window_s", "how", "encoded_s", "encoded_again_s"),
    [
        (3, {}, 10, 16),
        (9.5, {}, 12, 18),
        (29, {}, 30, 30),
        (3, {"is_final": False}, 10, 16),
        (3, {"is_final": False, "effort": "reduced"}, 8, 16),
        (3, {"effort": "reduced"}, 10, 16),
    ],
)
def test_the_encoder_gets_a_window_with_a_margin(
    window_s: float, how: dict[str, object], encoded_s: int, encoded_again_s: int
) -> None:
    asked = window(window_s, **how)
    assert Search().context_s(asked) == encoded_s
    assert Search().context_s(asked, is_retry=True) == encoded_again_s
    assert Search().context_s(asked, full=True) == 30


def test_finals_are_searched_more_widely_than_partials_and_both_less_under_load() -> None:
    widths = [
        Search().beam_size(window(3, is_final=is_final, effort=effort))
        for is_final in (True, False)
        for effort in ("full", "reduced")
    ]
    assert widths == [5, 3, 3, 2]
