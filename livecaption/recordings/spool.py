"""Store a recording that arrives in a temporary file.

The file has no name where the system allows that, so nothing is left on disk, however the server ends.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryFile
from typing import BinaryIO

from livecaption.errors import InvalidUpload, Unavailable, UploadTooLarge

WRITE_BYTES = 256 * 1024
"""Bytes that are written at once, in a thread. More: more memory for each upload. Less: more turns of threads."""
RETRY_AFTER_S = 30.0
"""Time in s after which the disk may have room again."""


class Spool:
    """One recording on its way to the disk.

    Args:
        file: where it is stored; `close` closes it.
        max_bytes: size of the recording, at most.

    Attributes:
        n_bytes: bytes so far.
    """

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self.n_bytes = 0
        self._file = file
        self._max_bytes = max_bytes
        self._waiting = bytearray()
        self._writing: asyncio.Future[None] | None = None

    def check(self, n_bytes: int | None) -> None:
        """Check a size that a client announces. None: it announces none.

        Raises:
            UploadTooLarge: that is too much.
        """
        if n_bytes is not None and n_bytes > self._max_bytes:
            raise UploadTooLarge(f"a recording may have {self._max_bytes // 2**20} MB here (--max-upload)")

    async def write(self, data: bytes) -> None:
        """Store the next bytes.

        Raises:
            UploadTooLarge: these are too many.
            Unavailable: the disk has no room.
        """
        self.n_bytes += len(data)
        self.check(self.n_bytes)
        self._waiting += data
        if len(self._waiting) >= WRITE_BYTES:
            await self._flush()

    async def finish(self) -> BinaryIO:
        """Return the file with the whole recording, at its beginning.

        Raises:
            InvalidUpload: it is empty.
            Unavailable: the disk has no room.
        """
        if not self.n_bytes:
            raise InvalidUpload("the recording is empty", code="empty_recording")
        await self._flush()
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Delete the recording."""
        if self._writing is not None and not self._writing.done():  # its thread still uses the file
            self._writing.add_done_callback(lambda _: self.close())
        else:
            # To free hundreds of megabytes takes time.
            asyncio.get_running_loop().run_in_executor(None, self._file.close)

    async def _flush(self) -> None:
        data = bytes(self._waiting)
        self._waiting.clear()
        self._writing = asyncio.get_running_loop().run_in_executor(None, _write, self._file, data)
        try:
            await asyncio.shield(self._writing)
        except OSError as error:
            message = f"the recording cannot be stored for its transcription: {error.strerror}"
            raise Unavailable(message, retry_after_s=RETRY_AFTER_S) from None


def _write(file: BinaryIO, data: bytes) -> None:
    """Write all bytes. The file has no buffer, so a disk that is nearly full takes a part of them without an error."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


@asynccontextmanager
async def spooled(max_bytes: int) -> AsyncIterator[Spool]:
    """Yield a place for one recording, which is deleted at the end of the block.

    Raises:
        Unavailable: there is no directory for temporary files that can be written.
    """
    try:
        file = TemporaryFile(prefix="livecaption-", buffering=0)  # noqa: SIM115
    except OSError as error:
        message = f"a recording cannot be stored here for its transcription: {error.strerror}"
        raise Unavailable(message, retry_after_s=RETRY_AFTER_S) from None
    spool = Spool(file, max_bytes)
    try:
        yield spool
    finally:
        spool.close()
