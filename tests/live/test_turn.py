"""Turns on the loop: short ones go on, long ones and many ones are over."""

from livecaption.live.turn import MAX_STEPS, MAX_TURN_S, Turn


def turns_over(n_steps: int, used_s: float) -> int:
    """Return how many turns were over in so many steps."""
    turn = Turn()
    return sum(turn.is_over(used_s) for _ in range(n_steps))


def test_a_short_turn_goes_on() -> None:
    assert turns_over(MAX_STEPS - 1, 0.0) == 0


def test_many_steps_are_a_turn_however_short_they_are() -> None:
    assert turns_over(10 * MAX_STEPS, 0.0) == 10


def test_each_long_step_is_a_turn() -> None:
    assert turns_over(10, MAX_TURN_S) == 10


def test_short_steps_add_up() -> None:
    assert turns_over(40, MAX_TURN_S / 8) == 5


def test_a_turn_begins_when_others_had_the_loop() -> None:
    turn = Turn()
    turn.is_over(MAX_TURN_S * 0.9)
    turn.begin()
    assert not turn.is_over(MAX_TURN_S * 0.9)
