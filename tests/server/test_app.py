"""livecaption is mounted in another application."""

import asyncio
from dataclasses import replace

import psutil
import pytest
from aiohttp import ClientSession, web

from livecaption.config import Config
from livecaption.ipc.config import EngineConfig
from livecaption.live.dialects import native
from livecaption.server import build_app
from livecaption.server.services import SERVICES
from tests.support.serving import SPEECH, read_to_the_close, read_until


def scripted(script: str = "") -> web.Application:
    return build_app(Config(engine=EngineConfig(engine="scripted", model=script)))


async def listening(app: web.Application) -> tuple[web.AppRunner, str]:
    runner = web.AppRunner(app, handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


def test_two_resumable_protocols_are_refused_because_the_store_does_not_name_them() -> None:
    other = replace(native.ROUTE, path="/v1/other")
    with pytest.raises(ValueError, match="one protocol at most"):
        build_app(routes=(native.ROUTE, other))
    assert build_app(routes=(native.ROUTE, replace(other, restore=None)))


async def test_shutdown_of_the_application_delivers_the_finals_and_cleanup_ends_the_process() -> None:
    app = scripted("delay 0.2")
    runner, url = await listening(app)
    await app[SERVICES].pool.wait_until_loaded()
    (pid,) = app[SERVICES].pool.pids
    async with ClientSession() as session, session.ws_connect(f"{url}/v1/stream") as socket:
        await socket.send_json({"type": "start", "partials": False})
        await socket.send_bytes(SPEECH)
        await read_until(socket, "speech_start")
        ending = asyncio.ensure_future(runner.cleanup())
        events = await read_to_the_close(socket)
        await ending
    assert [event["type"] for event in events if event["type"] in ("final", "end")] == ["final", "end"]
    assert next(event for event in events if event["type"] == "final")["text"]
    assert socket.close_code == 1001
    assert not psutil.pid_exists(pid)


async def test_shutdown_while_the_model_loads_does_not_wait_for_it() -> None:
    app = scripted("load 60")
    runner, _ = await listening(app)
    async with asyncio.timeout(10):
        await runner.cleanup()


async def test_livecaption_can_be_mounted_below_a_path() -> None:
    outer = web.Application()
    inner = scripted()
    outer.add_subapp("/captions/", inner)
    runner, url = await listening(outer)
    await inner[SERVICES].pool.wait_until_loaded()
    async with ClientSession() as session, session.ws_connect(f"{url}/captions/v1/stream") as socket:
        await socket.send_json({"type": "start", "partials": False})
        await socket.send_bytes(SPEECH)
        await socket.send_json({"type": "stop"})
        events = await read_to_the_close(socket)
    assert events[-1]["type"] == "end"
    await runner.cleanup()
