"""The log records of libraries: one line for each kind, few in a minute, and without text from clients."""

import asyncio
import errno
import logging
import re
import sys

import pytest
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.test_utils import TestServer

from livecaption.live.logs import RateLimited
from livecaption.server.logs import (
    MAX_ADDRESSES,
    MAX_REFUSALS_PER_MINUTE,
    WITHOUT_REQUESTS,
    AccessLog,
    Refusals,
    access_logger,
    malformed_request,
    refused_accept,
)
from tests.support.logs import passed, record
from tests.support.serving import Client

SECRET = "5ecre7"
HOST = "Host: localhost\r\n"
BEARER = f"Authorization: Bearer {SECRET}"
QUERY = f"/v1/sessions?reader_token={SECRET}"
MALFORMED = {
    "control character": f"GET / HTTP/1.1\r\n{HOST}{BEARER}\x01\r\n\r\n",
    "NUL": f"GET / HTTP/1.1\r\n{HOST}{BEARER}\0\r\n\r\n",
    "DEL": f"GET / HTTP/1.1\r\n{HOST}{BEARER}\x7f\r\n\r\n",
    "bare LF": f"GET / HTTP/1.1\r\n{HOST}{BEARER}\nX\r\n\r\n",
    "bare CR": f"GET / HTTP/1.1\r\n{HOST}{BEARER}\rX: y\r\n\r\n",
    "folded": f"GET / HTTP/1.1\r\n{HOST}Authorization: Bearer\r\n {SECRET}\r\n\r\n",
    "long": f"GET / HTTP/1.1\r\n{HOST}{BEARER}{'x' * 10_000}\r\n\r\n",
    "long name": f"GET / HTTP/1.1\r\n{HOST}{SECRET}{'x' * 10_000}: y\r\n\r\n",
    "long query": f"GET {QUERY}{'x' * 10_000} HTTP/1.1\r\n{HOST}\r\n",
    "space in the query": f"GET {QUERY} x HTTP/1.1\r\n{HOST}\r\n",
    "DEL in the query": f"GET {QUERY}\x7f HTTP/1.1\r\n{HOST}\r\n",
    "NUL in the query": f"GET {QUERY}\0 HTTP/1.1\r\n{HOST}\r\n",
    "byte in the query": f"GET {QUERY}\xff HTTP/1.1\r\n{HOST}\r\n",
    "version": f"GET {QUERY} HTTP/7.7\r\n{HOST}{BEARER}\r\n\r\n",
    "no version": f"GET {QUERY} FTP\r\n{HOST}{BEARER}\r\n\r\n",
    "method": f"G@T{SECRET} {QUERY} HTTP/1.1\r\n{HOST}{BEARER}\r\n\r\n",
    "no colon": f"GET / HTTP/1.1\r\n{HOST}Authorization Bearer {SECRET}\r\n\r\n",
    "space before the colon": f"GET / HTTP/1.1\r\n{HOST}Authorization : Bearer {SECRET}\r\n\r\n",
    "length": f"GET {QUERY} HTTP/1.1\r\n{HOST}{BEARER}\r\nContent-Length: {SECRET}\r\n\r\n",
    "encoding": f"POST {QUERY} HTTP/1.1\r\n{HOST}{BEARER}\r\nTransfer-Encoding: {SECRET}\r\n\r\n",
    "chunk": f"POST {QUERY} HTTP/1.1\r\n{HOST}{BEARER}\r\nTransfer-Encoding: chunked\r\n\r\n{SECRET}\r\n",
    "compression": f"POST {QUERY} HTTP/1.1\r\n{HOST}Content-Encoding: gzip\r\nContent-Length: 6\r\n\r\n{SECRET}",
    "many headers": f"GET / HTTP/1.1\r\n{HOST}{(BEARER + chr(13) + chr(10)) * 2000}\r\n",
    "other host": f"GET http://{SECRET}:99999/ HTTP/1.1\r\n{HOST}\r\n",
    "host": f"GET {QUERY} HTTP/1.1\r\nHost: {SECRET}:x\r\n{BEARER}\r\n\r\n",
    "second request": f"GET /healthz HTTP/1.1\r\n{HOST}\r\nGET / HTTP/1.1\r\n{HOST}{BEARER}\0\r\n\r\n",
    "websocket key": (
        f"GET /v1/stream HTTP/1.1\r\n{HOST}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {SECRET}\r\nSec-WebSocket-Protocol: token.{SECRET}\r\n\r\n"
    ),
    "subprotocol": (
        f"GET /v1/stream HTTP/1.1\r\n{HOST}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: token.{SECRET}\r\n"
        f"Sec-WebSocket-Extensions: {SECRET}\r\n\r\n"
    ),
    "body": f"DELETE {QUERY} HTTP/1.1\r\n{HOST}{BEARER}\r\nContent-Length: 100000000\r\n\r\n{SECRET * 1000}",
    "not HTTP": f"\x16\x03\x01{SECRET}\r\n\r\n",
}


@pytest.mark.parametrize("request_text", MALFORMED.values(), ids=MALFORMED)
async def test_no_malformed_request_is_in_the_log(
    client: Client, request_text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.CRITICAL, "aiohttp.access")  # `lifecycle` switches this off
    caplog.clear()
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(request_text.encode("latin-1"))
    assert (await reader.read(7)) == b"HTTP/1."
    writer.write_eof()
    await reader.read()
    writer.close()
    assert (await client.get("/healthz")).status == 200  # by now everything was logged
    assert SECRET not in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_malformed_request_is_one_line_of_the_access_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    logging.getLogger("aiohttp.server").addFilter(WITHOUT_REQUESTS)  # as `build_app` does
    server = TestServer(web.Application())
    await server.start_server(access_log=access_logger, access_log_class=AccessLog)
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(f"GET /bad\x01 HTTQ/9\r\n{HOST}{BEARER}\r\n\r\n".encode())
    await reader.read()
    writer.close()
    await server.close()
    lines = [record for record in caplog.records if record.name == access_logger.name]
    assert [re.sub(r"\d+", "N", line.getMessage()) for line in lines] == ["- - N, N bytes, N ms"]
    assert [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR] == []


def test_a_connection_that_is_not_accepted_is_one_line_without_a_traceback() -> None:
    """asyncio logs several lines and a traceback."""
    try:
        raise OSError(errno.EMFILE, "Too many open files")
    except OSError:
        refused = record("socket.accept() out of system resource\nsocket: <socket.socket fd=6>")
        refused.exc_info = sys.exc_info()
    assert passed(RateLimited(refused_accept), refused) == [
        "no connection can be accepted just now: [Errno 24] Too many open files"
    ]
    assert refused_accept(record("Task exception was never retrieved")) is None


def test_refusals_of_one_address_do_not_hide_those_of_another(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    for peer in ("198.51.100.1",) * 10 + ("127.0.0.1",):
        refusals.log("unauthorized", "GET /v1/stats", peer, "localhost", None, None)
    lines = [line.getMessage() for line in caplog.records]
    assert ["198.51.100.1" in line for line in lines] == [True, True, True, False]


def test_refusals_of_many_addresses_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    for number in range(MAX_ADDRESSES + 10):
        for code in ("unauthorized", "forbidden_host"):
            refusals.log(code, "GET /v1/stats", str(number), "localhost", None, None)
    assert len(caplog.records) == 2 * MAX_REFUSALS_PER_MINUTE
    assert len(refusals._few_of_address) == MAX_ADDRESSES


def malformed() -> logging.LogRecord:
    return record(SECRET, error=BadHttpMessage(SECRET))


def test_a_malformed_request_is_one_line_without_its_content() -> None:
    made = malformed()
    assert passed(RateLimited(malformed_request), made) == ["a malformed request was refused"]
    assert made.levelname == "WARNING"


def test_faults_of_ours_are_logged_as_they_are() -> None:
    fault = record("a fault", error=ValueError("ours"))
    (line,) = passed(RateLimited(malformed_request), fault)
    assert line.splitlines() == ["a fault", "ValueError: ours"]
    assert fault.levelname == "ERROR"


def test_a_request_that_is_behind_another_exception_is_not_logged_either() -> None:
    try:
        try:
            raise BadHttpMessage(SECRET)
        except BadHttpMessage as error:
            raise RuntimeError("payload") from error
    except RuntimeError as error:
        behind = record("a fault", error=error)
    assert passed(RateLimited(malformed_request), behind) == ["a malformed request was refused"]
