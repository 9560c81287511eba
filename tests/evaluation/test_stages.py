"""The time of each stage of a stream is recorded, without that of the stages that it calls."""

import time

from livecaption.evaluation.stages import Stopwatch


def spend(cpu_s: float) -> None:
    end_s = time.thread_time() + cpu_s
    while time.thread_time() < end_s:
        pass


def test_the_time_of_a_stage_is_without_that_of_the_stages_that_it_calls() -> None:
    stopwatch = Stopwatch()
    inner = stopwatch.timed("inner", spend)

    def outer_function() -> str:
        spend(0.02)
        inner(0.05)
        time.sleep(0.2)  # takes no CPU time
        spend(0.02)
        return "done"

    assert stopwatch.timed("outer", outer_function)() == "done"
    assert 0.04 <= stopwatch.seconds["outer"] < 0.1
    assert 0.05 <= stopwatch.seconds["inner"] < 0.1


def test_a_stage_ends_with_an_exception() -> None:
    stopwatch = Stopwatch()

    def fail() -> None:
        raise ValueError

    def outer_function() -> None:
        try:
            stopwatch.timed("inner", fail)()
        except ValueError:
            spend(0.02)

    stopwatch.timed("outer", outer_function)()
    assert stopwatch.seconds["inner"] < 0.01
    assert stopwatch.seconds["outer"] >= 0.02
