"""The audio of a stream whose bytes are a container: decoded elsewhere, handed over as samples."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from math import inf

import numpy as np

from livecaption.audio.formats import ChannelMode, Samples
from livecaption.decoding.pool import ContainerDecoder, DecoderPool
from livecaption.errors import InvalidMessage, LivecaptionError

logger = logging.getLogger(__name__)


class ContainerFeed:
    """Decodes the container of one stream, from its making on.

    Args:
        decoders: has the processes that decode.
        take: takes samples (float32, 16 kHz, mono or [n_samples, n_channels]); decoding waits for it.
        on_end: called once, when the last sample was taken; with the error if there is one.
        n_channels: channels that are kept apart; None: they are mixed.
    """

    def __init__(
        self,
        decoders: DecoderPool,
        take: Callable[[Samples], Awaitable[None]],
        on_end: Callable[[LivecaptionError | None], None],
        n_channels: int | None = None,
    ) -> None:
        channel_mode: ChannelMode = "mix" if n_channels is None else "separate"
        self._decoder = ContainerDecoder(decoders, channel_mode=channel_mode, on_wait=self._note_decoded)
        self._n_channels = n_channels
        self._take = take
        self._on_end = on_end
        self._n_pushed = 0
        self._n_decoded: float = 0  # bytes whose samples were taken; infinite where no more samples come
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()  # each for this number of bytes
        self._task = asyncio.ensure_future(self._decode())

    @property
    def is_done(self) -> bool:
        """True if no more samples come."""
        return self._task.done()

    async def push(self, data: bytes) -> None:
        """Hand over bytes; wait while the decoder is behind."""
        self._n_pushed += len(data)
        await self._decoder.push(data)

    def when_decoded(self, act: Callable[[], None]) -> None:
        """Call `act` once the samples of the bytes so far were taken, or no more samples come.

        Samples that the decoder makes only with later bytes are not awaited: see `audio.container`.
        """
        self._waiting.append((self._n_pushed, act))
        self._call_waiting()

    def finish(self) -> None:
        """Decode the bytes that have come, and nothing more."""
        self._decoder.finish()

    def stop_after(self, delay_s: float) -> None:
        """Drop all that is not decoded by then."""
        if not self.is_done:
            asyncio.get_running_loop().call_later(delay_s, self._stop)

    def cancel(self) -> None:
        """Drop all that is not decoded, and report nothing. All that wait for samples are called now."""
        self._task.cancel()
        self._note_decoded(inf)

    def _stop(self) -> None:
        if not self.is_done:
            self.cancel()
            self._on_end(None)

    async def _decode(self) -> None:
        error: LivecaptionError | None = None
        try:
            async with aclosing(self._decoder.samples()) as pieces:
                async for samples in pieces:
                    await self._take(samples if self._n_channels is None else _padded(samples, self._n_channels))
        except LivecaptionError as caught:
            error = caught
        except Exception:
            logger.exception("taking a container's samples failed")
            error = LivecaptionError("internal error")
        self._note_decoded(inf)
        self._on_end(error)

    def _note_decoded(self, n_bytes: float) -> None:
        self._n_decoded = n_bytes
        self._call_waiting()

    def _call_waiting(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._n_decoded:
            _, act = self._waiting.popleft()
            act()


def _padded(samples: Samples, n_channels: int) -> Samples:
    """Add silent channels, up to this number.

    Raises:
        InvalidMessage: `unsupported_channels`: there are more.
    """
    n_missing = n_channels - samples.shape[1]
    if n_missing < 0:
        message = f"the container has {samples.shape[1]} channels, but start names {n_channels} in `channels`"
        raise InvalidMessage(message, code="unsupported_channels")
    return np.pad(samples, ((0, 0), (0, n_missing)))
