"""Turns on the loop: short ones go on, long ones and many ones give way."""

import asyncio

from livecaption.server.turn import MAX_STEPS, MAX_TURN_S, Turn


async def turns_of_others(steps: int, used_s: float) -> int:
    """How often another task was let in while one took its steps."""
    others, ended = 0, False

    async def other() -> None:
        nonlocal others
        while not ended:
            await asyncio.sleep(0)
            others += not ended

    task = asyncio.ensure_future(other())
    await asyncio.sleep(0)
    turn = Turn()
    for _ in range(steps):
        await turn.give_way(used_s)
    ended = True
    await task
    return others


async def test_a_short_turn_suspends_nobody() -> None:
    assert await turns_of_others(MAX_STEPS - 1, 0.0) == 0


async def test_many_steps_give_way_however_short_they_are() -> None:
    assert await turns_of_others(10 * MAX_STEPS, 0.0) >= 9


async def test_each_long_step_gives_way() -> None:
    assert await turns_of_others(10, MAX_TURN_S) >= 9


async def test_short_steps_add_up() -> None:
    assert 4 <= await turns_of_others(40, MAX_TURN_S / 8) <= 6
