"""Audio from files, pipes and addresses, as the commands read it."""

import asyncio
import os
import re
import signal
import struct
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from aiohttp import web
from aiohttp.test_utils import TestServer

from livecaption.cli import main
from livecaption.cli.sources import HEAD_BYTES, index_comes_last, source
from tests.support.commands import (
    Ended,
    Peer,
    Serve,
    Terminal,
    environment,
    final,
    livecaption_command,
    tone,
    write_tone,
)
from tests.support.processes import processes_with

DATA = Path(__file__).parent.parent / "data"
COMMANDS = ["transcribe", "listen"]


@contextmanager
def pipe(data: bytes | None = None) -> Iterator[tuple[int, asyncio.Task[None] | int]]:
    """Yield the end to read from, and the task that writes the data to the other end; without data, that end."""
    read_end, write_end = os.pipe()

    def write() -> None:
        with os.fdopen(write_end, "wb") as file:
            file.write(data)

    try:
        yield read_end, write_end if data is None else asyncio.ensure_future(asyncio.to_thread(write))
    finally:
        os.close(read_end)


def sent(peer: Peer) -> np.ndarray:
    return np.frombuffer(peer.audio[0], np.float32)


def streamed_wav(duration_s: float) -> bytes:
    """Return a WAV as programs write it to a pipe: the length is not known when the header is written."""
    samples = (tone(duration_s) * 32767).astype("<i2").tobytes()
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16)
    unknown = struct.pack("<I", 0xFFFFFFFF)
    return b"RIFF" + unknown + b"WAVE" + fmt + b"data" + unknown + samples


def phone_mp4(path: Path, duration_s: float) -> bytes:
    """Return an MP4 with its index at its end, as cameras and phones write it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        samples = av.AudioFrame.from_ndarray(tone(duration_s)[None, :], format="fltp", layout="mono")
        samples.sample_rate = 16_000
        samples.time_base = Fraction(1, 16_000)
        samples.pts = 0
        container.mux(stream.encode(samples))
        container.mux(stream.encode(None))
    return path.read_bytes()


# Names


@pytest.mark.parametrize(
    ("place", "name", "stem"),
    [
        ("./talks/one.two.mp3", "talks/one.two.mp3", "one.two"),
        ("-", "standard input", "stdin"),
        ("/dev/stdin", "standard input", "stdin"),
        ("/dev/fd/63", "/dev/fd/63", "63"),
        ("https://ann:secret@host:8443/a/talk.mp3?key=secret#t=3", "https://host:8443/a/talk.mp3", "talk"),
        ("HTTP://host/", "http://host/", "host"),
        ("http://host/a%2Fb%00c.mp3", "http://host/a%2Fb%00c.mp3", "a_b_c"),
        ("c:\\talk.mp3", "c:\\talk.mp3", "c:\\talk"),
    ],
)
def test_a_source_has_a_name_for_people_and_one_for_files(place: str, name: str, stem: str) -> None:
    assert (source(place).name, source(place).stem) == (name, stem)


@pytest.mark.parametrize("place", ["ftp://host/talk.mp3", "rtsp://camera/1", "file:///talk.mp3", "http:///talk.mp3"])
def test_other_addresses_are_no_sources(place: str) -> None:
    with pytest.raises(ValueError, match="neither a file nor an address of http"):
        source(place)


def test_an_address_that_is_no_source_is_shown_without_its_secrets() -> None:
    with pytest.raises(ValueError, match=r"^ftp://host is neither a file"):
        source("ftp://ann:secret@host/key/of/a/talk.mp3?key=secret")


# MP4


def box(kind: bytes, n_bytes: int = 0) -> bytes:
    return struct.pack(">I4s", 8 + n_bytes, kind) + bytes(n_bytes)


@pytest.mark.parametrize(
    ("head", "last"),
    [
        (box(b"ftyp", 16) + box(b"mdat", 16), True),
        (box(b"wide") + box(b"mdat", 16), True),
        (box(b"ftyp", 16) + struct.pack(">I4sQ", 1, b"free", 24) + bytes(8) + box(b"mdat", 16), True),
        (box(b"ftyp", 16) + box(b"moov", 16) + box(b"mdat", 16), False),
        (box(b"ftyp", 16) + box(b"free", 1000), None),
        (box(b"ftyp", 16) + struct.pack(">I4s", HEAD_BYTES, b"free") + bytes(8), False),
        (box(b"ftyp", 16) + struct.pack(">I4s", 0, b"free") + bytes(8), False),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", False),
        (b"ID3\x04", None),
        (b"", None),
    ],
)
def test_an_mp4_whose_audio_precedes_its_index_is_noticed_at_its_beginning(head: bytes, last: bool | None) -> None:
    assert index_comes_last(head) is last


# Pipes


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("place", ["-", "/dev/stdin", "/dev/fd/N", "FIFO"])
async def test_all_audio_of_a_pipe_is_sent(serve: Serve, tmp_path: Path, command: str, place: str) -> None:
    peer = await serve(Peer([final("Hello.")]))
    audio = write_tone(tmp_path / "tone.flac").read_bytes()
    if place == "FIFO":
        place = str(tmp_path / "fifo")
        os.mkfifo(place)
        writing = asyncio.ensure_future(asyncio.to_thread(Path(place).write_bytes, audio))
        ended = await livecaption_command(command, place, "--server", peer.url)
        await writing
    else:
        with pipe(audio) as (descriptor, writing):
            place = place.replace("N", str(descriptor))
            ended = await livecaption_command(
                *(command, place, "--server", peer.url), stdin=descriptor, pass_fds=[descriptor]
            )
            assert os.get_blocking(descriptor)  # the shell's next command may read it
            await writing
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout.endswith("Hello.\n")
    np.testing.assert_allclose(sent(peer), tone(0.5), atol=1e-4)


async def test_standard_input_may_be_a_file(serve: Serve, recording: Path) -> None:
    peer = await serve(Peer([final("Hello.")]))
    with recording.open("rb") as file:
        ended = await livecaption_command("transcribe", "-", "--server", peer.url, stdin=file.fileno())
    assert ended == Ended(0, "Hello.\n", "")
    np.testing.assert_allclose(sent(peer), tone(0.5), atol=1e-4)


@pytest.mark.parametrize("command", COMMANDS)
async def test_an_mp4_whose_index_is_at_its_end_is_read_from_a_pipe(serve: Serve, tmp_path: Path, command: str) -> None:
    peer = await serve(Peer([final("Hello.")]))
    with pipe(phone_mp4(tmp_path / "phone.mp4", 1.0)) as (descriptor, _):
        ended = await livecaption_command(command, "-", "--server", peer.url, stdin=descriptor)
    assert (ended.code, ended.stderr) == (0, "")
    assert len(sent(peer)) / 16_000 == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("raw", "encoding", "rate", "channels"),
    [
        ("f32le:48000:2", "pcm_f32le", 48_000, 2),
        ("mulaw:8000", "mulaw", 8000, 1),
    ],
)
async def test_raw_audio_is_sent_as_it_is(
    serve: Serve, command: str, raw: str, encoding: str, rate: int, channels: int
) -> None:
    peer = await serve(Peer([final("Hello.")]))
    audio = bytes(range(256)) * 150
    with pipe(audio) as (descriptor, _):
        ended = await livecaption_command(command, "-", "--raw", raw, "--server", peer.url, stdin=descriptor)
    assert (ended.code, ended.stderr) == (0, "")
    assert peer.audio == [audio]
    start = peer.starts[0]
    assert (start["encoding"], start["sample_rate"], start["channels"]) == (encoding, rate, channels)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("wav:16000:1", "encodings are s16le"),
        ("s16le", "not ENCODING:RATE:CHANNELS"),
        ("s16le:high", "not ENCODING:RATE:CHANNELS"),
        ("s16le:16000:1:1", "not ENCODING:RATE:CHANNELS"),
        ("s16le:500:1", "the sample rate must be"),
        ("s16le:16000:99", "the number of channels must be"),
    ],
)
def test_a_raw_format_that_is_none_is_wrong_usage(raw: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["listen", "-", "--raw", raw])
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "raw"), [("transcribe", ()), ("listen", ("--raw", "s16le:16000:1"))], ids=["container", "raw"]
)
async def test_a_pipe_without_audio_is_a_failure(serve: Serve, command: str, raw: tuple[str, ...]) -> None:
    """`program-that-fails | livecaption transcribe -` must not look like silence."""
    peer = await serve(Peer())
    with pipe(b"") as (descriptor, _):
        ended = await livecaption_command(command, "-", *raw, "--server", peer.url, stdin=descriptor)
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert "audio" in ended.stderr


@asynccontextmanager
async def listening(stdin: int, *arguments: object, **variables: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "livecaption", "listen", *map(str, arguments)),
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(**variables),
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_listen_sends_what_a_pipe_has_while_the_pipe_goes_on(serve: Serve) -> None:
    peer = await serve(Peer([final("Hello.")]))
    audio = streamed_wav(4.0)
    with pipe() as (descriptor, writer):
        async with listening(descriptor, "-", "--server", peer.url) as process:
            with os.fdopen(writer, "wb", buffering=0) as file:
                await asyncio.to_thread(file.write, audio[:100_000])  # FFmpeg looks at 64 KiB of a WAV first
                await peer.has_audio.wait()
                await asyncio.to_thread(file.write, audio[100_000:])
            stdout, stderr = await process.communicate()
    assert (process.returncode, stdout, stderr) == (0, b"00:00 Hello.\n", b"")
    np.testing.assert_allclose(sent(peer), tone(4.0), atol=1e-3)


async def test_listen_plays_a_pipe_that_has_everything_at_once_at_its_own_pace(serve: Serve) -> None:
    peer = await serve(Peer())
    two_minutes = bytes(120 * 8000)
    with pipe(two_minutes) as (descriptor, _):
        async with listening(descriptor, "-", "--raw", "mulaw:8000:1", "--server", peer.url) as process:
            await peer.has_audio.wait()
            process.send_signal(signal.SIGINT)
            await process.communicate()
    assert 0 < len(peer.audio[0]) < len(two_minutes) / 2
    assert peer.longest_bytes <= 800  # 100 ms


async def test_live_audio_is_not_late_by_the_time_that_the_program_needs_to_start(serve: Serve) -> None:
    """A shell starts both ends of a pipe at once."""
    peer = await serve(Peer())
    two_seconds = bytes(2 * 16_000)
    with pipe(two_seconds) as (descriptor, _):
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", 'sleep 2; exec "$@"', "sh", sys.executable, "-m", "livecaption"),
            *("listen", "-", "--raw", "mulaw:16000:1", "--server", peer.url),
            stdin=descriptor,
            env=environment(),
        )
        assert await process.wait() == 0
    assert peer.audio == [two_seconds]
    assert peer.took_s < 1.5  # at once; at its own pace it would be 2 s


async def test_ctrl_c_ends_listen_while_the_pipe_is_silent(serve: Serve) -> None:
    peer = await serve(Peer([final("last words")]))
    with pipe() as (descriptor, writer):
        async with listening(descriptor, "-", "--raw", "s16le:16000:1", "--server", peer.url) as process:
            os.write(writer, bytes(3200))
            await peer.has_audio.wait()
            process.send_signal(signal.SIGINT)
            stdout, stderr = await process.communicate()
        os.close(writer)
    assert (process.returncode, stdout, stderr) == (130, b"00:00 last words\n", b"")
    assert peer.stopped == [True]


@pytest.mark.processes
async def test_a_pipe_is_read_before_the_model_is_loaded() -> None:
    """A program that records a microphone drops what it cannot write."""
    marker = f"LIVECAPTION_TEST_MARKER={uuid.uuid4().hex}"
    variables = {"LIVECAPTION_ENGINE": "scripted", "LIVECAPTION_MODEL": "hang-load"} | dict([marker.split("=")])
    with pipe(bytes(1_000_000)) as (descriptor, writing):
        async with listening(descriptor, "-", "--raw", "s16le:16000:1", **variables) as process:
            await writing
            process.send_signal(signal.SIGINT)
            await process.communicate()
    assert process.returncode == 130
    assert processes_with(marker) == []


async def test_a_terminal_is_no_recording(serve: Serve) -> None:
    peer = await serve(Peer())
    async with Terminal("transcribe", "-", "--server", peer.url) as terminal:
        ended = await terminal.ended()
    assert ended.code == 1
    assert "standard input: it is a terminal" in ended.stdout


def test_standard_input_cannot_be_read_twice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", "-", "/dev/stdin"]) == 2
    assert capsys.readouterr().err == "livecaption: standard input can be read only once\n"


def test_raw_audio_of_the_microphone_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["listen", "--raw", "s16le:16000:1"]) == 2
    assert capsys.readouterr().err == "livecaption: --raw is for a file or a pipe\n"


# Addresses


@asynccontextmanager
async def web_server(
    file: Path, *, n_missing_bytes: int = 0, breaks: asyncio.Event | None = None, length: bool = True
) -> AsyncIterator[str]:
    """Yield the address of a server that has a recording, but not its last bytes; it breaks off once it may."""
    body = await asyncio.to_thread(file.read_bytes)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if length:
            response.content_length = len(body) + n_missing_bytes
        await response.prepare(request)
        await response.write(body)
        if n_missing_bytes:
            if breaks is not None:
                await breaks.wait()
            request.transport.close()
        return response

    application = web.Application()
    application.router.add_get("/talk.mp3", answer)
    server = TestServer(application)
    await server.start_server()
    yield str(server.make_url("/"))
    await server.close()


@pytest.mark.parametrize(("command", "length"), [("transcribe", True), ("listen", False)], ids=["recording", "radio"])
async def test_a_recording_is_read_from_its_address(
    serve: Serve, recording: Path, command: str, *, length: bool
) -> None:
    peer = await serve(Peer([final("Hello.")]))
    async with web_server(recording, length=length) as url:
        ended = await livecaption_command(command, f"{url}talk.mp3?key=secret", "--server", peer.url)
    assert (ended.code, ended.stderr) == (0, "")
    np.testing.assert_allclose(sent(peer), tone(0.5), atol=1e-4)


async def test_a_transcript_is_named_after_the_address_of_its_recording(
    serve: Serve, recording: Path, tmp_path: Path
) -> None:
    peer = await serve(Peer([final("Hello.")]))
    async with web_server(recording) as url:
        await livecaption_command(
            *("transcribe", f"{url}talk.mp3?key=secret", "--server", peer.url),
            *("--format", "txt", "--output-dir", tmp_path),
        )
    assert (tmp_path / "talk.txt").read_text() == "Hello.\n"


@pytest.mark.parametrize("command", COMMANDS)
async def test_an_address_with_nothing_is_reported_in_one_line_without_its_secrets(serve: Serve, command: str) -> None:
    peer = await serve(Peer())
    async with web_server(Path(os.devnull)) as url:
        ended = await livecaption_command(command, f"{url}nothing.mp3?key=secret", "--server", peer.url)
    assert ended == Ended(1, "", f"livecaption: {url}nothing.mp3: the server answered 404 Not Found\n")


async def test_an_address_that_does_not_answer_is_reported_in_one_line(serve: Serve, unused_tcp_port: int) -> None:
    peer = await serve(Peer())
    ended = await livecaption_command("listen", f"http://127.0.0.1:{unused_tcp_port}/x.mp3", "--server", peer.url)
    assert ended.code == 1
    assert ended.stderr.startswith(f"livecaption: http://127.0.0.1:{unused_tcp_port}/x.mp3: cannot be reached (")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_transfer_that_breaks_off_is_a_failure(serve: Serve, tmp_path: Path, command: str) -> None:
    """Half a transcript must not look like a whole one. The audio of `listen` is decoded while it arrives."""
    peer = await serve(Peer([final("Hello.")]))
    breaks = peer.has_audio if command == "listen" else None
    async with web_server(write_tone(tmp_path / "tone.wav", 3.0), n_missing_bytes=1000, breaks=breaks) as url:
        ended = await livecaption_command(command, f"{url}talk.mp3", "--server", peer.url)
    assert (ended.code, ended.stderr.count("\n")) == (1, 1)
    assert "the transfer broke off" in ended.stderr


# With a model


@pytest.mark.model
@pytest.mark.parametrize("command", COMMANDS)
async def test_the_first_and_the_last_words_of_a_pipe_are_transcribed(tmp_path: Path, command: str) -> None:
    samples, rate_hz = soundfile.read(DATA / "jfk.flac", dtype="int16")
    raw = samples[8 * rate_hz :].astype("<i2").tobytes()  # each second costs one of computing
    with pipe(raw) as (descriptor, _):
        ended = await livecaption_command(command, "-", "--raw", f"s16le:{rate_hz}:1", stdin=descriptor)
    assert (ended.code, ended.stderr) == (0, "")
    words = re.findall(r"[a-z]+", ended.stdout.lower())  # without the times of `listen`
    # On a busy machine `listen` gets less effort, and other words in between.
    assert (words[:2], words[-3:]) == (["ask", "what"], ["for", "your", "country"])
