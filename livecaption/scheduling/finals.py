"""Keep the finals of one class that no worker has yet, and make batches of them. Pure."""

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush

from livecaption.recognition import RequestId
from livecaption.scheduling.request import Request


class WaitingFinals:
    """The finals that wait, the oldest first."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, RequestId, Request]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Request]:
        return (request for *_, request in self._waiting)

    @property
    def oldest(self) -> Request | None:
        """The final that was requested first; None: none waits."""
        return self._waiting[0][2] if self._waiting else None

    def add(self, request: Request) -> None:
        """Let a final wait."""
        heappush(self._waiting, (request.asked_s, request.id, request))

    def take(self, n: int, max_bytes: int, may_share: Callable[[Request, Request], bool]) -> tuple[Request, ...]:
        """Return the next batch, which no longer waits; empty: none waits.

        Args:
            n: requests in it, at most.
            max_bytes: size of it, at most, unless a single request has more.
            may_share: returns whether the first request may be in one batch with another one.
        """
        batch: list[Request] = []
        n_bytes = 0
        while len(batch) < n and (following := self.oldest) is not None:
            n_bytes += following.n_bytes
            if batch and (n_bytes > max_bytes or not may_share(batch[0], following)):
                break
            batch.append(heappop(self._waiting)[2])
        return tuple(batch)

    def remove(self, is_void: Callable[[Request], bool]) -> list[Request]:
        """Remove and return the finals that nobody needs any more."""
        void = [request for request in self if is_void(request)]
        if void:
            self._waiting = [entry for entry in self._waiting if entry[2] not in void]
            heapify(self._waiting)
        return void

    def clear(self) -> list[Request]:
        """Return all that wait, and forget them."""
        waiting = list(self)
        self._waiting.clear()
        return waiting
