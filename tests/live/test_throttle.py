"""Audio is taken at a limited rate."""

import asyncio
import time

import pytest

from livecaption.live import throttle
from livecaption.live.throttle import AUDIO_BURST_S, AUDIO_S_PER_S, MAX_BACKLOG_MS, Throttle


async def test_a_burst_is_taken_at_once_and_what_exceeds_it_is_delayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livecaption.live.throttle.time.monotonic", lambda: 7.0)
    taking = Throttle()
    assert taking.allowance.use(AUDIO_BURST_S, now_s=7.0) == 0
    assert taking.allowance.use(1.0, now_s=7.0) == pytest.approx(1 / AUDIO_S_PER_S)


async def test_a_stream_whose_finals_do_not_come_is_full() -> None:
    assert not Throttle().is_full(MAX_BACKLOG_MS)
    assert Throttle().is_full(MAX_BACKLOG_MS + 1)


async def test_taking_waits_for_room_which_a_final_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "BACKLOG_PAUSE_S", 1000.0)
    taking = Throttle()
    waiting = asyncio.ensure_future(taking.wait_for_room())
    await asyncio.sleep(0)
    taking.note_backlog(MAX_BACKLOG_MS + 1)
    await asyncio.sleep(0)
    assert not waiting.done()
    taking.note_backlog(MAX_BACKLOG_MS)
    await waiting


async def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message is taken now and then, so that a dead peer is seen."""
    monkeypatch.setattr(throttle, "BACKLOG_PAUSE_S", 0.01)
    async with asyncio.timeout(10):
        await Throttle().wait_for_room()


async def test_others_have_the_loop_after_a_long_step() -> None:
    order: list[str] = []

    async def other() -> None:
        order.append("other")

    waiting = asyncio.ensure_future(other())
    await Throttle().hold_back(0.0, began_s=time.monotonic() - 1)
    order.append("next step")
    await waiting
    assert order == ["other", "next step"]
