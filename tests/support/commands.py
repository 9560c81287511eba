"""The program as its users run it: as a process, in a terminal, and against a server that follows a script."""

import asyncio
import json
import os
import pty
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext
from typing import Any, Literal, TextIO

import numpy as np
import soundfile
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

import livecaption

ROOT = Path(livecaption.__file__).parent.parent

READY = {"type": "ready", "session": "s", "resume_token": "r", "protocol": 1, "model": "m", "language": None}
READY |= {"received_ms": 0}


def final(text: str, start_ms: int = 0, end_ms: int = 400, utterance: int = 0) -> dict[str, Any]:
    fields = {"type": "final", "utterance": utterance, "text": text, "start_ms": start_ms, "end_ms": end_ms}
    return fields | {"language": "en", "confidence": 0.5, "latency_ms": 100}


def error(code: str, message: str, *, fatal: bool) -> dict[str, Any]:
    return {"type": "error", "code": code, "message": message, "fatal": fatal}


@contextmanager
def unread_stdout() -> Iterator[TextIO]:
    """Yield a pipe for `sys.stdout` whose reader is gone, as in `livecaption ... | true`."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with open(write_end, "w", encoding="utf-8") as stdout:
        yield stdout


@dataclass
class Peer:
    """A server for one stream after another: takes what comes until `stop`, then sends its script.

    Attributes:
        answers: sent after `stop`, before `end`.
        early: sent after the first audio.
        ready: fields that `ready` has beside the usual ones.
        end_reason: the reason in `end`; None: closes without one.
        n_refusals: streams that are refused before, because the model is loading.
        tls: serves https.
        breaks: whether the first connection breaks at the first audio.
        starts: the `start` of each stream with its default format, and the Authorization header as `authorization`.
        audio: the bytes of each stream.
        longest_bytes: the length of the longest audio message of all streams.
        has_audio: set at the first audio.
        stopped: whether each stream ended with `stop`.
        took_s: from the first audio to `stop`.
    """

    answers: Sequence[dict[str, Any]] = ()
    early: Sequence[dict[str, Any]] = ()
    ready: Mapping[str, Any] = field(default_factory=dict)
    end_reason: str | None = "stop"
    n_refusals: int = 0
    tls: SSLContext | None = None
    breaks: bool = False
    url: str = ""
    starts: list[dict[str, Any]] = field(default_factory=list)
    audio: list[bytes] = field(default_factory=list)
    longest_bytes: int = 0
    has_audio: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: list[bool] = field(default_factory=list)
    took_s: float = 0.0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.n_refusals:
            self.n_refusals -= 1
            refusal = {"code": "loading", "message": "the model is not loaded yet", "retry_after_s": 0.2}
            return web.json_response(refusal, status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        start = await socket.receive_json()
        authorization = request.headers.get("Authorization")
        self.starts.append({"encoding": "pcm_s16le", "sample_rate": 16_000, **start, "authorization": authorization})
        seq = 0

        async def send(*messages: dict[str, Any]) -> None:
            nonlocal seq
            for message in messages:
                seq += 1
                await socket.send_json(message | {"seq": seq})

        await send(READY | self.ready)
        audio = b""
        stopped = False
        clock = asyncio.get_running_loop().time
        async for message in socket:
            if message.type is WSMsgType.BINARY and self.breaks:
                self.breaks = False
                assert request.transport is not None
                request.transport.abort()
                return socket
            if message.type is WSMsgType.BINARY:
                self.longest_bytes = max(self.longest_bytes, len(message.data))
                if not audio:
                    first_s = clock()
                    await send(*self.early)
                    self.has_audio.set()
                    if any(early.get("fatal") for early in self.early):
                        await socket.close(code=1008)
                audio += message.data
            elif json.loads(message.data)["type"] == "stop":
                stopped = True
                self.took_s = clock() - first_s if audio else 0.0
                await send(*self.answers)
                if self.end_reason:
                    await send({"type": "end", "received_ms": 0, "utterances": 1, "reason": self.end_reason})
                await socket.close()
        self.audio.append(audio)
        self.stopped.append(stopped)
        return socket


Serve = Callable[[Peer], Awaitable[Peer]]


@asynccontextmanager
async def serving_peers() -> AsyncIterator[Serve]:
    """Yield a function that starts a server for a peer, and sets its `url`."""
    servers = []

    async def start(peer: Peer) -> Peer:
        application = web.Application()
        application.router.add_get("/v1/stream", peer.handle)
        servers.append(TestServer(application))
        await servers[-1].start_server(ssl=peer.tls)
        peer.url = str(servers[-1].make_url("/"))
        return peer

    try:
        yield start
    finally:
        for server in servers:
            await server.close()


def write_tone(path: Path, duration_s: float = 0.5) -> Path:
    """Write a tone, as WAV or in the format of its name."""
    soundfile.write(path, tone(duration_s), 16_000)
    return path


def tone(duration_s: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(duration_s * 16_000)) / 16_000)).astype(np.float32)


@dataclass(frozen=True)
class Ended:
    code: int
    stdout: str
    stderr: str


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of a user with no settings of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LIVECAPTION_")}
    paths = [variables.pop("PYTHONPATH", ""), str(ROOT)]
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | variables


async def livecaption_command(
    *arguments: object,
    stdin: int = asyncio.subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
    **variables: str,
) -> Ended:
    """Run the program to its end. It gets no descriptors but its own, and those that are passed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "livecaption",
        *map(str, arguments),
        stdin=stdin,
        pass_fds=pass_fds,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(**variables),
    )
    try:
        stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, stdout.decode(), stderr.decode())


def log_in() -> None:
    """Run in the new process: make its standard input its terminal."""
    os.login_tty(0)


class Terminal:
    """The program in a terminal of its own, with a person who may press Ctrl+C."""

    def __init__(self, *arguments: object, **variables: str) -> None:
        self._arguments = list(map(str, arguments))
        self._environment = environment(TERM="xterm", **variables)
        self._master = -1
        self._shown = bytearray()
        self._more = asyncio.Event()

    async def __aenter__(self) -> "Terminal":
        self._master, slave = pty.openpty()
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "livecaption", *self._arguments),
            stdin=slave,
            env=self._environment,
            preexec_fn=log_in,
        )
        os.close(slave)
        loop = asyncio.get_running_loop()
        self._closed = asyncio.Event()
        loop.add_reader(self._master, self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)

    def _read(self) -> None:
        try:
            self._shown += os.read(self._master, 65536)
            self._more.set()
        except OSError:  # EIO: the program and all its children are gone
            asyncio.get_running_loop().remove_reader(self._master)
            self._closed.set()

    async def shows(self, text: str) -> None:
        while text.encode() not in self._shown:
            self._more.clear()
            await self._more.wait()

    def enter(self, text: str) -> None:
        os.write(self._master, text.encode() + b"\n")

    def press_ctrl_c(self) -> None:
        os.write(self._master, b"\x03")

    async def ended(self) -> Ended:
        code = await self._process.wait()
        await self._closed.wait()
        return Ended(code, self._shown.decode(), "")


SOUND_CARD = """
import threading

class PortAudioError(Exception): pass

def query_devices(kind):
    if {fault!r} == "missing": raise PortAudioError("Error querying device -1")
    return {{"default_samplerate": 48000.0, "max_input_channels": {n_channels}}}

class RawInputStream:
    def __init__(self, samplerate, blocksize, channels, dtype, callback, finished_callback):
        assert (samplerate, channels, dtype) == (48000, {n_channels}, "float32")
        if {fault!r} == "busy": raise PortAudioError("Device unavailable")
        self.callback, self.finished = callback, finished_callback
        self.stopped, self.blocksize = threading.Event(), blocksize
        self.block = bytes(range(4)) * blocksize * channels
        self.thread = threading.Thread(target=self.record)
    def record(self):
        while not self.stopped.wait(0.01):
            self.callback(self.block, self.blocksize, None, None)
            if {fault!r} == "unplugged": break
        self.finished()
    def __enter__(self):
        self.thread.start()
        return self
    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()
"""


def write_sound_card(
    directory: Path, n_channels: int, *, fault: Literal["", "missing", "busy", "unplugged"] = ""
) -> None:
    """Write a module `sounddevice` whose microphone repeats four bytes.

    With a fault it cannot be found or opened, or is unplugged after its first block.
    """
    (directory / "sounddevice.py").write_text(SOUND_CARD.format(n_channels=n_channels, fault=fault))
