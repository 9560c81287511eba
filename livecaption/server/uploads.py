"""Receive recordings over HTTP, for every protocol that has them: checks, limits, and clients that leave."""

import asyncio
import hashlib
import logging
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import TypeVar

from aiohttp import BodyPartReader, MultipartReader, hdrs, web
from aiohttp.client_exceptions import ClientPayloadError
from aiohttp.helpers import parse_mimetype
from aiohttp.http_exceptions import HttpProcessingError

from livecaption.errors import EncodedUpload, InvalidUpload, LivecaptionError, TooSlow, UploadTooLarge
from livecaption.events import Final
from livecaption.live.accounts import Account
from livecaption.live.logs import FEW_REFUSALS
from livecaption.pipeline.options import StreamOptions
from livecaption.recordings.recording import Recording
from livecaption.recordings.spool import Spool, spooled
from livecaption.server import auth
from livecaption.server.attempts import source_of
from livecaption.server.forwarded import address_of
from livecaption.server.http import OF_ACCESS
from livecaption.server.keys import KEYS
from livecaption.server.services import SERVICES

MAX_FIELDS = 100
MAX_FIELD_BYTES = 16 * 1024
"""Fields of a form beside the recording, and the size of each. A hundred words to expect are that many fields."""
MAX_HEADERS = 8
MAX_HEADER_BYTES = 2 * 1024
"""Headers of a part, and the size of each. aiohttp takes 30 ms for the longest that it allows by itself."""
LOOK_S = 0.25
"""Interval in s at which it is noticed that a client has left. Longer: its recording takes more of the workers."""

Received = TypeVar("Received")

logger = logging.getLogger(__name__)
logger.addFilter(FEW_REFUSALS)


class Upload:
    """One recording of one client.

    Args:
        request: its request.
        spool: where it is stored.
        account: the account of the client's key; None: it has none.
        client: whose recordings are counted while they arrive: see `Recordings.arriving`.
        protocol: the protocol in which it comes.
    """

    def __init__(
        self, request: web.Request, spool: Spool, account: Account | None, client: str | None, protocol: str
    ) -> None:
        self._spool = spool
        self._request = request
        self._account = account
        self._client = client
        self._protocol = protocol
        self._recordings = request.app[SERVICES].recordings
        self._limits = request.app[SERVICES].config.server.http
        self._until_s = asyncio.get_running_loop().time() + self._limits.upload_timeout_s

    async def receive(self) -> str:
        """Store the whole body as the recording, and return its SHA-256 in hex.

        Raises:
            InvalidUpload: it breaks off.
            LimitReached: see `Recordings.arriving`.
            UploadTooLarge, TooSlow, Unavailable: see `Spool`, `uploading`.
        """
        self._spool.check(self._request.content_length)
        digest = hashlib.sha256()
        with self._recordings.arriving(self._client):
            while data := await self._in_time(self._request.content.readany()):
                digest.update(data)
                await self._spool.write(data)
        return digest.hexdigest()

    async def receive_form(self) -> list[tuple[str, str]]:
        """Store the part `file` as the recording, and return the other fields of the form, in order.

        Raises:
            InvalidUpload: the body is no such form, or breaks off.
            LimitReached: see `Recordings.arriving`.
            UploadTooLarge, TooSlow, Unavailable: see `Spool`, `uploading`.
        """
        if self._request.content_type != "multipart/form-data":
            raise InvalidUpload("the body must be multipart/form-data, with the recording as the field file")
        if (announced := self._request.content_length) is not None:
            self._spool.check(announced - MAX_FIELDS * (MAX_FIELD_BYTES + MAX_HEADERS * MAX_HEADER_BYTES))
        try:
            with self._recordings.arriving(self._client):
                return await self._receive_parts()
        except (ValueError, AssertionError, RuntimeError) as error:
            raise InvalidUpload("the form is not complete, or not well formed") from error

    async def _receive_parts(self) -> list[tuple[str, str]]:
        fields: list[tuple[str, str]] = []
        has_file = False
        request = self._request
        parts = MultipartReader(
            request.headers, request.content, max_field_size=MAX_HEADER_BYTES, max_headers=MAX_HEADERS
        )
        await self._check_first_boundary()
        while (part := await self._in_time(parts.next())) is not None:
            await asyncio.sleep(0)  # a part that is here is read without a pause
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
        if not has_file:
            raise InvalidUpload("the recording is missing: it is the field file of the form", field="file")
        return fields

    async def _check_first_boundary(self) -> None:
        """Check that the form begins with its first boundary, behind one line end at most.

        aiohttp would skip any number of lines before it, and would not pause while there are more.
        """
        content = self._request.content
        boundary = parse_mimetype(self._request.headers[hdrs.CONTENT_TYPE]).parameters["boundary"]
        line = await self._in_time(content.readline(max_line_length=MAX_HEADER_BYTES))
        if line == b"\r\n":
            line = await self._in_time(content.readline(max_line_length=MAX_HEADER_BYTES))
        if line.rstrip() not in (f"--{boundary}".encode(), f"--{boundary}--".encode()):
            raise InvalidUpload("the form must begin with its boundary")
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # aiohttp itself depends on it
            content.unread_data(line)

    @asynccontextmanager
    async def transcribing(
        self, options: StreamOptions
    ) -> AsyncIterator[tuple[Recording, AsyncGenerator[Final, None]]]:
        """Transcribe the recording that was received: see `Recordings.transcribing`.

        Its audio counts for the key as it is taken. A key that no longer allows it ends the transcription.

        Raises:
            InvalidUpload: it is empty.
            Unauthorized, ForbiddenRole, LimitReached: see `Account.use`.
        """
        file = await self._spool.finish()
        async with self._recordings.transcribing(file, options, self._count) as transcribed:
            yield transcribed

    def _count(self, audio_ms: int) -> None:
        if self._account is not None:
            self._account.use(audio_ms, datetime.now(UTC))
        self._recordings.counts.audio_ms[self._protocol] += audio_ms

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
async def uploading(request: web.Request, protocol: str) -> AsyncIterator[Upload]:
    """Check the client, and yield its upload, which is deleted at the end of the block.

    The block is cut off once the client has left or the server stops. `protocol` is that of the request.

    Raises:
        ForbiddenOrigin, Unauthorized, ForbiddenRole, LimitReached: the client may not.
        EncodedUpload: its body is compressed.
        Unavailable: not now.
        ConnectionResetError: the client has left.
    """
    services = request.app[SERVICES]
    with services.recordings.counts.failures(protocol), _logged_failure():
        async with _admitted(request, protocol) as upload:
            yield upload


@contextmanager
def _logged_failure() -> Iterator[None]:
    """Log the code of the error that ends the block, apart from codes that `http.log_refusal` logs with more."""
    try:
        yield
    except LivecaptionError as error:
        if error.code not in OF_ACCESS:
            logger.info("a recording is refused: %s", error.code, extra={"code": error.code})
        raise


@asynccontextmanager
async def _admitted(request: web.Request, protocol: str) -> AsyncIterator[Upload]:
    services = request.app[SERVICES]
    auth.check_origin(request, services.config.server)
    key = auth.check_access(request)
    account = await request.app[KEYS].account_of(key)
    if account is not None:
        account.check_minutes(datetime.now(UTC))
    if any(each.strip().lower() != "identity" for each in request.headers.getall(hdrs.CONTENT_ENCODING, [])):
        raise EncodedUpload("the body must not be compressed: send it without Content-Encoding")
    services.sessions.check_loaded()
    async with (
        _while_connected(request),
        services.recordings.admitted(protocol),
        spooled(services.config.server.max_upload_mb * 2**20) as spool,
    ):
        yield Upload(request, spool, account, _source(request) if key is None else key.sha256, protocol)


def _source(request: web.Request) -> str | None:
    """Return the address of the client; None: it is on this machine, as that of a proxy is, or unknown."""
    text = auth.client_of(request, request.app[SERVICES].config.server).address
    address = address_of(text)
    return None if address is None or address.is_loopback else source_of(text)


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
