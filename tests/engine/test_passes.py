"""Sorting into passes, and the rows of an encoder's output that belong to one."""

import ctranslate2
import numpy as np

from livecaption.engine.passes import grouped, rows_of
from tests.support.cases import for_each


def test_items_of_one_key_are_together_in_their_order() -> None:
    assert list(grouped(["bb", "a", "cc", "d"], len)) == [(2, ["bb", "cc"]), (1, ["a", "d"])]


@for_each("rows", [[0], [2, 0], [0, 1, 2]])
def test_rows_are_taken_in_the_order_in_which_they_are_asked_for(rows: list[int]) -> None:
    encoded = np.arange(3 * 2 * 4, dtype=np.float32).reshape(3, 2, 4)
    taken = rows_of(ctranslate2.StorageView.from_array(encoded), rows)
    assert np.array_equal(np.asarray(taken), encoded[rows])
