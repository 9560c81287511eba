"""Limits on the pace of one stream's audio: others must get their share, and its finals must keep up."""

import asyncio
import time

from livecaption.live.allowance import Allowance
from livecaption.live.config import AudioLimits
from livecaption.live.turn import Turn


class Throttle:
    """The throttle of one stream. Used by the event loop.

    Args:
        now_s: the monotonic time.

    Attributes:
        allowance: the allowance of audio, in seconds of its own time.
    """

    def __init__(self, limits: AudioLimits, now_s: float) -> None:
        self.allowance = Allowance(limits.audio_s_per_s, limits.burst_s, now_s)
        self._limits = limits
        self._turn = Turn()
        self._room = asyncio.Event()

    async def hold_back(self, wait_s: float, began_s: float) -> None:
        """Wait, or let others have the loop if it is their turn, after a step that began at `began_s`."""
        if wait_s:
            await asyncio.sleep(wait_s)
        elif self._turn.is_over(time.monotonic() - began_s):
            await asyncio.sleep(0)

    def is_full(self, backlog_ms: int) -> bool:
        """Return True if so much audio waits for finals that no more should be taken now."""
        return backlog_ms > self._limits.max_backlog_ms

    def note_backlog(self, backlog_ms: int) -> None:
        """Note that a final came; taking goes on if there is room."""
        if not self.is_full(backlog_ms):
            self._room.set()

    async def wait_for_room(self) -> None:
        """Wait until there is room, but for `backlog_pause_s` at most."""
        self._room.clear()
        try:
            async with asyncio.timeout(self._limits.backlog_pause_s):
                await self._room.wait()
        except TimeoutError:
            pass
