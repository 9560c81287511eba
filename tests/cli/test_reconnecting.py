"""`listen --reconnect` with addresses that end, break off and come back."""

import asyncio
import sys
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from livecaption.cli.reconnecting import FIRST_PAUSE_S, LASTING_S, LONGEST_PAUSE_S, next_pause_s
from tests.support.commands import Peer, Serve, Terminal, final, livecaption_command
from tests.support.eventually import eventually


def test_pauses_grow_while_attempts_fail_and_begin_again_after_one_that_lasts() -> None:
    pauses = [0.0]
    for _ in range(7):
        pauses.append(next_pause_s(pauses[-1], 0.1))
    assert pauses[1:] == [1, 2, 4, 8, 16, 30, 30]
    assert next_pause_s(LONGEST_PAUSE_S, LASTING_S + 1) == FIRST_PAUSE_S


async def test_listen_connects_again_to_an_address_that_has_ended(serve: Serve, recording: Path) -> None:
    n_asked = 0

    async def radio(_: web.Request) -> web.StreamResponse:
        nonlocal n_asked
        n_asked += 1
        return web.Response(status=503) if n_asked == 2 else web.FileResponse(recording)

    app = web.Application()
    app.router.add_get("/live", radio)
    peer = await serve(Peer([final("words")]))
    async with TestServer(app) as server:
        url = str(server.make_url("/live"))
        async with Terminal("listen", url, "--reconnect", "--server", peer.url, COLUMNS="200") as terminal:
            await terminal.shows("it has ended; connecting again in 1 second")
            await terminal.shows("answered 503")
            await terminal.shows("connecting again in 2 seconds")
            await eventually(lambda: len(peer.stopped) == 2, within_s=20.0)
            terminal.press_ctrl_c()
            ended = await terminal.ended()
    assert ended.code == 130
    assert len(peer.audio) >= 2
    assert all(peer.stopped)


async def test_a_server_that_refuses_the_client_is_not_asked_again(recording: Path) -> None:
    async def radio(_: web.Request) -> web.FileResponse:
        return web.FileResponse(recording)

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"code": "unauthorized", "message": "a token, please"}, status=401)

    app = web.Application()
    app.router.add_get("/live", radio)
    app.router.add_get("/v1/stream", refuse)
    async with TestServer(app) as server:
        ended = await livecaption_command(
            "listen", server.make_url("/live"), "--reconnect", "--server", server.make_url("/")
        )
    assert ended.code == 1
    assert "a token, please" in ended.stderr
    assert "connecting again" not in ended.stderr


async def test_only_an_address_is_connected_to_again() -> None:
    ended = await livecaption_command("listen", "x.wav", "--reconnect")
    assert (ended.code, ended.stderr.count("--reconnect is for an address")) == (2, 1)


async def test_listen_captions_the_broadcast_of_an_encoder(serve: Serve, unused_tcp_port: int) -> None:
    peer = await serve(Peer([final("on air")]))
    url = f"rtmp://127.0.0.1:{unused_tcp_port}/live/secret-key"
    encoder = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.support.encoder", url, "1")
    ended = await livecaption_command("listen", f"{url}?listen=1", "--server", peer.url)
    await encoder.wait()
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout.split() == ["00:00", "on", "air"]
    assert 0.7 < len(peer.audio[0]) / 4 / 16_000 < 1.3


async def test_a_broadcast_that_nobody_sends_is_an_error_without_its_key(serve: Serve, unused_tcp_port: int) -> None:
    peer = await serve(Peer())
    place = f"rtmp://127.0.0.1:{unused_tcp_port}/live/secret-key"
    ended = await livecaption_command("listen", place, "--server", peer.url)
    assert ended.code == 1
    assert "no broadcast could be received" in ended.stderr
    assert "secret-key" not in ended.stderr
    assert peer.starts == []


async def test_a_broadcast_is_not_transcribed_and_srt_is_explained() -> None:
    ended = await livecaption_command("transcribe", "rtmp://localhost/live")
    assert (ended.code, "use listen" in ended.stderr) == (2, True)
    ended = await livecaption_command("listen", "srt://localhost:9000")
    assert (ended.code, "ffmpeg -i" in ended.stderr) == (2, True)
