"""Addresses of a server, and waiting for one that cannot accept yet."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import SSLContext
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from livecaption.client import (
    Reconnected,
    Reconnecting,
    StreamClosed,
    StreamError,
    StreamRefused,
    connect,
    stream_url,
    watch,
    watch_url,
)
from livecaption.client.opening import reason, reconnect, wait_until_accepted
from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.scripted_peer import READY, ServerOf

LOADING = {"code": "loading", "message": "the model is not loaded yet", "retry_after_s": 0.1}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://host:8000", "http://host:8000/v1/stream"),
        ("https://host/", "https://host/v1/stream"),
        ("ws://[::1]:1/v1/stream", "ws://[::1]:1/v1/stream"),
        ("wss://host/captions/?key=1", "wss://host/captions/v1/stream?key=1"),
    ],
)
def test_stream_url_finds_the_endpoint_of_a_server(url: str, expected: str) -> None:
    assert stream_url(url) == expected


def test_watch_url_finds_a_room_of_any_name() -> None:
    assert watch_url("http://host/captions/", "py con?") == "http://host/captions/v1/rooms/py%20con%3F/watch"


@pytest.mark.parametrize("url", ["", "host:8000", "ftp://host", "http://", "/v1/stream"])
def test_stream_url_refuses_what_is_no_server(url: str) -> None:
    with pytest.raises(ValueError, match="is not a server's address"):
        stream_url(url)
    with pytest.raises(ValueError, match="is not a server's address"):
        watch_url(url, "pycon")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ftp://anna:s3cret@host/?token=s3cret", "ftp://host/"),
        ("http://anna:s3cret@host:99999", "http://host:99999"),
        ("http://anna:s3/cr?et@host:8000", "http://host:8000"),
        ("http://anna:s3cret@[::1", "http://[::1"),
        ("anna:s3cret@host:8000", "host:8000"),
    ],
)
def test_an_address_that_is_none_is_shown_without_its_secrets(url: str, shown: str) -> None:
    with pytest.raises(ValueError, match="is not a server's address") as refused:
        stream_url(url)
    assert str(refused.value).startswith(f"'{shown}' is not")


@asynccontextmanager
async def loading(n_refusals: int, refusal: dict[str, Any], tls: SSLContext | None = None) -> AsyncIterator[str]:
    """A server that refuses so often, and then accepts."""
    n_requests = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal n_requests
        n_requests += 1
        if n_requests <= n_refusals:
            return web.json_response(refusal, status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json(READY)
        await socket.receive()
        return socket

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    server = TestServer(application)
    await server.start_server(ssl=tls)
    yield str(server.make_url("/"))
    await server.close()


Open = Callable[..., Any]
BOTH = pytest.mark.parametrize("open_", [connect, lambda url, **options: watch(url, "pycon", **options)])


@BOTH
async def test_a_client_that_may_wait_does_so_until_the_server_accepts(open_: Open) -> None:
    refusals: list[StreamError] = []
    began_s = asyncio.get_running_loop().time()
    async with loading(2, LOADING) as url, open_(url, wait_s=30.0, waiting=refusals.append):
        # It asks no sooner than the server allows.
        assert asyncio.get_running_loop().time() - began_s >= 0.2
    assert [str(refusal) for refusal in refusals] == 2 * ["the model is not loaded yet"]


async def test_a_server_that_asked_for_patience_may_restart_meanwhile() -> None:
    answers = [StreamRefused(503, "overloaded", "full", 0.0), ConnectionError("it restarts"), "accepted"]

    async def attempt() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await wait_until_accepted(attempt, 30.0, None) == "accepted"


async def test_a_server_that_never_answered_is_not_waited_for() -> None:
    async def attempt() -> Any:
        raise ConnectionError("nobody is there")

    with pytest.raises(ConnectionError, match="nobody"):
        await wait_until_accepted(attempt, 30.0, None)


@BOTH
async def test_a_server_is_trusted_if_the_program_names_its_authority(open_: Open, tmp_path: Path) -> None:
    async with loading(0, LOADING, Authority().server(tmp_path, "127.0.0.1")) as url:
        async with open_(url, ssl=ssl.create_default_context(cafile=tmp_path / "authority.pem")):
            pass
        with pytest.raises(ConnectionError, match=r"the certificate of https://.* is not trusted: unable to get local"):
            async with open_(url):
                pass


@BOTH
async def test_a_client_that_may_not_wait_is_refused_at_once(open_: Open) -> None:
    async with loading(1, LOADING) as url:
        with pytest.raises(StreamRefused) as refused:
            async with open_(url):
                pass
    assert (refused.value.code, refused.value.retry_after_s) == ("loading", 0.1)


@BOTH
async def test_nobody_waits_for_an_answer_that_comes_too_late(open_: Open) -> None:
    async with loading(1, LOADING | {"retry_after_s": 60.0}) as url:
        with pytest.raises(StreamRefused, match="not loaded"):
            async with open_(url, wait_s=30.0):
                pass


@BOTH
async def test_nobody_waits_for_a_server_that_refuses_for_good(open_: Open) -> None:
    async with loading(1, {"code": "unauthorized", "message": "the token is missing"}) as url:
        with pytest.raises(StreamRefused, match="token"):
            async with open_(url, wait_s=30.0):
                pass


@asynccontextmanager
async def restarting(*answers: int | None) -> AsyncIterator[tuple[str, list[web.Request]]]:
    """A server behind a proxy, with its answer to each connection, and the last one to all later ones.

    None: it accepts, and loses the first connection. Otherwise a proxy answers with this status.

    Yields:
        Its URL, and the requests so far.
    """
    requests: list[web.Request] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        requests.append(request)
        status = answers[min(len(requests), len(answers)) - 1]
        if status is not None:
            return web.Response(status=status, text="<html>", content_type="text/html")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if len(requests) == 1:
            await socket.send_json(READY | {"resume_window_ms": 5000})
        else:
            await socket.send_json({name: value for name, value in READY.items() if name != "seq"})
        if len(requests) == 1 and len(answers) > 1:
            assert request.transport is not None
            request.transport.abort()
        async for _ in socket:
            pass
        return socket

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    async with TestServer(application) as server:
        yield str(server.make_url("/")), requests


@BOTH
async def test_a_client_behind_a_proxy_goes_on_once_the_server_has_restarted(open_: Open) -> None:
    async with restarting(None, 502, 429, None) as (url, requests), open_(url) as events:
        assert [await anext(events), await anext(events)] == [Reconnecting(), Reconnected()]
    assert len(requests) == 4


@BOTH
async def test_a_failure_names_the_server_without_the_secrets_of_its_address(open_: Open, unused_tcp_port: int) -> None:
    async def failure(url: str) -> str:
        with pytest.raises(ConnectionError) as failed:
            async with open_(f"{url}?token=s3cret".replace("://", "://anna:s3cret@")):
                pass
        return str(failed.value)

    async with restarting(502) as (behind_a_proxy, _), restarting(404) as (another, _):
        urls = [f"http://127.0.0.1:{unused_tcp_port}/", behind_a_proxy, another]
        failures = [await failure(url) for url in urls]
    assert all(f"{url}v1/" in each for url, each in zip(urls, failures, strict=True))
    assert [secret for each in failures for secret in ("anna", "s3cret") if secret in each] == []


@pytest.mark.parametrize("error", [aiohttp.InvalidURL("http://:s3cret@x", "s3cret"), aiohttp.ClientPayloadError()])
def test_the_reason_of_a_failure_is_never_the_address_and_never_empty(error: aiohttp.ClientError) -> None:
    assert reason(error) == type(error).__name__


async def test_a_token_may_be_read_from_a_file_with_the_end_of_its_line() -> None:
    async with (
        restarting(None) as (url, requests),
        connect(url, token="s3cret\n"),
        watch(url, "pycon", reader_token="s3cret\r\n"),
    ):
        pass
    assert [request.headers["Authorization"] for request in requests] == 2 * ["Bearer s3cret"]


@BOTH
async def test_a_task_that_still_reads_ends_when_the_block_is_left(open_: Open) -> None:
    async with restarting(None) as (url, requests):
        async with open_(url) as events:
            reading = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0)  # now it waits for an event
        with pytest.raises(StreamClosed, match="was left"):
            await asyncio.wait_for(reading, 5)
        with pytest.raises(StreamClosed, match="was left"):
            await anext(events)
    assert len(requests) == 1


@BOTH
async def test_a_task_that_connects_again_ends_when_the_block_is_left(open_: Open) -> None:
    async with restarting(None, 502) as (url, requests):
        async with open_(url) as events:
            assert await anext(events) == Reconnecting()
            reading = asyncio.ensure_future(anext(events))
            await eventually(lambda: len(requests) == 2)
        with pytest.raises(StreamClosed, match="was left"):
            await asyncio.wait_for(reading, 5)
    assert len(requests) == 2


async def test_a_fault_of_the_client_itself_is_not_taken_for_a_lost_connection() -> None:
    async def attempt() -> None:
        raise TypeError("'NoneType' object is not callable")

    with pytest.raises(TypeError, match="NoneType"):
        await asyncio.wait_for(reconnect(attempt), 5)


async def test_a_stream_that_is_refused_after_the_upgrade_is_waited_for_too(server_of: ServerOf) -> None:
    n_connections = 0

    async def script(socket: web.WebSocketResponse, _: dict[str, Any]) -> None:
        nonlocal n_connections
        n_connections += 1
        if n_connections == 1:
            await socket.send_str(json.dumps({"type": "error", "fatal": True, **LOADING}))
            await socket.close(code=1013)
        else:
            await socket.send_json(READY)
            await socket.receive()

    url = await server_of(script)
    with pytest.raises(StreamClosed) as closed:
        async with connect(url):
            pass
    assert closed.value.retry_after_s == 0.1
    n_connections = 0
    async with connect(url, wait_s=30.0) as stream:
        assert stream.ready.session == "s1"
