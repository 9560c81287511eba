"""Limits of keys and of wrong tokens hold for a server of several processes, whichever a client comes to."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from livecaption.keys import hash_of
from tests.support.processes import serving
from tests.support.siblings import client_of
from tests.support.streaming import Publisher

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

MAX_WRONG = 10
LIMITED, SHORT = "token-of-a-hall-with-one-stream", "token-of-a-hall-with-a-minute"
KEYS = f"""
[[key]]
name = "one stream"
role = "publish"
sha256 = "{hash_of(LIMITED.encode())}"
max_streams = 1

[[key]]
name = "one minute"
role = "publish"
sha256 = "{hash_of(SHORT.encode())}"
max_minutes_per_day = 1
"""


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def publishing(
    http: aiohttp.ClientSession, token: str, pace: float = 1.0, **options: Any
) -> tuple[Publisher, asyncio.Task[None]]:
    publisher = Publisher(await http.ws_connect("v1/stream", headers=bearer(token)), pace, options)
    return publisher, asyncio.create_task(publisher.run())


async def refusal(http: aiohttp.ClientSession, token: str) -> str:
    """Return the code with which a stream is refused; empty: it is not."""
    async with http.get("v1/stream", headers=bearer(token)) as answer:
        code: str = (await answer.json())["code"]
        return "" if code == "upgrade_required" else code


@pytest.fixture
def flags(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    file.write_text(KEYS)
    return "--processes=2", f"--tokens={file}"


async def test_a_key_has_its_streams_and_minutes_once_for_all_processes(flags: tuple[str, ...]) -> None:
    async with serving(*flags) as server:
        await server.ready()
        async with client_of(1, server) as one, client_of(2, server) as two, client_of(2, server) as three:
            publisher, ended = await publishing(one, LIMITED)
            await publisher.received("ready")
            assert await refusal(two, LIMITED) == "too_many_streams"
            # A long speech, faster than real time, ends both when they have a minute together.
            streams = [await publishing(http, SHORT, pace=8.0) for http in (two, three)]
            async with asyncio.timeout(60):
                await asyncio.gather(*(task for _, task in streams))
            for stream, _ in streams:
                assert [error["code"] for error in stream.of("error")] == ["minutes_used_up"]
            ended.cancel()
            await asyncio.wait({ended})
        async with client_of(1, server) as one, client_of(2, server) as two:
            assert [await refusal(http, SHORT) for http in (one, two)] == ["minutes_used_up"] * 2
            assert await refusal(two, LIMITED) == ""


async def test_wrong_tokens_of_an_address_count_for_all_processes(flags: tuple[str, ...]) -> None:
    async with serving(*flags) as server:
        await server.ready()
        async with client_of(1, server) as one, client_of(2, server) as two:
            codes = [await refusal(http, f"wrong-{n}") for n in range(MAX_WRONG // 2) for http in (one, two)]
            assert codes == ["unauthorized"] * MAX_WRONG
            for http in (one, two):
                await asyncio.wait_for(_slowed(http), 20)
            assert await refusal(two, LIMITED) == ""


async def _slowed(http: aiohttp.ClientSession) -> None:
    """Wait until the wrong tokens that came to the other process count here."""
    while await refusal(http, "wrong again") != "too_many_attempts":
        pass


async def test_a_body_that_never_comes_is_not_waited_for_where_another_process_has_its_room(
    flags: tuple[str, ...],
) -> None:
    """Nobody waits for a body of a client without a key, and for others only for a while."""

    async def never() -> AsyncIterator[bytes]:
        yield b"{"  # aiohttp sends the head with it
        await asyncio.Event().wait()

    async with serving(*flags) as server:
        await server.ready()
        async with client_of(1, server) as one:
            room = {"name": "hall", "secret": "a secret of the hall"}
            publisher, ended = await publishing(one, LIMITED, room=room)
            await publisher.received("ready")
            for token, status in (("wrong", 401), (LIMITED, 408)):
                async with (
                    client_of(2, server) as http,
                    http.put("v1/rooms/hall", data=never(), headers=bearer(token)) as answer,
                ):
                    assert answer.status == status, await answer.text()
            ended.cancel()
            await asyncio.wait({ended})
