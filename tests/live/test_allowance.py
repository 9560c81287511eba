"""A peer may use a stock for bursts, and a rate after that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.live.allowance import BYTES_OF_A_MESSAGE, Allowance, extra_messages
from tests.support.cases import for_each


def test_a_burst_costs_no_time_and_the_excess_costs_its_own_length() -> None:
    allowance = Allowance(per_s=10, burst=20, now_s=100.0)
    assert [allowance.use(1, 100.0) for _ in range(20)] == [0.0] * 20
    assert allowance.use(1, 100.0) == pytest.approx(0.1)
    assert allowance.use(5, 100.0) == pytest.approx(0.6)


def test_the_stock_comes_back_with_time_but_not_beyond_its_size() -> None:
    allowance = Allowance(per_s=10, burst=20, now_s=0.0)
    allowance.use(20, 0.0)
    assert allowance.use(5, 0.5) == 0.0
    assert allowance.use(20, 1000.0) == 0.0
    assert allowance.use(1, 1000.0) == pytest.approx(0.1)


@for_each(
    ("message", "n_extra"),
    [
        (bytes(BYTES_OF_A_MESSAGE - 1), 0),
        (bytes(3 * BYTES_OF_A_MESSAGE), 3),
        ("x" * (2 * BYTES_OF_A_MESSAGE), 2),
        ("ü" * BYTES_OF_A_MESSAGE, 4),
        ("ü", 0),
    ],
)
def test_a_large_message_counts_more(message: str | bytes, n_extra: int) -> None:
    assert extra_messages(message) == n_extra


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 3)), max_size=50))
def test_a_user_that_waits_as_long_as_returned_never_exceeds_the_rate(uses: list[tuple[float, float]]) -> None:
    """All amounts and pauses give at most the burst and the rate."""
    allowance, now_s, used = Allowance(per_s=2, burst=4, now_s=0.0), 0.0, 0.0
    for amount, pause_s in uses:
        now_s += pause_s
        used += amount
        now_s += allowance.use(amount, now_s)
        assert used <= 4 + 2 * now_s + 1e-6
