"""The time at which a dead worker is restarted. Row 48 of the fault matrix, with time as an argument."""

from livecaption.workers.restart import Restart, RestartConfig, RestartPolicy
from tests.support.cases import for_each

CONFIG = RestartConfig()
AT_ONCE = Restart(0.0, breaker_open=False)
HALF_OPEN = Restart(30.0, breaker_open=True)


def die(policy: RestartPolicy, n_deaths: int = 1, *, healthy: bool = False, random: float = 1.0) -> list[Restart]:
    return [policy.next_restart(healthy=healthy, random=random) for _ in range(n_deaths)]


def test_the_first_restart_is_at_once() -> None:
    assert die(RestartPolicy(CONFIG)) == [AT_ONCE]


def test_delays_double() -> None:
    assert [restart.delay_s for restart in die(RestartPolicy(CONFIG), 4)] == [0, 0.5, 1, 2]


@for_each("random", [0.0, 0.25, 1.0])
def test_a_delay_is_any_part_of_its_ceiling(random: float) -> None:
    """With full jitter, workers that died of one cause do not start together."""
    assert die(RestartPolicy(CONFIG), 3, random=random)[-1].delay_s == 1.0 * random


def test_five_deaths_in_a_row_open_the_breaker_for_as_long_as_workers_die() -> None:
    """Also where each load fails after minutes. Later deaths, however many, are no error."""
    restarts = die(RestartPolicy(CONFIG), 2000)
    assert [restart.breaker_open for restart in restarts[:4]] == [False] * 4
    assert restarts[4:] == [HALF_OPEN] * 1996


def test_a_try_that_was_healthy_closes_the_breaker() -> None:
    policy = RestartPolicy(CONFIG)
    assert die(policy, 6)[-1] == HALF_OPEN
    assert die(policy, healthy=True) == [AT_ONCE]
    assert not die(policy, 3)[-1].breaker_open


def test_healthy_workers_are_restarted_at_once_however_often_they_die() -> None:
    policy = RestartPolicy(CONFIG)
    die(policy, 3)
    assert die(policy, 15, healthy=True) == [AT_ONCE] * 15


@for_each(
    ("served_s", "n_answered", "healthy"),
    [
        (0.0, 0, False),
        (CONFIG.healthy_busy_s - 0.1, 1000, False),
        (CONFIG.healthy_busy_s, CONFIG.healthy_batches, True),
        (CONFIG.healthy_after_s - 0.1, CONFIG.healthy_batches - 1, False),
        (CONFIG.healthy_after_s, 0, True),
    ],
)
def test_a_worker_is_healthy_that_answered_some_batches_or_was_there_for_a_minute(
    served_s: float, n_answered: int, healthy: bool
) -> None:
    assert CONFIG.is_healthy(served_s, n_answered) == healthy


def test_loads_without_memory_are_tried_again_for_a_minute_after_the_first_of_them() -> None:
    policy = RestartPolicy(CONFIG)
    waits = [policy.waits_for_memory(now_s, short=True) for now_s in (100.0, 130.0, 159.0, 161.0)]
    assert waits == [True, True, True, False]


def test_loads_that_take_long_are_tried_again_three_times() -> None:
    policy = RestartPolicy(CONFIG)
    waits = [policy.waits_for_memory(now_s, short=True) for now_s in (100.0, 190.0, 280.0, 370.0)]
    assert waits == [True, True, True, False]


def test_a_worker_that_ended_otherwise_begins_that_minute_again() -> None:
    policy = RestartPolicy(CONFIG)
    assert policy.waits_for_memory(100.0, short=True)
    assert not policy.waits_for_memory(120.0, short=False)
    assert policy.waits_for_memory(170.0, short=True)
