"""Streams go on when workers die. Servers, sockets and ends of processes are real.

The numbers of rows are those of the fault matrix.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import groupby
from typing import Any

import aiohttp
import pytest

from livecaption.client import StreamEvent, StreamRefused, StreamSettings, transcribe
from livecaption.evaluation.latency import plain_words
from livecaption.events import End, ErrorReport, Final, Partial, SpeechEnd, SpeechStart, Status
from livecaption.ipc.layers import SWITCH, Layer
from tests.support import worker_parent
from tests.support.eventually import eventually
from tests.support.processes import ProcessEnd, ServerProcess, assert_clean_end, serving
from tests.support.speech import pcm_s16le, sound
from tests.support.streaming import jfk_pcm, recorded_pcm, speaking

pytestmark = pytest.mark.processes

BYTES_PER_S = 32_000
CHUNK_BYTES = BYTES_PER_S // 20
ENGINES = ["scripted", pytest.param("", id="model", marks=pytest.mark.model)]
"""The value of `--engine`; empty is the default, real Whisper."""
UTTERANCE = pcm_s16le(sound("silence 200ms, speech 1200ms, silence 800ms"))


class Reader:
    """All events of one stream."""

    def __init__(self) -> None:
        self.events: list[StreamEvent] = []

    def of(self, kind: type[StreamEvent]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def received(self, condition: Callable[[StreamEvent], bool], within_s: float = 20.0) -> None:
        await eventually(lambda: any(condition(event) for event in self.events), within_s)

    @property
    def finals(self) -> list[tuple[int, str, int, int]]:
        return [(final.utterance, final.text, final.start_ms, final.end_ms) for final in self.of(Final)]

    @property
    def words(self) -> list[str]:
        return " ".join(final.text for final in self.of(Final)).split()

    @property
    def states(self) -> list[str]:
        return [status.state for status in self.of(Status)]


async def speech(pcm: bytes, pace: float) -> AsyncIterator[bytes]:
    """Yield the audio at `pace` times real time."""
    for begin in range(0, len(pcm), CHUNK_BYTES):
        yield pcm[begin : begin + CHUNK_BYTES]
        await asyncio.sleep(CHUNK_BYTES / BYTES_PER_S / pace)


def stream(url: str, pcm: bytes, pace: float = 4.0, **settings: Any) -> "tuple[asyncio.Task[End], Reader]":
    """Stream this audio in a separate task."""
    reader = Reader()
    audio = speech(pcm, pace)
    return asyncio.ensure_future(transcribe(url, audio, reader.events.append, StreamSettings(**settings))), reader


async def health(url: str) -> tuple[int, int, str]:
    """Return the status of `/healthz`, and the status and state of `/readyz`."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{url}healthz") as alive,
        http.get(f"{url}readyz") as ready,
    ):
        return alive.status, ready.status, (await ready.json())["state"]


async def kill_worker(server: ServerProcess, number: signal.Signals = signal.SIGKILL) -> None:
    """End the only worker with a signal, and wait for its end."""
    [pid] = server.worker_pids
    with ProcessEnd(pid) as worker:
        os.kill(pid, number)
        await worker.wait(5.0)


async def stop(server: ServerProcess) -> None:
    server.send(signal.SIGTERM)
    assert await server.exited(within_s=8.0) == 0
    await assert_clean_end(server)


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_death_in_mid_speech_costs_no_word(engine: str) -> None:
    """Rows 41 and 55: the words are those of a stream whose worker did not die, in the same order.

    The pauses are long, because the audio of the utterance before goes with one after a short pause, if its final is
    there by then. The streams have no partials, because the words of partials influence endpoints, and a dead worker
    sends none. The engine's end of speech (Silero) influences them too. Late answers report it later, which may cut off
    a breath.
    """
    async with serving("--workers=1", *(["--model", "delay 0.2"] if engine else []), engine=engine) as server:
        url = await server.ready()
        sentences = recorded_pcm("ls-61-70968-0000", "read-en-leopard-quilter", "ls-211-122425-0000")
        undisturbed, expected = stream(url, sentences, partials=False)
        await undisturbed
        disturbed, reader = stream(url, sentences, partials=False)
        await reader.received(lambda event: isinstance(event, SpeechEnd) and event.utterance == 0)
        await kill_worker(server)
        # A final that kills two workers would be quarantined.
        await reader.received(lambda event: isinstance(event, Final) and event.utterance == 0)
        await reader.received(lambda event: isinstance(event, SpeechEnd) and event.utterance == 1)
        await kill_worker(server)
        assert (await disturbed).reason == "stop"
        if engine:
            assert reader.words == expected.words
        # Punctuation may differ, because the preceding utterance's final was not available as context.
        assert plain_words(" ".join(reader.words)) == plain_words(" ".join(expected.words))
        assert len(reader.of(SpeechStart)) == len(reader.finals) > 1
        assert reader.of(ErrorReport) == []
        await server.logged("worker 3 is ready")
        assert await health(url) == (200, 200, "ready")
        await stop(server)


@pytest.mark.model
async def test_a_segmentation_fault_of_real_whisper_in_a_final_costs_no_word() -> None:
    """Row 42."""
    async with serving("--workers=1", engine="") as server:
        url = await server.ready()
        disturbed, reader = stream(url, jfk_pcm(), partials=False)
        await reader.received(lambda event: isinstance(event, SpeechEnd))
        await kill_worker(server, signal.SIGSEGV)
        assert (await disturbed).reason == "stop"
        assert [final.utterance for final in reader.of(Final)] == [start.utterance for start in reader.of(SpeechStart)]
        assert len(reader.words) > 16, "of 22"
        assert reader.of(ErrorReport) == []
        await server.logged("was killed by SIGSEGV")
        server.send(signal.SIGTERM)
        assert await server.exited(within_s=8.0) == 0


@pytest.mark.model
@pytest.mark.parametrize("loading", [True, False], ids=["loading", "idle"])
async def test_real_whisper_is_gone_with_a_server_that_is_killed(loading: bool) -> None:
    """Rows 16 and 21."""
    async with serving(engine="") as server:
        await (server.logged("worker 1 started") if loading else server.ready())
        with ProcessEnd(server.worker_pids[0]) as worker:
            server.send(signal.SIGKILL)
            await worker.wait(10.0 if loading else 1.0)  # its interpreter may only be starting
        await server.tree_gone()


async def test_a_stream_gets_the_beginning_and_the_end_of_the_recovery() -> None:
    """Rows 41 and 56: the restart takes three seconds here, and the health checks show it meanwhile."""
    async with serving("--model", "load 2.5") as server:
        url = await server.listening()
        assert await health(url) == (200, 503, "loading")
        await server.ready()
        assert await health(url) == (200, 200, "ready")
        streaming, reader = stream(url, jfk_pcm(), pace=2.0)
        await reader.received(lambda event: isinstance(event, SpeechStart))
        await kill_worker(server)
        await server.logged("next one starts")
        assert await health(url) == (200, 503, "recovering")
        await streaming
        states = [state for state, _ in groupby(reader.states)]
        assert states[0] == "recovering"
        assert states[-1] == "ready"
        assert await health(url) == (200, 200, "ready")
        await stop(server)


async def test_poison_of_one_stream_is_its_own() -> None:
    """Row 43: two deaths, an error, and a final with the committed words; no other stream loses anything.

    The other stream has no partials, because their words influence endpoints, and a death delays them. It has long
    pauses too: the audio of the utterance before goes with one after a short pause, if its final is there by then.
    """
    async with serving("--max-streams=2") as server:  # otherwise a busy machine might take only one
        url = await server.ready()
        sentences = recorded_pcm("ls-61-70968-0000", "read-en-leopard-quilter", "ls-211-122425-0000")
        expected_task, expected = stream(url, sentences, partials=False)
        await expected_task
        innocent, others = stream(url, sentences, partials=False)
        await others.received(lambda event: isinstance(event, SpeechStart))
        poison, reader = stream(url, UTTERANCE, prompt="script: final-only crash")
        assert (await poison).reason == "stop"
        [error] = reader.of(ErrorReport)
        assert (error.code, error.fatal) == ("quarantined", False)
        assert [text for _, text, *_ in reader.finals] == [reader.of(Partial)[-1].stable]
        again, reader = stream(url, UTTERANCE, prompt="script: final-only crash")
        await again
        assert [error.code for error in reader.of(ErrorReport)] == ["quarantined"]
        await innocent
        assert others.finals == expected.finals
        assert others.of(ErrorReport) == []
        assert len([line for line in server.lines if "was killed by SIGKILL" in line]) == 2
        await stop(server)


async def test_a_crash_loop_ends_the_streams_after_the_resume_window_and_not_the_server() -> None:
    """Rows 48 and 56."""
    async with serving("--resume-window", "3") as server:
        url = await server.ready()
        async with speaking(url) as [publisher]:
            await publisher.received("speech_start")
            for n in range(1, 6):
                await server.logged(f"worker {n} is ready")
                await kill_worker(server)
            await server.logged("next one starts in 30.0 s")
            failed_s = time.monotonic()
            n_received = len(publisher.events)
            await publisher.received("ack", received_ms=publisher.of("ack")[-1]["received_ms"])
            assert await health(url) == (200, 503, "failed")
            assert [event for event in publisher.events[n_received:] if event["type"] in ("error", "final")] == []
            await publisher.received("error", code="failed", fatal=True, retry_after_s=30.0)
            assert time.monotonic() - failed_s > 2.5
            assert publisher.of("status")[-1]["state"] == "recovering"
        assert publisher.close_code == 1013
        assert [final["utterance"] for final in publisher.of("final")] == [
            start["utterance"] for start in publisher.of("speech_start")
        ]
        assert await health(url) == (200, 503, "failed")
        refused, _ = stream(url, UTTERANCE)
        with pytest.raises(StreamRefused) as refusal:
            await refused
        assert (refusal.value.http_status, refusal.value.code) == (503, "failed")
        await stop(server)


@pytest.mark.parametrize("layout", [("--workers", "2"), ("--device", "cpu,cuda:0")], ids=" ".join)
async def test_the_death_of_one_of_several_workers_is_not_reported_to_streams(layout: Sequence[str]) -> None:
    async with serving(*layout) as server:
        url = await server.ready()
        await server.logged("worker 1 is ready")
        await server.logged("worker 2 is ready")
        streaming, reader = stream(url, jfk_pcm())
        await reader.received(lambda event: isinstance(event, SpeechStart))
        os.kill(server.worker_pids[0], signal.SIGKILL)
        await server.logged("was killed by SIGKILL")
        assert await health(url) == (200, 200, "ready")
        await streaming
        assert reader.of(ErrorReport) == []
        assert set(reader.states) <= {"ready"}
        assert all(text for _, text, *_ in reader.finals)
        await server.logged("worker 3 is ready")
        await stop(server)


@pytest.mark.parametrize("kill_stale", [False, True], ids=["refuses", "kills"])
async def test_a_worker_that_an_earlier_server_left_on_the_device_is_found(
    kill_stale: bool, tmp_path_factory: Any
) -> None:
    """Row 57: a worker without any layer of its lifeline is a real orphan after its server was killed."""
    directory = tmp_path_factory.mktemp("run")
    environment = {SWITCH: ",".join(layer.value for layer in Layer), "XDG_RUNTIME_DIR": str(directory)}
    arguments = [sys.executable, worker_parent.__file__, "", "", "leave"]
    earlier = ServerProcess(arguments, directory, terminal=False, environment=environment)
    try:
        orphan = ProcessEnd(int((await earlier.logged(r"worker 1 started \(pid (\d+)\)"))[1]))
        with orphan:
            await earlier.logged("worker 1 is ready")
            earlier.send(signal.SIGKILL)
            await earlier.exited(5.0)
            flags = ["--kill-stale"] if kill_stale else []
            async with serving(*flags, environment={"XDG_RUNTIME_DIR": str(directory)}) as server:
                await server.logged(rf"an earlier server's inference process \(pid {orphan.pid}\) is still there")
                if kill_stale:
                    await orphan.wait(5.0)
                    await server.ready()
                    await stop(server)
                else:
                    assert await server.exited(within_s=8.0) == 3
                    assert f"(pid {orphan.pid}): --kill-stale ends it" in server.output
                    await assert_clean_end(server)
                    with pytest.raises(TimeoutError):
                        await orphan.wait(0.0)
    finally:
        earlier.dispose()


async def test_sigusr1_shows_the_stacks_of_server_and_worker() -> None:
    async with serving() as server:
        await server.ready()
        server.send(signal.SIGUSR1)
        await server.logged(r"server/lifecycle.py.* in _serve|asyncio/base_events.py.* in run_forever")
        await server.logged(r"ipc/lifeline.py.* in _watch_parent")
        await stop(server)
