"""Requests with several `User-Agent` headers, as `websockets` before 15 sends them."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from livecaption.server.connections import Runner
from livecaption.server.logs import WITHOUT_REQUESTS
from livecaption.server.request_heads import MAX_HEAD_BYTES, with_one_user_agent

FIRST = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: one\r\n"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """The port of a server that answers with the `User-Agent`, and with the body, of each request."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.headers['User-Agent']} {await request.text()}")

    logging.getLogger("aiohttp.server").addFilter(WITHOUT_REQUESTS)  # as `build_app` does
    app = web.Application()
    app.router.add_route("*", "/", answer)
    runner = Runner(app, unread_timeout_s=30.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def answers(port: int, *pieces: bytes) -> bytes:
    """Send pieces of requests, the last of which closes the connection. Return all that comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    answered = await reader.read()
    writer.close()
    return answered


async def test_the_first_of_two_user_agents_counts(port: int) -> None:
    answered = await answers(port, FIRST + b"user-agent: two\r\nConnection: close\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 200")
    assert answered.endswith(b"\r\n\r\none ")


async def test_a_head_may_come_byte_by_byte_and_its_body_behind_it(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: one\r\nX: a\r\nUSER-AGENT: two\r\n"
    request = head + b"Content-Length: 5\r\nConnection: close\r\n\r\nwords"
    answered = await answers(port, *(request[at : at + 1] for at in range(len(request))))
    assert answered.endswith(b"\r\n\r\none words")


async def test_a_body_is_left_as_it_is(port: int) -> None:
    body = b"\r\nUser-Agent: three\r\n"
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: one\r\nConnection: close\r\n"
    answered = await answers(port, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert answered.endswith(b"one " + body)


async def test_all_else_is_refused_as_before(port: int) -> None:
    for line in (
        b"Host: other\r\n",
        b"Content-Length: 0\r\nContent-Length: 1\r\n",
        b"User-Agent: two\r\n three\r\n",  # a line that goes on
        b"X: " + b"a" * MAX_HEAD_BYTES + b"\r\n",
    ):
        answered = await answers(port, FIRST + line + b"Connection: close\r\n\r\n")
        assert answered.startswith(b"HTTP/1.0 400"), line


async def test_a_head_without_an_end_is_refused_at_its_limit(port: int) -> None:
    assert (await answers(port, FIRST + b"X: " + b"a" * 2 * MAX_HEAD_BYTES)).startswith(b"HTTP/1.0 400")


def test_other_headers_stay_in_their_order() -> None:
    head = FIRST + b"A: 1\r\nUser-Agent: two\r\nUser-Agent: three\r\nB: 2\r\n"
    assert with_one_user_agent(head) == FIRST + b"A: 1\r\nB: 2\r\n"
    assert with_one_user_agent(b"GET / HTTP/1.1\r\n") == b"GET / HTTP/1.1\r\n"
