"""Receive recordings over HTTP, for every protocol that has them: checks, limits, and clients that leave."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TypeVar

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.client_exceptions import ClientPayloadError
from aiohttp.http_exceptions import HttpProcessingError

from livecaption.errors import InvalidUpload, TooSlow, UploadTooLarge
from livecaption.events import Final
from livecaption.live.accounts import Account
from livecaption.pipeline.options import StreamOptions
from livecaption.recordings.recording import Recording
from livecaption.recordings.spool import Spool, spooled
from livecaption.server import auth
from livecaption.server.keys import KEYS
from livecaption.server.services import SERVICES

MAX_FIELDS = 100
MAX_FIELD_BYTES = 16 * 1024
"""Fields of a form beside the recording, and the size of each. A hundred words to expect are that many fields."""
LOOK_S = 0.25
"""Interval in s at which it is noticed that a client has left. Longer: its recording takes more of the workers."""

Received = TypeVar("Received")


class Upload:
    """One recording of one client.

    Args:
        request: its request.
        spool: where it is stored.
        account: the account of the client's key; None: it has none.
    """

    def __init__(self, request: web.Request, spool: Spool, account: Account | None) -> None:
        self._spool = spool
        self._request = request
        self._account = account
        self._recordings = request.app[SERVICES].recordings
        self._limits = request.app[SERVICES].config.server.http
        self._until_s = asyncio.get_running_loop().time() + self._limits.upload_timeout_s

    async def receive(self) -> str:
        """Store the whole body as the recording, and return its SHA-256 in hex.

        Raises:
            InvalidUpload: it breaks off.
            UploadTooLarge, TooSlow, Unavailable: see `Spool`, `uploading`.
        """
        self._spool.check(self._request.content_length)
        digest = hashlib.sha256()
        while data := await self._in_time(self._request.content.readany()):
            digest.update(data)
            await self._spool.write(data)
        return digest.hexdigest()

    async def receive_form(self) -> list[tuple[str, str]]:
        """Store the part `file` as the recording, and return the other fields of the form, in order.

        Raises:
            InvalidUpload: the body is no such form, or breaks off.
            UploadTooLarge, TooSlow, Unavailable: see `Spool`, `uploading`.
        """
        if self._request.content_type != "multipart/form-data":
            raise InvalidUpload("the body must be multipart/form-data, with the recording as the field file")
        fields: list[tuple[str, str]] = []
        has_file = False
        try:
            parts = await self._request.multipart()
            while (part := await self._in_time(parts.next())) is not None:
                if isinstance(part, MultipartReader) or not part.name:
                    raise InvalidUpload("each part of the form must be a field with a name")
                if part.name != "file":
                    if len(fields) == MAX_FIELDS:
                        raise UploadTooLarge(f"a form may have {MAX_FIELDS} fields beside the recording")
                    fields.append((part.name, await self._text(part)))
                elif has_file:
                    raise InvalidUpload("a request has one recording", field="file")
                else:
                    has_file = True
                    while data := await self._in_time(part.read_chunk(64 * 1024)):
                        await self._spool.write(data)
        except (ValueError, AssertionError, RuntimeError) as error:
            raise InvalidUpload("the form is not complete, or not well formed") from error
        if not has_file:
            raise InvalidUpload("the recording is missing: it is the field file of the form", field="file")
        return fields

    @asynccontextmanager
    async def transcribing(
        self, options: StreamOptions
    ) -> AsyncIterator[tuple[Recording, AsyncGenerator[Final, None]]]:
        """Transcribe the recording that was received: see `Recordings.transcribing`. Its audio counts for the key.

        Raises:
            InvalidUpload: it is empty.
        """
        file = await self._spool.finish()
        async with self._recordings.transcribing(file, options) as (recording, finals):
            try:
                yield recording, finals
            finally:
                if self._account is not None:
                    self._account.usage.add(recording.duration_ms, datetime.now(UTC))

    async def _text(self, part: BodyPartReader) -> str:
        value = bytearray()
        while data := await self._in_time(part.read_chunk(MAX_FIELD_BYTES)):
            value += data
            if len(value) > MAX_FIELD_BYTES:
                raise UploadTooLarge(f"the field {part.name} may have {MAX_FIELD_BYTES // 1024} KB")
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise InvalidUpload(f"the field {part.name} is not valid UTF-8", field=part.name) from None

    async def _in_time(self, reading: Awaitable[Received]) -> Received:
        pause_ends_s = asyncio.get_running_loop().time() + self._limits.upload_pause_s
        try:
            async with asyncio.timeout_at(min(pause_ends_s, self._until_s)):
                return await reading
        except TimeoutError:
            raise TooSlow("the recording does not arrive in time", code="upload_timeout") from None
        except (ClientPayloadError, HttpProcessingError) as error:
            raise InvalidUpload("the body breaks off, or is not well formed") from error


@asynccontextmanager
async def uploading(request: web.Request) -> AsyncIterator[Upload]:
    """Check the client, and yield its upload, which is deleted at the end of the block.

    The block is cut off once the client has left or the server stops.

    Raises:
        ForbiddenOrigin, Unauthorized, ForbiddenRole, LimitReached: the client may not.
        Unavailable: not now.
        ConnectionResetError: the client has left.
    """
    services = request.app[SERVICES]
    auth.check_origin(request, services.config.server)
    key = auth.check_access(request)
    account = None if key is None else request.app[KEYS].accounts.of(key)
    if account is not None:
        account.check_minutes(datetime.now(UTC))
    services.sessions.check_loaded()
    async with (
        _while_connected(request),
        services.recordings.admitted(),
        spooled(services.config.server.max_upload_mb * 2**20) as spool,
    ):
        yield Upload(request, spool, account)


@asynccontextmanager
async def _while_connected(request: web.Request) -> AsyncIterator[None]:
    """Cut off the block once the client has left.

    Raises:
        ConnectionResetError: it has.
    """
    leaving = asyncio.timeout(None)

    async def look() -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if request.transport is None or request.transport.is_closing():
                leaving.reschedule(asyncio.get_running_loop().time())
                return

    try:
        async with leaving:
            looking = asyncio.ensure_future(look())
            try:
                yield
            finally:
                looking.cancel()
    except TimeoutError:
        if not leaving.expired():
            raise
        raise ConnectionResetError("the client has left") from None
