"""The number of recordings at a time, and their common end."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import BinaryIO

from livecaption.decoding.pool import DecoderPool
from livecaption.errors import LimitReached, Unavailable
from livecaption.events import Final
from livecaption.live.config import AudioLimits
from livecaption.pipeline.options import StreamOptions
from livecaption.recordings.counts import RecordingCounts
from livecaption.recordings.recording import Recording
from livecaption.workers.pool import WorkerPool

MAX_AT_A_TIME = 2
"""Recordings that are transcribed at a time. While one is decoded, the other keeps the workers busy. More: each takes
longer, and they take more memory."""
MAX_WAITING = 8
"""Recordings that are received or wait beside those. More: more room on the disk, and longer waits. Fewer: more clients
are refused."""
MAX_ARRIVING = 2
"""Recordings of one client that arrive at a time. More: a few clients that send slowly keep all others out. Fewer: a
client must send one after another."""
RETRY_AFTER_S = 10.0
"""Time in s after which a client that was refused may ask again. A recording of ten minutes takes about as long."""
GIVE_UP_MARGIN_S = 1.0
"""Part of the drain time that is kept for the answers to recordings that are cut off."""

logger = logging.getLogger(__name__)


class Recordings:
    """All recordings of a server. Used by the event loop.

    Args:
        workers: transcribe.
        decoders: decode containers.
        limits: the pace of each recording.
        drain_timeout_s: how long `drain` waits for answers.

    Attributes:
        counts: what became of all of them.
    """

    def __init__(
        self, workers: WorkerPool, decoders: DecoderPool, limits: AudioLimits, *, drain_timeout_s: float
    ) -> None:
        self.counts = RecordingCounts()
        self._workers = workers
        self._decoders = decoders
        self._limits = limits
        self._drain_timeout_s = drain_timeout_s
        self._turns = asyncio.Semaphore(MAX_AT_A_TIME)
        self._deadlines: set[asyncio.Timeout] = set()  # of each upload
        self._arriving: Counter[str] = Counter()  # of each client that has a limit
        self._draining = False
        self._fewer = asyncio.Event()

    def __len__(self) -> int:
        return len(self._deadlines)

    @asynccontextmanager
    async def admitted(self, protocol: str) -> AsyncIterator[None]:
        """Hold a place for one upload, from its first byte to the last of its answer.

        Args:
            protocol: the protocol in which it comes.

        Raises:
            Unavailable: `too_many_uploads`; or `draining`, also if the block is cut off because the server stops.
        """
        if self._draining:
            raise _stopping()
        if len(self) >= MAX_AT_A_TIME + MAX_WAITING:
            message = "as many recordings as this server takes are here"
            raise Unavailable(message, code="too_many_uploads", retry_after_s=RETRY_AFTER_S)
        deadline = asyncio.timeout(None)
        self._deadlines.add(deadline)
        try:
            async with deadline:
                with self.counts.accepted(protocol):
                    yield
        except TimeoutError:
            if not deadline.expired():
                raise
            raise _stopping() from None
        finally:
            self._deadlines.discard(deadline)
            self._fewer.set()

    @contextmanager
    def arriving(self, client: str | None) -> Iterator[None]:
        """Count a recording while its bytes arrive.

        Args:
            client: its client. None: nobody knows it, so it has no limit.

        Raises:
            LimitReached: `too_many_uploads`.
        """
        if client is None:
            yield
            return
        if self._arriving[client] >= MAX_ARRIVING:
            message = f"a client may send {MAX_ARRIVING} recordings at a time"
            raise LimitReached(message, code="too_many_uploads", retry_after_s=RETRY_AFTER_S)
        self._arriving[client] += 1
        try:
            yield
        finally:
            self._arriving[client] -= 1
            if not self._arriving[client]:
                del self._arriving[client]

    @asynccontextmanager
    async def transcribing(
        self, file: BinaryIO, options: StreamOptions, count: Callable[[int], None]
    ) -> AsyncIterator[tuple[Recording, AsyncGenerator[Final, None]]]:
        """Wait for a turn, and yield a recording and its finals. The end of the block stops the transcription.

        Args:
            file, options, count: see `Recording`.

        Raises:
            InvalidMessage: the model cannot do what the options ask for.
        """
        assert self._workers.loaded is not None  # nobody is admitted before
        options = options.for_model(self._workers.loaded)
        async with self._turns:
            recording = Recording(file, options, self._workers, self._decoders, self._limits, count)
            async with aclosing(recording.finals()) as finals:
                try:
                    yield recording, finals
                finally:
                    damage = ", of which a part was damaged" if recording.is_damaged else ""
                    logger.info("a recording ended after %.1f s of audio%s", recording.duration_ms / 1000, damage)

    async def drain(self) -> None:
        """Take no more recordings, and wait for the answers. What is not done in time is cut off. Idempotent."""
        self._draining = True
        if not self._deadlines:
            return
        loop = asyncio.get_running_loop()
        cut_off_s = loop.time() + max(0.0, self._drain_timeout_s - GIVE_UP_MARGIN_S)
        for deadline in self._deadlines:
            deadline.reschedule(cut_off_s)
        try:
            async with asyncio.timeout_at(cut_off_s + GIVE_UP_MARGIN_S):
                while self._deadlines:
                    self._fewer.clear()
                    await self._fewer.wait()
        except TimeoutError:
            logger.error("%d recordings were not answered in time", len(self))


def _stopping() -> Unavailable:
    return Unavailable("the server is stopping", code="draining", retry_after_s=RETRY_AFTER_S)
