"""A pipe bridged to asyncio: two daemon threads, one blocked in reading, one in sending.

Threads, because they work on every system (Windows pipes know no `add_reader`), because a batch
of audio is larger than a socket buffer and the loop must never wait for it, and daemon ones of
our own, because a read parked in the default executor keeps `asyncio.run` from returning.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection

from livecaption.ipc.messages import MAX_MESSAGE_BYTES, GarbledMessage, Message, decode, encode

logger = logging.getLogger(__name__)


class PipeBridge:
    """One end of a duplex pipe for the running loop.

    `on_message` and `on_closed` are called in the loop, in order; `on_closed` exactly once and
    last: at end-of-file, a broken pipe or a garbled message. Unless the loop is gone by then.

    The owner closes it by ending the other side: end-of-file is what wakes the reading thread.

    Raises:
        RuntimeError: no thread can be started; the connection is the caller's again.
    """

    def __init__(
        self,
        connection: Connection,
        on_message: Callable[[Message], None],
        on_closed: Callable[[GarbledMessage | None], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._on_message = on_message
        self._on_closed = on_closed
        # The scheduler bounds the batches in flight, hence what can wait here.
        self._outgoing: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="pipe-writer", daemon=True)
        self._reader = threading.Thread(target=self._read, name="pipe-reader", daemon=True)
        self._writer.start()
        try:
            self._reader.start()
        except RuntimeError:
            self._outgoing.put(None)  # ends the writer
            raise

    def send(self, message: Message) -> None:
        """Queue a message; never blocks. A message to a dead worker is dropped."""
        self._outgoing.put(message)

    def _write(self) -> None:
        while (message := self._outgoing.get()) is not None:
            try:
                self._connection.send_bytes(encode(message))
            except OSError:
                # The other side is gone. The reader sees its end-of-file and reports it once.
                return

    def _read(self) -> None:
        garbled = None
        try:
            while True:
                self._call(self._on_message, decode(self._receive_bytes()))
        except (EOFError, OSError):
            pass
        except GarbledMessage as error:
            garbled = error
        # The writer first: closing a descriptor that another thread writes to could hit a stranger.
        self._outgoing.put(None)
        self._call(self._on_closed, garbled)
        self._writer.join()
        self._connection.close()

    def _receive_bytes(self) -> bytes:
        try:
            return self._connection.recv_bytes(MAX_MESSAGE_BYTES)
        except OSError as error:
            if error.args == ("bad message length",):  # as multiprocessing says it
                raise GarbledMessage("garbled message on the pipe (too long)") from None
            raise

    def _call(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            logger.debug("the event loop is closed; nobody hears the worker any more")
