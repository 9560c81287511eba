"""The cost of a batch is estimated by those before it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.scheduling.cost import BatchCost
from tests.support.simulation import FLAT, STEEP, Curve, batch_s


def learned(*batches: tuple[int, float]) -> BatchCost:
    cost = BatchCost()
    for n_requests, compute_s in batches:
        cost.learn(n_requests, compute_s)
    return cost


def test_nothing_is_known_before_a_batch_was_measured() -> None:
    assert not BatchCost()
    assert learned((1, 0.3))


def test_batches_of_different_sizes_show_the_cost_of_each_size() -> None:
    cost = learned(*[(n, 0.2 + 0.05 * n) for n in (1, 4, 9, 16, 2, 7) * 10])
    assert cost.of(5) == pytest.approx(0.45, rel=0.03)
    assert cost.best_within(0.5, 16) in (4, 5)


@pytest.mark.parametrize("curve", [FLAT, STEEP], ids=["flat", "steep"])
def test_single_requests_show_roughly_what_a_batch_costs(curve: Curve) -> None:
    """Nothing else is known when a load begins, and a pace of single requests would pause partials at once."""
    cost = learned(*[(1, curve[1])] * 20)
    assert cost.of(1) == pytest.approx(curve[1])
    assert 0.6 * batch_s(8, curve) < cost.of(8) < 2 * batch_s(8, curve)
    assert cost.of(8) < 0.6 * 8 * cost.of(1)


def test_a_machine_that_becomes_slower_is_known_for_it_after_a_few_seconds_of_computing() -> None:
    cost = learned(*[(n, batch_s(n)) for n in (1, 4, 8) * 10])
    spent_s = 0.0
    while cost.of(8) < 0.8 * 2 * batch_s(8):
        for n in (8, 4):
            cost.learn(n, 2 * batch_s(n))
            spent_s += 2 * batch_s(n)
    assert spent_s < 8


def test_a_bound_that_no_batch_keeps_leaves_single_requests() -> None:
    assert learned((1, 5.0)).best_within(0.5, 16) == 1


def test_the_mean_is_of_batches_as_they_were() -> None:
    assert learned().mean_s == 0.0
    assert learned((4, 0.4), (4, 0.4)).mean_s == pytest.approx(0.1)


def test_a_worker_that_was_too_fast_to_be_measured_gets_the_largest_batches() -> None:
    assert learned((1, 0.0)).best_within(0.5, 16) == 16


def test_requests_do_not_wait_for_each_other_where_batches_save_nothing() -> None:
    saves_much = learned(*[(n, 0.1 + 0.01 * n) for n in (1, 2, 4, 8) * 10])
    saves_little = learned(*[(n, 0.01 + 0.1 * n) for n in (1, 2, 4, 8) * 10])
    assert saves_much.best_within(0.3, 16) > 8
    assert saves_little.best_within(0.5, 16) == 1


@given(st.lists(st.tuples(st.integers(1, 16), st.floats(0.0, 30.0)), min_size=1))
def test_costs_are_never_negative_and_larger_batches_never_cheaper(batches: list[tuple[int, float]]) -> None:
    cost = learned(*batches)
    tolerance = 1e-9
    assert -tolerance <= cost.of(1) <= cost.of(2) + tolerance
    assert cost.of(16) <= 16 * cost.of(1) + tolerance
    assert 1 <= cost.best_within(0.5, 16) <= 16
