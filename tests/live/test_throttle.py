"""Audio is taken at a limited rate."""

import asyncio
import time

import pytest

from livecaption.live.config import AudioLimits
from livecaption.live.throttle import Throttle

LIMITS = AudioLimits(audio_s_per_s=10.0, burst_s=3.0, max_backlog_ms=500, backlog_pause_s=1000.0)


async def test_a_burst_is_taken_at_once_and_what_exceeds_it_is_delayed() -> None:
    taking = Throttle(LIMITS, now_s=7.0)
    assert taking.allowance.use(3.0, now_s=7.0) == 0
    assert taking.allowance.use(1.0, now_s=7.0) == pytest.approx(0.1)


async def test_a_stream_whose_finals_do_not_come_is_full() -> None:
    assert not Throttle(LIMITS, now_s=7.0).is_full(500)
    assert Throttle(LIMITS, now_s=7.0).is_full(501)


async def test_taking_waits_for_room_which_a_final_makes() -> None:
    taking = Throttle(LIMITS, now_s=7.0)
    waiting = asyncio.ensure_future(taking.wait_for_room())
    await asyncio.sleep(0)
    taking.note_backlog(501)
    await asyncio.sleep(0)
    assert not waiting.done()
    taking.note_backlog(500)
    await waiting


async def test_it_does_not_wait_for_ever() -> None:
    """A message is taken now and then, so that a dead peer is seen."""
    async with asyncio.timeout(10):
        await Throttle(AudioLimits(backlog_pause_s=0.01), now_s=7.0).wait_for_room()


async def test_others_have_the_loop_after_a_long_step() -> None:
    order: list[str] = []

    async def other() -> None:
        order.append("other")

    waiting = asyncio.ensure_future(other())
    await Throttle(LIMITS, now_s=7.0).hold_back(0.0, began_s=time.monotonic() - 1)
    order.append("next step")
    await waiting
    assert order == ["other", "next step"]
