"""Limits on the pace of one stream's audio: others must get their share, and its finals must keep up."""

import asyncio
import time

from livecaption.live.allowance import Allowance
from livecaption.live.turn import Turn

MAX_BACKLOG_MS = 60_000
"""Audio that waits for finals before the server reads slower than the client sends."""
BACKLOG_PAUSE_S = 5.0
"""Longest pause in reading; after it one message is taken all the same, so that pings are
answered and a dead peer is seen."""
AUDIO_S_PER_S = 100.0
AUDIO_BURST_S = 60.0
"""The pace at which audio is taken, and a burst: a recording of an hour in 36 s, at a tenth of a core."""


class Throttle:
    """The throttle of one stream. Used by the event loop.

    Attributes:
        allowance: of audio, in seconds of its own time.
    """

    def __init__(self) -> None:
        self.allowance = Allowance(AUDIO_S_PER_S, AUDIO_BURST_S, time.monotonic())
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
        return backlog_ms > MAX_BACKLOG_MS

    def note_backlog(self, backlog_ms: int) -> None:
        """Note that a final came; taking goes on if there is room."""
        if not self.is_full(backlog_ms):
            self._room.set()

    async def wait_for_room(self) -> None:
        """Wait until there is room, but for `BACKLOG_PAUSE_S` at most."""
        self._room.clear()
        try:
            async with asyncio.timeout(BACKLOG_PAUSE_S):
                await self._room.wait()
        except TimeoutError:
            pass
