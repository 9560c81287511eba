"""The cost of a batch is estimated by those before it, and at first by those that were timed while the model loaded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.engine.calibration import SIZES_ON_GPU
from livecaption.recognition import BatchTime
from livecaption.scheduling.cost import MEMORY_S, BatchCost
from tests.support.simulation import FLAT, GPU, STEEP, Curve, batch_s


def calibrated(*batches: tuple[int, float]) -> BatchCost:
    return BatchCost([BatchTime(*batch) for batch in batches])


def learned(*batches: tuple[int, float], calibration: tuple[tuple[int, float], ...] = ((1, 0.1),)) -> BatchCost:
    cost = calibrated(*calibration)
    for n_requests, compute_s in batches:
        cost.learn(n_requests, compute_s)
    return cost


@pytest.mark.parametrize(
    ("curve", "sizes"), [(FLAT, (1, 4)), (STEEP, (1, 4)), (GPU, SIZES_ON_GPU)], ids=["flat", "steep", "gpu"]
)
def test_the_cost_is_that_of_the_calibration_before_anything_was_computed(curve: Curve, sizes: tuple[int, ...]) -> None:
    cost = calibrated(*[(n, batch_s(n, curve)) for n in sizes])
    for n in sizes:
        assert cost.of(n) == pytest.approx(batch_s(n, curve), rel=0.1)


def test_batches_of_different_sizes_show_the_cost_of_each_size() -> None:
    cost = learned(*[(n, 0.2 + 0.05 * n) for n in (1, 4, 9, 16, 2, 7) * 10])
    assert cost.of(5) == pytest.approx(0.45, rel=0.03)
    assert cost.best_within(0.5, 16) in (4, 5)


@pytest.mark.parametrize("curve", [FLAT, STEEP], ids=["flat", "steep"])
def test_single_requests_show_roughly_what_a_batch_costs_if_no_other_size_was_calibrated(curve: Curve) -> None:
    """A slow model is calibrated by single requests, and a pace of these would pause partials at once."""
    cost = learned(*[(1, curve[1])] * 20, calibration=((1, curve[1]),))
    assert cost.of(1) == pytest.approx(curve[1])
    assert 0.6 * batch_s(8, curve) < cost.of(8) < 2 * batch_s(8, curve)
    assert cost.of(8) < 0.6 * 8 * cost.of(1)


@pytest.mark.parametrize("slowness", [0.5, 2.0])
def test_single_requests_that_take_longer_than_calibrated_make_large_batches_as_much_longer(slowness: float) -> None:
    """A server with few streams has no large batches, and must not learn nonsense about them."""
    cost = learned(
        *[(n, slowness * batch_s(n, GPU)) for n in (1, 1, 2) * 400],
        calibration=tuple((n, batch_s(n, GPU)) for n in SIZES_ON_GPU),
    )
    assert cost.of(64) == pytest.approx(slowness * batch_s(64, GPU), rel=0.1)


def test_a_calibration_counts_as_much_as_seconds_of_computing() -> None:
    """The first finals of new streams are short, and must not admit twice as many."""
    calibration = tuple((n, batch_s(n, FLAT)) for n in (1, 4))
    first = learned(*[(1, 0.5 * FLAT[1])] * 10, calibration=calibration)
    assert 10 * 0.5 * FLAT[1] < MEMORY_S / 4
    assert first.of(1) > 0.75 * FLAT[1]
    later = learned(*[(1, 0.5 * FLAT[1])] * 200, calibration=calibration)
    assert later.of(1) == pytest.approx(0.5 * FLAT[1], rel=0.1)


def test_a_calibration_on_a_machine_that_was_busy_for_a_moment_is_soon_forgotten() -> None:
    cost = learned(*[(1, FLAT[1])] * 40, calibration=tuple((n, 20 * batch_s(n, FLAT)) for n in (1, 4)))
    assert cost.of(1) < 2 * FLAT[1]


def test_a_fast_machine_that_becomes_very_slow_is_known_for_it_after_a_few_batches() -> None:
    cost = learned(*[(1, 3.0)] * 3, calibration=((1, 0.001), (64, 0.002)))
    assert cost.of(1) > 0.3


def test_a_machine_that_becomes_slower_is_known_for_it_after_a_few_seconds_of_computing() -> None:
    cost = learned(*[(n, batch_s(n)) for n in (1, 4, 8) * 10])
    spent_s = 0.0
    while cost.of(8) < 0.8 * 2 * batch_s(8):
        for n in (8, 4):
            cost.learn(n, 2 * batch_s(n))
            spent_s += 2 * batch_s(n)
    assert spent_s < 8


def test_a_bound_that_no_batch_keeps_leaves_single_requests() -> None:
    assert calibrated((1, 5.0)).best_within(0.5, 16) == 1


def test_a_worker_that_was_too_fast_to_be_measured_gets_the_largest_batches() -> None:
    assert learned((1, 0.0), calibration=((1, 0.0), (4, 0.0))).largest_within(0.5, 16) == 16


def test_requests_do_not_wait_for_each_other_where_batches_save_nothing() -> None:
    saves_much = learned(*[(n, 0.1 + 0.01 * n) for n in (1, 2, 4, 8) * 10])
    saves_little = learned(*[(n, 0.01 + 0.1 * n) for n in (1, 2, 4, 8) * 10])
    assert saves_much.best_within(0.3, 16) > 8
    assert saves_little.best_within(0.5, 16) == 1


BATCHES = st.lists(st.tuples(st.integers(1, 16), st.floats(0.0, 30.0)), min_size=1)


@given(calibration=BATCHES, batches=BATCHES)
def test_costs_are_never_negative_and_larger_batches_never_cheaper(
    calibration: list[tuple[int, float]], batches: list[tuple[int, float]]
) -> None:
    cost = learned(*batches, calibration=tuple(calibration))
    tolerance = 1e-9
    assert -tolerance <= cost.of(1) <= cost.of(2) + tolerance
    assert cost.of(16) <= 16 * cost.of(1) + tolerance
    assert 1 <= cost.best_within(0.5, 16) <= 16
