"""Keep the batches that a worker has begun and not answered: their deadlines, and the time that each one took. Pure."""

from collections import deque
from dataclasses import dataclass


@dataclass(slots=True)
class _Begun:
    """A batch that was begun and is not answered."""

    deadline_s: float
    took_s: float = 0.0


class BegunBatches:
    """The batches in the stages of a worker, oldest first. They are answered in this order."""

    def __init__(self) -> None:
        self._begun: deque[_Begun] = deque()
        self._counted_s = 0.0

    @property
    def deadline_s(self) -> float | None:
        """The time that the oldest batch may take, from its beginning or the last answer; None: there is none."""
        return self._begun[0].deadline_s if self._begun else None

    def begin(self, deadline_s: float, now_s: float) -> None:
        """Add a batch, which may take `deadline_s`."""
        self._count(now_s)
        self._begun.append(_Begun(deadline_s))

    def answer(self, now_s: float) -> float:
        """Remove the oldest batch. Return the time in s that the worker took for it.

        While the worker has several batches, each of them counts for its part of that time. So a worker never takes
        longer for all batches than time passes, and the rest of the time is what it has to spare.
        """
        self._count(now_s)
        return self._begun.popleft().took_s

    def _count(self, now_s: float) -> None:
        for batch in self._begun:
            batch.took_s += (now_s - self._counted_s) / len(self._begun)
        self._counted_s = now_s
