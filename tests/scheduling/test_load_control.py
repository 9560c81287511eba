"""Streams request partials as often as their cost allows, with all finals in time.

Most of it in simulated time with the real scheduler (`tests/support/simulation.py`): a worker on two threads, tiny.en.
"""

import functools
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.recognition import RequestId, SessionId, Window
from livecaption.scheduling.load_control import (
    OVERSUBSCRIPTION,
    PAUSE_UTILIZATION,
    RESUME_UTILIZATION,
    SLOWEST_INTERVAL_MS,
    LoadController,
    Rate,
    ServiceLevel,
)
from livecaption.scheduling.request import Request
from tests.support.cases import for_each, spread
from tests.support.simulation import (
    FLAT,
    GPU,
    SILENCE,
    SLOW_GPU,
    STEEP,
    Curve,
    SimulatedServer,
    Waits,
    batch_s,
    calibration,
)

BASE_MS = 500
WARM_S = 10.0
KINDS = {"flat": FLAT, "steep": STEEP}
CURVES = pytest.mark.parametrize("curve", KINDS.values(), ids=KINDS)
LARGEST_WAIT_S = 2.0
"""The time that a final waits, also in the first second of a load of many times what the worker can do."""


def request(session: str, *, is_final: bool = False) -> Request:
    return Request(RequestId(1), SessionId(session), 0, 0.0, Window(SILENCE, is_final=is_final))


def controller_that_measured(*, slowness: float = 0.5, interval_ms: int = BASE_MS) -> LoadController:
    controller = LoadController(interval_ms, 16)
    controller.calibrate(calibration(slowness=slowness))
    for n in (1, 4, 8) * 5:  # a minute ago
        controller.record_batch(n, slowness * batch_s(n), -60.0, is_final=True)
        controller.record_batch(n, slowness * batch_s(n), -60.0, is_final=False)
    return controller


def speak(controller: LoadController, n_streams: int, at_s: float) -> None:
    for n in range(n_streams):
        controller.record_request(request(str(n)), at_s)


def interval_ms(controller: LoadController, at_s: float, n_workers: int = 1, n_finals_waiting: int = 0) -> int | None:
    return controller.service_level(at_s, n_workers, n_finals_waiting).partial_interval_ms


def test_before_a_worker_was_ready_partials_come_as_configured() -> None:
    controller = LoadController(700, 16)
    speak(controller, 500, 1.0)
    assert controller.service_level(1.0, 1, 0) == ServiceLevel(700, effort="full")
    assert controller.request_costs(0.2) is None
    assert (controller.max_finals, controller.max_finals_alone, controller.max_partials) == (1, 1, 1)


def test_from_the_first_second_partials_are_as_rare_as_the_calibration_demands() -> None:
    controller = LoadController(BASE_MS, 16)
    controller.calibrate(calibration())
    speak(controller, 24, 1.0)
    measured = controller_that_measured(slowness=1.0)
    speak(measured, 24, 1.0)
    assert interval_ms(controller, 1.0) == pytest.approx(interval_ms(measured, 1.0), rel=0.2)


def test_a_later_calibration_does_not_undo_what_batches_have_shown() -> None:
    controller = controller_that_measured()
    before = controller.request_costs(0.2)
    controller.calibrate(calibration(slowness=50))
    assert controller.request_costs(0.2) == before


def test_the_costliest_worker_is_what_the_server_counts_on_at_first() -> None:
    """Any of them may get the next batch, such as the CPU beside a GPU."""
    cheap, costly = calibration(GPU, on_gpu=True), calibration(STEEP)
    of_costly = LoadController(BASE_MS, 64)
    of_costly.calibrate(costly)
    for reports in ((cheap, costly), (costly, cheap)):
        controller = LoadController(BASE_MS, 64)
        for each in reports:
            controller.calibrate(each)
        assert controller.request_costs(0.2) == of_costly.request_costs(0.2)
        assert controller.max_finals == of_costly.max_finals


def test_batches_are_as_large_as_each_of_the_workers_can_take() -> None:
    """One of two GPUs may have had little memory left while it loaded."""
    large = calibration(GPU, 0.01, on_gpu=True)
    controller = LoadController(BASE_MS, 64)
    controller.calibrate(large)
    controller.record_batch(1, 0.001, 0.0, is_final=True)
    controller.calibrate(replace(large, max_batch=8))
    assert controller.max_finals_alone == 8


def test_all_figures_are_those_of_the_batches_for_which_there_is_memory() -> None:
    controller = LoadController(BASE_MS, 64)
    controller.calibrate(calibration(GPU, on_gpu=True))
    speak(controller, 1000, 1.0)
    unlimited_ms = interval_ms(controller, 1.0)
    controller.limit_batches(4)
    assert controller.max_partials == controller.max_finals_alone == 4
    costs = controller.request_costs(inf)
    assert costs
    assert costs.partial_s == pytest.approx(batch_s(4, GPU) / 4)
    assert costs.final_s == pytest.approx(batch_s(controller.max_finals, GPU) / controller.max_finals)
    assert unlimited_ms is not None
    assert (interval_ms(controller, 2.0) or inf) > 1.5 * unlimited_ms
    controller.limit_batches(64)
    assert controller.max_finals_alone == 64


def test_recorded_finals_change_neither_the_service_level_nor_what_streams_cost() -> None:
    controller = controller_that_measured()
    speak(controller, 4, 0.0)
    before = controller.service_level(0.0, 1, 0), controller.request_costs(0.2), controller.max_finals
    for tenth in range(100):
        controller.record_batch(4, 0.1, tenth / 10, is_final=True, is_recorded=True)
    assert (controller.service_level(0.0, 1, 0), controller.request_costs(0.2), controller.max_finals) == before
    assert controller.figures(10.0, 1).utilization == pytest.approx(1.0, abs=0.15)


def test_a_batch_of_recorded_finals_is_short_beside_live_streams() -> None:
    controller = LoadController(BASE_MS, 16)
    assert controller.max_recorded(alone=True) == 1
    controller.calibrate(calibration(slowness=0.5))
    assert batch_s(controller.max_recorded(alone=False)) * 0.5 == pytest.approx(0.3, rel=0.1)
    assert controller.max_recorded(alone=True) == controller.max_finals_alone
    for _ in range(20):
        controller.record_batch(1, 1.0, 0.0, is_final=True, is_recorded=True)
    assert controller.max_recorded(alone=False) == 1


def test_no_batch_is_larger_than_the_engine_or_the_operator_allows() -> None:
    for configured, allowed in ((64, 16), (16, 64)):
        controller = LoadController(BASE_MS, configured)
        controller.calibrate(replace(calibration(GPU, 0.01, on_gpu=True), max_batch=allowed), n_streams=2)
        assert controller.max_finals_alone == controller.max_partials == 16


def test_costs_are_those_of_a_busy_server_whose_finals_come_while_it_computes_partials() -> None:
    controller = LoadController(BASE_MS, 64)
    controller.calibrate(calibration(GPU, on_gpu=True))
    costs, finals_alone = controller.request_costs(0.1), controller.request_costs(inf)
    assert costs
    assert finals_alone
    n = controller.max_partials
    assert costs.partial_s == pytest.approx(batch_s(n, GPU) / n)
    assert costs.final_s == pytest.approx((0.035 + n / 10 * 0.0012) / (n / 10))
    assert finals_alone.final_s == pytest.approx(batch_s(controller.max_finals, GPU) / controller.max_finals)


@for_each("configured_ms", [100, 500, 10_000])
def test_partials_never_come_more_often_than_configured(configured_ms: int) -> None:
    controller = controller_that_measured(slowness=0.01, interval_ms=configured_ms)
    speak(controller, 1, 1.0)
    assert controller.service_level(1.0, 1, 0) == ServiceLevel(configured_ms, effort="full")


def test_more_publishers_get_partials_less_often_and_more_workers_make_up_for_it() -> None:
    intervals = []
    for n_streams in (24, 32, 40):
        controller = controller_that_measured()
        speak(controller, n_streams, 1.0)
        intervals.append(interval_ms(controller, 1.0))
    assert None not in intervals
    assert intervals == sorted(set(intervals))
    controller = controller_that_measured()
    speak(controller, 72, 1.0)
    assert interval_ms(controller, 1.0, n_workers=3) == intervals[0]


def test_finals_that_wait_slow_partials_down_at_once() -> None:
    controller = controller_that_measured()
    speak(controller, 32, 1.0)
    calm, busy = interval_ms(controller, 1.0), interval_ms(controller, 1.5, n_finals_waiting=10)
    assert calm is not None
    assert busy is None or busy > 1.5 * calm
    assert interval_ms(controller, 2.0, n_finals_waiting=1000) is None


def test_streams_that_ask_for_finals_alone_are_no_publishers_to_whom_partials_are_owed() -> None:
    controller = controller_that_measured(slowness=0.4)
    for n in range(20):
        controller.record_request(request(str(n), is_final=True), 1.0 + n / 5)
    speak(controller, 1, 5.0)
    assert interval_ms(controller, 5.0) == BASE_MS


def compute_finals(controller: LoadController, utilization: float, from_s: float, to_s: float) -> int | None:
    """Finals take a worker so much of each second; the interval at the end."""
    now_s = from_s
    while now_s < to_s:
        controller.record_batch(1, utilization / 4, now_s, is_final=True)
        now_s += 0.25
        interval = interval_ms(controller, now_s)
    return interval


def test_many_publishers_do_not_pause_partials_for_finals_go_first() -> None:
    controller = controller_that_measured()
    speak(controller, 1000, 1.0)
    assert interval_ms(controller, 1.0) == SLOWEST_INTERVAL_MS / OVERSUBSCRIPTION


def test_partials_pause_when_finals_nearly_fill_the_workers_and_come_back_at_less() -> None:
    controller = controller_that_measured()
    assert compute_finals(controller, PAUSE_UTILIZATION + 0.1, 0.0, 30.0) is None
    between = (PAUSE_UTILIZATION + RESUME_UTILIZATION) / 2
    assert compute_finals(controller, between, 30.0, 60.0) is None
    assert compute_finals(controller, RESUME_UTILIZATION - 0.1, 60.0, 90.0) is not None
    assert compute_finals(controller, between, 90.0, 120.0) is not None


def test_finals_show_who_speaks_while_partials_pause() -> None:
    controller = controller_that_measured()
    assert compute_finals(controller, 0.9, 0.0, 30.0) is None
    for n in range(40):
        controller.record_request(request(str(n), is_final=True), 30.0)
    resumed, now_s = None, 30.0
    while resumed is None:
        resumed = compute_finals(controller, 0.1, now_s, now_s + 0.25)
        now_s += 0.25
    assert now_s < 40.0
    assert resumed > BASE_MS


def test_the_pause_is_counted() -> None:
    controller = controller_that_measured()
    compute_finals(controller, 0.9, 0.0, 30.0)
    before_s = controller.figures(30.0, 1).paused_s
    compute_finals(controller, 0.9, 30.0, 32.0)
    assert controller.figures(32.0, 1).paused_s - before_s == pytest.approx(2.0, abs=0.25)


def test_utilization_is_of_each_worker_and_the_last_seconds() -> None:
    controller = controller_that_measured()
    for tenth in range(400):
        controller.record_batch(4, 0.1, tenth / 10, is_final=True)
    assert controller.figures(40.0, 2).utilization == pytest.approx(0.5, rel=0.05)
    assert controller.figures(80.0, 2).utilization < 0.001


def test_there_is_no_speculation_where_partials_are_slower_than_configured() -> None:
    controller = controller_that_measured()
    speak(controller, 24, 1.0)
    assert controller.service_level(1.0, 1, 0).effort == "reduced"


def test_there_is_time_for_translations_where_partials_are_as_often_as_configured() -> None:
    controller = LoadController(BASE_MS, 16)
    assert controller.leaves_time
    for slowness, leaves_time in ((0.5, True), (20.0, False)):
        controller = controller_that_measured(slowness=slowness)
        speak(controller, 4, 0.0)
        level = controller.service_level(0.0, 1, 0)
        assert controller.leaves_time == (level.partial_interval_ms == BASE_MS) == leaves_time


def test_batches_of_a_slow_model_are_single_requests_and_of_a_fast_one_as_large_as_pays() -> None:
    slow, fast = controller_that_measured(slowness=20), controller_that_measured(slowness=0.02)
    assert (slow.max_finals, slow.max_partials) == (1, 1)
    assert 4 < fast.max_finals == fast.max_partials < 16
    between = controller_that_measured(slowness=0.5)
    assert 1 < between.max_partials < between.max_finals < 16


def test_small_gains_are_worth_a_short_wait_only_where_finals_are_computed_beside_partials() -> None:
    """A batch takes 15 ms and 12 ms for each window. On a CPU the finals behind it, and words of few streams, wait."""
    measured = calibration({1: 0.027, 64: 0.015 + 64 * 0.012}, 1.0)
    sizes = []
    for n_streams in (1, 2):
        controller = LoadController(BASE_MS, 64)
        controller.calibrate(measured, n_streams)
        sizes.append(controller.max_partials)
    assert sizes == [4, 7]


def test_finals_of_a_single_stream_are_in_larger_batches_because_nobody_else_waits() -> None:
    controller = controller_that_measured(slowness=4)
    assert controller.max_finals == 1
    assert 1 < controller.max_finals_alone < 16


def test_a_rate_is_of_the_last_seconds() -> None:
    rate = Rate(memory_s=5.0)
    for second in range(60):
        rate.add(3.0, float(second))
    assert rate.per_s(59.5) == pytest.approx(3.0, rel=0.05)
    assert rate.per_s(99.0) < 0.01


@dataclass(frozen=True)
class Watched:
    """A server for 40 s: its waits, and at each step the interval of partials and the finals that wait."""

    waits: Waits
    intervals_ms: list[int | None]
    n_waiting: list[int]


@functools.cache
def watched(n_streams: int, name: str = "steep") -> Watched:
    """Let so many speak. Several tests look at the same 40 s."""
    server = SimulatedServer(curve=KINDS[name])
    server.join(n_streams)
    seen = Watched(server.waits, [], [])

    def watch() -> None:
        seen.intervals_ms.append(server.interval_ms)
        seen.n_waiting.append(server.scheduler.n_finals_waiting)

    server.run(40.0, watch)
    return seen


@for_each(
    ("n_streams", "p95_s", "name"),
    spread([(*row, name) for row in ((1, 0.3), (8, 0.5), (24, 0.8), (48, 0.9), (96, 1.0)) for name in KINDS], 4),
)
def test_finals_are_in_time_however_many_speak(n_streams: int, p95_s: float, name: str) -> None:
    """The endpoint's silence comes on top, of 0.5 to 0.9 s."""
    server = watched(n_streams, name)
    finals = server.waits.finals
    assert len(finals) > 4 * n_streams
    assert Waits.quantile(finals, 0.95, since_s=WARM_S) < p95_s
    assert Waits.quantile(finals, 1.0) < LARGEST_WAIT_S
    assert max(server.n_waiting) <= max(4, n_streams // 3)


@for_each(
    ("n_streams", "interval_at_most_ms", "wait_p95_s", "name"),
    spread([(*row, name) for row in ((1, 500, 0.3), (8, 600, 0.8), (24, 2200, 1.5)) for name in KINDS], 4),
)
def test_partials_come_as_often_as_there_is_time_for_and_do_not_wait(
    n_streams: int, interval_at_most_ms: int, wait_p95_s: float, name: str
) -> None:
    server = watched(n_streams, name)
    intervals = server.intervals_ms
    assert None not in intervals
    settled = [each for each in intervals[len(intervals) // 4 :] if each is not None]
    assert sum(settled) / len(settled) <= interval_at_most_ms
    assert Waits.quantile(server.waits.partials, 0.95, since_s=WARM_S) < wait_p95_s


@pytest.mark.parametrize("n_streams", [24, 48, 96])
def test_partials_do_not_come_and_go(n_streams: int) -> None:
    paused = [interval is None for interval in watched(n_streams).intervals_ms]
    assert sum(before != now for before, now in pairwise(paused)) <= 3


@for_each("n_streams", spread([8, 24, 48, 96], 2))
def test_the_interval_is_as_configured_five_seconds_after_the_load_has_gone(n_streams: int) -> None:
    server = SimulatedServer()
    server.join(n_streams)
    server.run(20.0)
    server.leave(n_streams - 2)
    server.run(5.0)
    assert server.interval_ms == BASE_MS


@CURVES
def test_a_machine_that_is_slower_for_a_while_has_its_partials_back_afterwards(curve: Curve) -> None:
    """The cost of partials is not measured while there are none."""
    server = SimulatedServer(curve=curve)
    server.join(24)
    server.run(10.0)
    server.slowness *= 2
    before_ms = server.interval_ms
    server.run(12.0)
    assert server.interval_ms is None or server.interval_ms > (before_ms or 0)
    server.slowness /= 2
    server.run(30.0)
    assert server.interval_ms is not None
    assert Waits.quantile(server.waits.finals, 1.0) < LARGEST_WAIT_S


@given(data=st.data(), slowness=st.sampled_from([0.05, 0.3, 0.5, 1.0]), n_workers=st.integers(1, 3))
def test_whichever_streams_come_and_go_finals_wait_for_the_batch_before_and_their_own(
    data: st.DataObject, slowness: float, n_workers: int
) -> None:
    """This holds as long as the workers can do the finals. 100 streams are too many only for one thread alone."""
    server = SimulatedServer(slowness=slowness, n_workers=n_workers, seed=data.draw(st.integers(0, 1000)))
    most = 90 if n_workers > 1 or slowness <= 0.5 else 40
    for _ in range(6):
        wanted = data.draw(st.integers(0, most))
        server.join(max(0, wanted - len(server.publishers)), partials=data.draw(st.booleans()))
        server.leave(max(0, len(server.publishers) - wanted))
        server.run(5.0)
    assert Waits.quantile(server.waits.finals, 1.0) < LARGEST_WAIT_S + 4 * slowness
    server.scheduler.check_invariants()


def test_a_fast_machine_accepts_as_many_streams_as_it_can_serve_within_seconds() -> None:
    """An estimate for a large GPU: 35 ms for a batch, and 1.2 ms for each window in it."""
    server = SimulatedServer(slowness=1.0, curve=GPU, on_gpu=True, n_streams=2)
    for _ in range(10):
        assert server.knock(25) == 0
        server.run(1.0)
    assert len(server.publishers) == 250
    assert server.limit.n > 300
    server.run(5.0)
    assert server.interval_ms == BASE_MS
    assert Waits.quantile(server.waits.finals, 0.95) < 0.3
    assert Waits.quantile(server.waits.partials, 0.95) < 0.3


def test_a_gpu_that_takes_long_for_a_single_window_accepts_what_its_batches_can_serve() -> None:
    """A batch of eight takes it hardly longer. One after the other it would have time for two streams."""
    server = SimulatedServer(slowness=1.0, curve=SLOW_GPU, on_gpu=True, n_streams=2)
    for _ in range(10):
        server.knock(4)
        server.run(1.0)
    assert len(server.publishers) >= 10
    server.run(10.0)
    assert Waits.quantile(server.waits.finals, 0.95) < LARGEST_WAIT_S


@pytest.mark.parametrize(("curve", "at_once", "in_the_end"), [(FLAT, 12, 16), (STEEP, 4, 5)], ids=["flat", "steep"])
def test_two_processes_on_a_cpu_accept_what_their_single_thread_can_do(
    curve: Curve, at_once: int, in_the_end: int
) -> None:
    """Batches of one and two windows show what the second one saves, which is most."""
    server = SimulatedServer(curve=curve, slowness=1.0, n_workers=2)
    accepted = []
    for _ in range(60):
        server.knock(8)
        server.run(1.0)
        accepted.append(len(server.publishers))
    assert accepted[9] >= at_once
    assert accepted[-1] >= in_the_end
    assert Waits.quantile(server.waits.finals, 1.0) < 1.0
    assert server.interval_ms is not None
    assert OVERSUBSCRIPTION * server.interval_ms < 1_400


def test_a_slow_machine_refuses_from_the_first_second() -> None:
    server = SimulatedServer(slowness=1.0, curve={1: 0.3, 64: 64 * 0.3})
    for _ in range(20):
        server.knock(25)
        assert len(server.publishers) <= 2
        server.run(1.0)
    assert Waits.quantile(server.waits.finals, 1.0) < LARGEST_WAIT_S


@CURVES
def test_a_burst_is_accepted_up_to_about_what_is_accepted_after_a_while(curve: Curve) -> None:
    server = SimulatedServer(curve=curve, n_workers=2)
    server.knock(1000)
    at_once = len(server.publishers)
    for _ in range(30):
        server.run(1.0)
        server.knock(5)
    assert at_once <= len(server.publishers) <= 2 * at_once
    assert Waits.quantile(server.waits.finals, 0.95) < 1.0


@pytest.mark.parametrize("factor", spread([2, 4], 1))
@pytest.mark.parametrize(
    ("curve", "on_gpu", "n_workers", "n_streams"),
    [(GPU, True, 1, 2), (FLAT, False, 2, 1)],
    ids=["gpu", "cpu"],
)
def test_a_burst_that_costs_more_than_was_calibrated_is_served_with_fewer_partials(
    curve: Curve, on_gpu: bool, n_workers: int, n_streams: int, factor: int
) -> None:
    """It is accepted at once, before any of its requests is measured. Nobody else is, until there is time again."""
    server = SimulatedServer(curve=curve, slowness=1.0, on_gpu=on_gpu, n_workers=n_workers, n_streams=n_streams)
    server.slowness *= factor
    for _ in range(20):
        server.knock(50)
        server.run(0.1)
    n = len(server.publishers)
    assert n >= 12
    server.run(12.0)
    assert server.limit.n == n
    assert Waits.quantile(server.waits.finals, 0.95) < LARGEST_WAIT_S


def test_a_machine_that_turns_slow_after_its_calibration_takes_no_more_streams() -> None:
    server = SimulatedServer(curve=FLAT, n_workers=2)
    server.slowness *= 4
    for _ in range(60):
        server.knock(5)
        server.run(1.0)
    n, reason = len(server.publishers), server.limit.reason
    assert reason in ("late", "measured")
    assert server.limit.n <= n
    server.run(30.0)
    assert Waits.quantile(server.waits.finals, 1.0, since_s=60.0) < 2 * LARGEST_WAIT_S
