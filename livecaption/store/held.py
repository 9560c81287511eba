"""Callers that wait until their entries are written, and for how long.

If the database takes longer than `MAX_HOLD_S`, captions are sent before they are stored. The store is then behind until
all that waits is written. The log reports it before the first of these captions is sent, so it shows whether the
server's end can have cost a final that somebody has seen.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

MAX_HOLD_S = 0.5
"""Longest time in s for which a final waits for the disk (2 ms at most where it was measured). Longer: a slow disk
delays captions more. Shorter: more captions are sent before they are stored."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A callback that waits until the entry with that number is written."""

    number: int
    due_s: float
    written: Callable[[], None]


class Held:
    """The callers that wait. Used by the event loop.

    Args:
        max_hold_s: how long each of them waits.

    Attributes:
        behind: whether nobody waits any more, because the store needs too long.
        n_early: entries whose callers went on before they were written.
    """

    def __init__(self, max_hold_s: float) -> None:
        self._max_hold_s = max_hold_s
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting] = deque()
        self._n_submitted = 0
        self._timer: asyncio.TimerHandle | None = None
        self.behind = False
        self.n_early = 0

    def add(self, n_entries: int, written: Callable[[], None]) -> None:
        """Hold a caller that has submitted so many entries, until they are written."""
        self._n_submitted += n_entries
        if self.behind:
            self.let_go(written)
            return
        self._waiting.append(_Waiting(self._n_submitted, self._loop.time() + self._max_hold_s, written))
        if self._timer is None:
            self._timer = self._loop.call_later(self._max_hold_s, self._check_due)

    def let_go(self, written: Callable[[], None]) -> None:
        """Let a caller go on whose entry is not written."""
        self.n_early += written is not ignore
        written()

    def note_written(self, n_written: int) -> None:
        """Let the callers go on whose entries are among the first `n_written`."""
        while self._waiting and self._waiting[0].number <= n_written:
            self._waiting.popleft().written()
        if self.behind and n_written == self._n_submitted:
            self.behind = False
            logger.warning("the store has caught up: captions are stored before they are sent again")

    def go_on(self) -> None:
        """Let all go on."""
        while self._waiting:
            self.let_go(self._waiting.popleft().written)

    def _check_due(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        wait_s = self._waiting[0].due_s - self._loop.time()
        if wait_s > 0:
            self._timer = self._loop.call_later(wait_s, self._check_due)
        else:
            logger.warning(
                "the store needs more than %.1f s: captions are sent before they are stored", self._max_hold_s
            )
            self.behind = True
            self.go_on()


def ignore() -> None:
    """Do nothing when an entry is written, because nobody waits for it."""
