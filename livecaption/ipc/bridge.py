"""A pipe is connected to asyncio by two daemon threads: one blocks in reading, one in sending.

Threads work on every system, whereas the event loop of Windows has no `add_reader` for pipes. They also keep the loop
from waiting, because a batch of audio is larger than a socket buffer. The threads do not come from the default
executor, because a blocked read there keeps `asyncio.run` from returning.
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
    """One end of a duplex pipe, used from the running event loop.

    `on_message` and `on_closed` are called in the loop, in the order of the messages. `on_closed` is called exactly
    once and last: at end-of-file, a broken pipe or a garbled message. If the loop is closed by then, neither is called.

    The owner closes the bridge by ending the other process, because end-of-file wakes the reading thread.

    Raises:
        RuntimeError: no thread can be started; the caller keeps the connection and closes it.
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
        # The queue needs no bound, because the scheduler bounds the batches in flight.
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
        """Queue a message without blocking. A message to a dead worker is dropped."""
        self._outgoing.put(message)

    def _write(self) -> None:
        while (message := self._outgoing.get()) is not None:
            try:
                self._connection.send_bytes(encode(message))
            except OSError:
                # The other process is gone. The reading thread gets end-of-file and reports it once.
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
        # The writer must end first. After a close, the system may reuse the descriptor while the writer still uses it.
        self._outgoing.put(None)
        self._call(self._on_closed, garbled)
        self._writer.join()
        self._connection.close()

    def _receive_bytes(self) -> bytes:
        try:
            return self._connection.recv_bytes(MAX_MESSAGE_BYTES)
        except OSError as error:
            if error.args == ("bad message length",):  # the wording of multiprocessing
                raise GarbledMessage("garbled message on the pipe (too long)") from None
            raise

    def _call(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            logger.debug("the event loop is closed; the worker's messages are dropped")
