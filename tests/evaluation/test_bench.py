"""The whole bench with a real server, real audio and real time."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from livecaption.evaluation.bench import Row, as_json, bench, compare, load_recordings, read_baseline, run, warnings
from livecaption.evaluation.clips import choose, read_manifest
from livecaption.evaluation.measurement import Measurement
from livecaption.evaluation.playlist import Recording
from livecaption.evaluation.server_process import serving
from livecaption.evaluation.wer import WordErrors
from tests.support.commands import livecaption_command

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    return load_recordings(choose(read_manifest(DATA), ["ps-austen-*"]))


@pytest.mark.processes
async def test_a_sweep_measures_every_number_of_streams_and_writes_it_down(tmp_path: Path) -> None:
    """The scripted engine answers its own words at once: all are wrong, and the latencies are those of the server."""
    figures, picture = tmp_path / "figures.json", tmp_path / "figures.png"
    ended = await livecaption_command(
        *("bench", "ps-austen-*", "--data", DATA, "--sweep", "1,2", "--duration", 7, "--per-clip"),
        *("--json", figures, "--plot", picture),
        LIVECAPTION_ENGINE="scripted",
        LIVECAPTION_TOKEN="secret",
    )
    assert ended.code == 0, ended.stderr
    assert ended.stdout.count("ps-austen-") == 3
    assert "word shown" in ended.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    rows: list[dict[str, Any]] = json.loads(figures.read_text())["rows"]
    assert [(row["streams"], row["clips"]) for row in rows] == [(1, 1), (2, 2)]
    for row in rows:
        assert (row["refused"], row["failed"], row["error_reports"]) == (0, 0, {})
        assert row["wer"] >= 1
        assert row["rtf"] is not None
        assert row["inference_cpu_percent"] >= 0
        assert row["server_memory_bytes"] > 1e7
        assert row["client_lag_ms"]["p99"] >= 0
        for play in row["plays"]:
            assert play["transcript"].startswith("One two three")
            # A latency below the hangover would mean that the clocks do not begin together.
            assert play["final_latencies_ms"][0] >= 400
            assert play["first_partial_latency_ms"] > 0


@pytest.mark.processes
async def test_streams_beyond_the_limit_are_counted_as_refused_and_the_others_measured(
    recordings: list[Recording],
) -> None:
    async with serving("--max-streams", "1") as server:
        row = await bench(await server.ready(), "", recordings, 3, 7)
    assert (row.figures["refused"], row.figures["failed"], row.figures["clips"]) == (2, 0, 1)
    assert row.figures["refusals"] >= 2
    # Beside other tests this client may get the processor late, which is a warning of its own.
    assert [warning for warning in warnings([row]) if "this client itself lagged" not in warning] == []


@pytest.mark.processes
async def test_streams_are_measured_without_speakers_and_then_with_them(
    recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server that the bench starts for them distinguishes speakers."""
    monkeypatch.setenv("LIVECAPTION_ENGINE", "scripted")
    rows = await run(recordings, None, "", [1], 5, speakers=True)
    assert [(row.figures["streams"], row.figures["speakers"], row.figures["failures"]) for row in rows] == [
        (1, False, []),
        (1, True, []),
    ]


def play(clip: str, wrong: int, words: int = 10) -> Measurement:
    return Measurement(clip, word_errors=WordErrors(substitutions=wrong, reference_words=words))


def test_a_baseline_gives_the_word_error_rate_of_the_same_recordings() -> None:
    """The recordings differ between numbers of streams, so the WER of all recordings does not count."""
    baseline = read_baseline(as_json([Row({}, [play("a", 1), play("a", 3), play("b", 0, words=30), play("c", 9)])]))
    row = Row({"streams": 4}, [play("a", 5), play("b", 0, words=30), play("new", 1), Measurement("unscored")])
    compare(row, baseline)
    assert row.figures["wer_baseline"] == pytest.approx(2 / 40)
    assert row.figures["not_in_baseline"] == 1


@pytest.mark.parametrize("text", ["{}", "[]", '{"rows": []}'])
def test_a_file_that_is_no_baseline_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a JSON file of bench"):
        read_baseline(text)


Serve = Callable[[Callable[[web.WebSocketResponse], Awaitable[None]]], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Run a server that has figures, and that handles each stream as given after `ready`."""
    stats = {"at_s": 1, "compute_s": 0, "transcribed_audio_s": 0, "received_audio_s": 0, "batches": {}, "workers": []}
    stats |= {"redone_finals": 0, "runaway_texts": 0, "server": {}}
    servers: list[TestServer] = []

    async def start(answer: Callable[[web.WebSocketResponse], Awaitable[None]]) -> str:
        async def stream(request: web.Request) -> web.WebSocketResponse:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.receive()
            ready = {"type": "ready", "session": "s", "resume_token": "r", "protocol": 1, "model": "m"}
            await socket.send_json(ready | {"language": None, "received_ms": 0})
            await answer(socket)
            await socket.close()
            return socket

        async def give_stats(_: web.Request) -> web.Response:
            return web.json_response(stats)

        application = web.Application()
        application.add_routes([web.get("/v1/stream", stream), web.get("/v1/stats", give_stats)])
        servers.append(TestServer(application))
        await servers[-1].start_server()
        return str(servers[-1].make_url("/"))

    yield start
    for server in servers:
        await server.close()


async def test_streams_that_break_off_fail_and_are_in_no_figure(serve: Serve, recordings: list[Recording]) -> None:
    async def end(socket: web.WebSocketResponse) -> None:
        await socket.receive()
        report = {"type": "error", "code": "internal", "message": "Something broke", "fatal": True}
        await socket.send_json(report)
        await socket.send_json({"type": "end", "received_ms": 0, "utterances": 0, "reason": "error"})

    row = await bench(await serve(end), "", recordings, 2, 1)
    assert (row.figures["failed"], row.figures["clips"], row.figures["error_reports"]) == (2, 0, {"internal": 2})
    assert "with 2 streams a stream failed: Something broke" in warnings([row])


async def test_audio_comes_at_the_pace_of_speech_until_the_time_is_up(
    serve: Serve, recordings: list[Recording]
) -> None:
    sent: list[bytes] = []

    async def listen(socket: web.WebSocketResponse) -> None:
        while (message := await socket.receive()).type is WSMsgType.BINARY:
            sent.append(message.data)
        await socket.send_json({"type": "end", "received_ms": 0, "utterances": 0, "reason": "stop"})

    begin_s = asyncio.get_running_loop().time()
    row = await bench(await serve(listen), "", recordings, 1, 1)
    assert row.figures["failed"] == 0
    assert asyncio.get_running_loop().time() - begin_s >= 1
    assert {len(chunk) for chunk in sent} == {3200}
    assert 1 <= len(sent) <= 10
    assert any(b"".join(sent) == recording.pcm[: 3200 * len(sent)] for recording in recordings)


async def test_a_late_client_is_warned_of(recordings: list[Recording], serve: Serve) -> None:
    """Otherwise it would be mistaken for a slow server."""

    async def block(socket: web.WebSocketResponse) -> None:
        time.sleep(0.2)  # noqa: ASYNC251
        await socket.receive()
        await socket.send_json({"type": "end", "received_ms": 0, "utterances": 0, "reason": "stop"})

    row = await bench(await serve(block), "", recordings, 4, 1)
    assert row.figures["failed"] == 0
    assert any("this client itself lagged" in warning for warning in warnings([row]))


@pytest.mark.usefixtures("cold_processes")
async def test_a_bench_of_no_known_clip_is_wrong_usage() -> None:
    ended = await livecaption_command("bench", "no-such-clip", "--data", DATA)
    assert (ended.code, ended.stdout) == (2, "")
    assert "no recording is chosen" in ended.stderr


async def test_a_server_that_is_not_there_makes_the_bench_fail(unused_tcp_port: int) -> None:
    address = f"http://127.0.0.1:{unused_tcp_port}"
    ended = await livecaption_command("bench", "jfk", "--data", DATA, "--server", address, "--duration", 1)
    assert ended.code == 1
    assert ended.stderr.startswith("livecaption: no figures from ")
    assert ended.stderr.count("\n") == 1
