"""A container stream decoded beside the event loop: bytes in, samples out.

A demuxer pulls its input and cannot be pushed, so it runs in a daemon thread of its own that
reads from a bounded pipe of bytes.
"""

import asyncio
import contextlib
import io
import logging
import threading
from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from livecaption.audio.container import decode_container
from livecaption.errors import InvalidAudio, LivecaptionError

MAX_WAITING_BYTES = 256 * 1024

logger = logging.getLogger(__name__)

Samples = npt.NDArray[np.float32]


class ContainerDecoder:
    """Decodes one container stream.

    `on_samples` is called in the loop with float32 [n], mono, 16 kHz; `on_end` once and last, with
    the error that ended it or None.
    """

    def __init__(
        self, on_samples: Callable[[Samples], None], on_end: Callable[[LivecaptionError | None], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_samples = on_samples
        self._on_end = on_end
        self._source = _ByteFeed(on_room=lambda: self._call(self._room.set))
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done after `on_end`."""
        self._room = asyncio.Event()
        self._room.set()
        threading.Thread(target=self._decode, name="container-decoder", daemon=True).start()

    async def push(self, data: bytes) -> None:
        """Hand over bytes; waits while the decoder is more than `MAX_WAITING_BYTES` behind."""
        self._source.feed(data)
        while self._source.n_waiting > MAX_WAITING_BYTES and not self.ended.done():
            self._room.clear()
            await self._room.wait()

    def finish(self) -> None:
        """No more bytes; `ended` is done once all samples were handed over."""
        self._source.finish()

    def _decode(self) -> None:
        error: LivecaptionError | None = None
        try:
            for samples in decode_container(self._source):
                self._call(self._on_samples, samples)
        except InvalidAudio as caught:
            error = caught
        except Exception:
            logger.exception("a container's decoder failed")
            error = LivecaptionError("internal error")
        finally:
            self._source.finish()
        self._call(self._finish, error)

    def _finish(self, error: LivecaptionError | None) -> None:
        self._room.set()
        self._on_end(error)
        self.ended.set_result(None)

    def _call(self, callback: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed; nobody listens
            self._loop.call_soon_threadsafe(callback, *arguments)


class _ByteFeed(io.RawIOBase):
    """A file that is read by one thread while another writes it."""

    def __init__(self, on_room: Callable[[], None]) -> None:
        self._on_room = on_room
        self._chunks: deque[bytes] = deque()
        self._finished = False
        self._changed = threading.Condition()
        self.n_waiting = 0

    def feed(self, data: bytes) -> None:
        with self._changed:
            if not self._finished:
                self._chunks.append(data)
                self.n_waiting += len(data)
                self._changed.notify()

    def finish(self) -> None:
        with self._changed:
            self._finished = True
            self._changed.notify()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, as soon as there are any; empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._chunks or self._finished)
            if not self._chunks:
                return b""
            chunk = self._chunks.popleft()
            if 0 <= size < len(chunk):
                self._chunks.appendleft(chunk[size:])
                chunk = chunk[:size]
            was_full = self.n_waiting > MAX_WAITING_BYTES
            self.n_waiting -= len(chunk)
            if was_full and self.n_waiting <= MAX_WAITING_BYTES:
                self._on_room()
            return chunk
