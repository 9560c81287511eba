"""Admission, and the common end of all streams."""

import asyncio
import time
from contextlib import ExitStack, suppress
from dataclasses import replace

import pytest
from aiohttp import WSServerHandshakeError

from livecaption.errors import Unavailable
from livecaption.scheduling.config import AdmissionConfig
from livecaption.scheduling.load_control import RequestCosts
from livecaption.server.services import SERVICES
from livecaption.workers.pool import WorkerPool
from tests.live.test_connection import drop, resume, start
from tests.support.eventually import eventually
from tests.support.load import FRESH
from tests.support.serving import (
    SPEECH,
    Client,
    StartServer,
    read_event,
    read_to_the_close,
    read_until,
    start_stream,
)


async def test_a_drain_gives_everybody_their_last_caption_and_closes_with_1001(start_server: StartServer) -> None:
    client = await start_server("delay 0.2")
    sessions = client.app[SERVICES].sessions
    sockets = [await start_stream(client, partials=False) for _ in range(3)]
    for socket in sockets:
        await socket.send_bytes(SPEECH)
        await read_until(socket, "speech_start")
    draining = asyncio.ensure_future(sessions.drain())
    for socket in sockets:
        events = await read_to_the_close(socket)
        kinds = [event["type"] for event in events if event["type"] != "ack"]
        assert kinds == ["status", "speech_end", "final", "end"]
        assert events[0]["state"] == "draining"
        assert next(event for event in events if event["type"] == "final")["text"]
        assert events[-1]["reason"] == "draining"
        assert socket.close_code == 1001
    await draining
    assert not sessions.overran


async def test_a_drain_closes_those_who_have_not_started_yet(start_server: StartServer) -> None:
    client = await start_server()
    socket = await client.ws_connect("/v1/stream")
    await eventually(lambda: len(client.app[SERVICES].sessions) == 1)
    draining = asyncio.ensure_future(client.app[SERVICES].sessions.drain())
    assert await read_to_the_close(socket) == []
    assert socket.close_code == 1001
    await draining


async def test_a_draining_server_takes_no_new_stream(start_server: StartServer) -> None:
    client = await start_server("delay 0.5")
    socket = await start_stream(client, partials=False)
    await socket.send_bytes(SPEECH)
    draining = asyncio.ensure_future(client.app[SERVICES].sessions.drain())
    await read_until(socket, "status")
    refusal = await client.get("/v1/stream")
    assert (refusal.status, (await refusal.json())["code"]) == (503, "draining")
    await read_to_the_close(socket)
    await draining


async def test_a_final_that_does_not_come_in_the_drain_time_is_reported_and_comes_empty(
    start_server: StartServer,
) -> None:
    client = await start_server(drain_timeout_s=1.0)
    socket = await start_stream(client, partials=False, prompt="script: hang")
    await socket.send_bytes(SPEECH)
    await read_until(socket, "speech_start")
    sessions = client.app[SERVICES].sessions
    began_s = time.monotonic()
    draining = asyncio.ensure_future(sessions.drain())
    events = await read_to_the_close(socket)
    await draining
    assert time.monotonic() - began_s < 5  # the drain time-out and what a busy machine adds
    kinds = [event.get("code", event["type"]) for event in events if event["type"] != "ack"]
    assert kinds == ["status", "speech_end", "transcription_failed", "final", "end"]
    assert socket.close_code == 1001
    assert sessions.overran


async def test_a_stream_that_ends_makes_room_for_another(start_server: StartServer) -> None:
    client = await start_server(max_streams=1)
    for _ in range(3):
        socket = await start_stream(client)
        await socket.send_json({"type": "stop"})
        await read_to_the_close(socket)
        await eventually(lambda: len(client.app[SERVICES].sessions) == 0)


async def test_as_many_are_admitted_as_the_workers_hold_and_the_rest_get_a_time_to_retry_after(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A burst on a server that has measured what a final costs: each newcomer counts at once."""
    client = await start_server()
    load = replace(FRESH, costs=RequestCosts(final_s=0.65, partial_s=1e-9))
    monkeypatch.setattr(WorkerPool, "load", load)
    answers = await asyncio.gather(*(client.ws_connect("/v1/stream") for _ in range(20)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, WSServerHandshakeError)]
    assert len(answers) - len(refused) == len(client.app[SERVICES].sessions) == 5
    refusal = await client.get("/v1/stream")
    assert (refusal.status, (await refusal.json())["code"]) == (503, "overloaded")
    assert refusal.headers["Retry-After"] == "2"
    monkeypatch.setattr(WorkerPool, "load", replace(load, n_workers=2))
    assert (await client.get("/v1/stream")).status == 426  # would be admitted


async def test_each_channel_that_is_kept_apart_takes_the_place_of_a_stream(start_server: StartServer) -> None:
    client = await start_server(max_streams=3)
    sessions = client.app[SERVICES].sessions
    first = await start_stream(client, channels=2, channel_mode="separate")
    assert len(sessions) == 2
    second = await client.ws_connect("/v1/stream")
    await second.send_json({"type": "start", "channels": 2, "channel_mode": "separate"})
    [refusal] = await read_to_the_close(second)
    assert (refusal["code"], refusal["fatal"], refusal["retry_after_s"]) == ("overloaded", True, 2.0)
    assert refusal["message"] == "2 channels apart take as many streams; this server has room for 1 now"
    assert (second.close_code, sessions.refused["overloaded"]) == (1013, 1)
    await eventually(lambda: len(sessions) == 2)
    mixed = await start_stream(client, channels=2)
    assert len(sessions) == 3
    for socket in (first, mixed):
        await socket.send_json({"type": "stop"})
        await read_to_the_close(socket)
    await eventually(lambda: len(sessions) == 0)


async def test_more_channels_than_max_streams_are_refused_for_good(start_server: StartServer) -> None:
    client = await start_server(max_streams=3)
    sessions = client.app[SERVICES].sessions
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "channels": 8, "channel_mode": "separate"})
    [refusal] = await read_to_the_close(socket)
    assert (refusal["code"], refusal["fatal"], socket.close_code) == ("unsupported_channels", True, 1008)
    assert refusal.get("retry_after_s") is None
    assert refusal["message"] == "8 channels apart take as many streams; --max-streams is 3 here"
    assert sessions.refused == {"unsupported_channels": 1}
    await eventually(lambda: len(sessions) == 0)
    answer = await client.get("/v1/stream?channels=8&channel_mode=separate")
    assert (answer.status, (await answer.json())["code"]) == (400, "unsupported_channels")
    assert sessions.refused == {"unsupported_channels": 2}


async def test_a_session_that_is_alone_gets_its_channels_also_on_a_slow_machine(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await start_server()
    monkeypatch.setattr(WorkerPool, "load", replace(FRESH, costs=RequestCosts(60.0, 60.0)))
    socket = await start_stream(client, channels=2, channel_mode="separate")
    assert len(client.app[SERVICES].sessions) == 2
    await socket.send_json({"type": "stop"})
    await read_to_the_close(socket)


async def test_a_session_without_audio_frees_the_slots_of_its_channels_until_its_publisher_is_back(
    start_server: StartServer,
) -> None:
    client = await start_server(max_streams=3)
    sessions = client.app[SERVICES].sessions
    socket, ready = await start(client, channels=2, channel_mode="separate")
    await drop(client, socket)
    await eventually(lambda: len(sessions) == 0)
    socket = await resume(client, ready, 1)
    assert (await read_event(socket))["type"] == "ready"
    assert len(sessions) == 2
    await socket.close()
    await eventually(lambda: len(sessions) == 0)


@pytest.mark.parametrize(
    ("model", "n_accepted"), [("delay 0.035, cost 0.001, streams 2", 250), ("cost 0.3", 2)], ids=["fast", "slow"]
)
async def test_a_burst_at_the_start_is_admitted_up_to_what_the_machine_can_serve(
    start_server: StartServer, model: str, n_accepted: int
) -> None:
    """The fast machine is an estimate for a large GPU. Before, each inference process got 9 streams at first."""
    sessions = (await start_server(model)).app[SERVICES].sessions
    with ExitStack() as streams:
        for _ in range(250):
            with suppress(Unavailable):
                streams.enter_context(sessions.admitted())
        assert len(sessions) == n_accepted
        assert sessions.limit_reason == "measured"


async def test_no_stream_is_admitted_while_finals_wait_for_a_worker_that_hangs(start_server: StartServer) -> None:
    client = await start_server(drain_timeout_s=1.0, admission=AdmissionConfig(late_s=0.1))
    socket = await start_stream(client, partials=False, prompt="script: hang")
    for _ in range(8):  # one is computed, a few are with the worker
        await socket.send_bytes(SPEECH)
        await socket.send_json({"type": "flush"})
    await eventually(lambda: client.app[SERVICES].pool.load.oldest_final_s > 0.1)
    assert (await client.get("/v1/stream")).status == 503


async def test_a_stream_that_was_admitted_before_a_drain_and_comes_after_it_ends_too(client: Client) -> None:
    """Between the two lies the answer to its upgrade."""
    calls = []

    class SlowToConnect:
        protocol = "native"

        def drain(self) -> None:
            calls.append("drain")

    sessions = client.app[SERVICES].sessions
    await sessions.drain()
    with sessions.connected(SlowToConnect()):
        assert calls == ["drain"]


async def test_a_batch_that_is_answered_after_the_stop_leaves_no_error_in_the_log(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A publisher sends a file, leaves, and the server is stopped while the worker still computes."""
    client = await start_server("delay 0.3")
    socket = await start_stream(client, partials=False)
    await socket.send_bytes(SPEECH)
    await socket.send_json({"type": "flush"})
    await read_until(socket, "speech_end")
    await socket.close()
    await client.app[SERVICES].pool.stop()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
