"""The figures of a working server: each is counted once, and is the same for Prometheus and in `/v1/stats`."""

import asyncio
import re
import threading
import time
from typing import Any

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

import livecaption
from livecaption.events import PROTOCOL_VERSION
from livecaption.live.dialects import native
from livecaption.recognition import DeviceMemory
from livecaption.scheduling.load_control import LoadFigures, ServiceLevel
from livecaption.server.metrics import MAX_RECENT, Recent
from livecaption.server.services import METRICS, SERVICES
from livecaption.workers.lifecycle import PoolState
from livecaption.workers.pool import WorkerPool
from livecaption.workers.supervisor import WorkerFigures
from tests.support.dialects import CHUNKS
from tests.support.eventually import eventually
from tests.support.serving import PAUSE, SPEECH, Client, StartServer, read_to_the_close, read_until, start_stream
from tests.support.speech import pcm_s16le, sound

LATENCIES = ("endpoint", "first_partial", "partial", "final")
BEARER = {"Authorization": "Bearer s3cret"}


@pytest.fixture
async def client(start_server: StartServer) -> Client:
    """A new server for each test, because figures count from the start."""
    return await start_server()


class Samples:
    """The samples of a scrape, by name and labels."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        samples = [sample for family in self.families for sample in family.samples]
        self._values = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
        assert len(self._values) == len(samples), "a sample comes twice"

    def __call__(self, name: str, **labels: str) -> float | None:
        return self._values.get((f"livecaption_{name}", frozenset(labels.items())))

    def latencies(self) -> list[float | None]:
        """Return the number of measurements of each kind."""
        return [self(f"{kind}_latency_seconds_count") for kind in LATENCIES]

    def partials(self) -> list[float | None]:
        """Return the number of requested partials, and their numbers by outcome."""
        outcomes = ("answered", "superseded", "dropped", "failed")
        return [self("partials_asked_total"), *(self("partials_total", outcome=outcome) for outcome in outcomes)]

    def finals(self) -> list[float | None]:
        return [self("finals_total", outcome=outcome) for outcome in ("answered", "failed")]


async def scrape(client: Client) -> Samples:
    response = await client.get("/metrics")
    assert response.status == 200
    return Samples(await response.text())


async def stats(client: Client) -> dict[str, Any]:
    response = await client.get("/v1/stats")
    assert response.status == 200
    figures: dict[str, Any] = await response.json()
    return figures


async def caption(client: Client, audio: bytes = SPEECH + PAUSE, **options: Any) -> list[dict[str, Any]]:
    """Stream the audio in one piece, and return all events. Wait until the server has removed the stream."""
    socket = await start_stream(client, **options)
    await socket.send_bytes(audio)
    await socket.send_json({"type": "stop"})
    events = await read_to_the_close(socket)
    await eventually(lambda: len(client.app[SERVICES].sessions) == 0)
    return events


async def test_figures_are_put_into_text_beside_the_loop(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    written_in: list[threading.Thread] = []

    def write(*args: Any) -> bytes:
        written_in.append(threading.current_thread())
        return generate_latest(*args)

    # Only a function in place of the library's shows which thread writes.
    monkeypatch.setattr("livecaption.server.metrics.generate_latest", write)
    assert (await scrape(client))("streams_limit") is not None
    (thread,) = written_in
    assert thread is not threading.main_thread()


async def test_a_server_at_rest_has_counted_nothing(client: Client) -> None:
    samples = await scrape(client)
    assert (samples("streams"), samples("streams_accepted_total"), samples("received_audio_seconds_total")) == (0, 0, 0)
    assert samples.latencies() == [0, 0, 0, 0]
    assert samples.partials() == [0, 0, 0, 0, 0]
    assert samples.finals() == [0, 0]
    assert samples("batch_size_requests_count") == 0
    assert samples("real_time_factor") is None
    assert samples("worker_state", worker="0", state="ready") == 1
    assert samples("worker_state", worker="0", state="failed") == 0
    assert samples("worker_restarts_total", worker="0") == 0
    assert samples("worker_resident_memory_bytes", worker="0") > 1e6
    assert samples("device_memory_used_bytes", worker="0") is None


async def test_an_utterance_that_silence_ends_is_counted_once_everywhere(client: Client) -> None:
    events = await caption(client, partials=False)
    assert [event["reason"] for event in events if event["type"] == "speech_end"] == ["silence"]
    samples = await scrape(client)
    assert (samples("streams"), samples("streams_accepted_total")) == (0, 1)
    assert samples("received_audio_seconds_total") == 2.4
    assert samples.latencies() == [1, 0, 0, 1]  # without partials there is no such latency
    assert samples.finals() == [1, 0]
    assert samples("batch_size_requests_bucket", le="1.0") == samples("batch_size_requests_count") == 1
    assert 1.2 <= samples("transcribed_audio_seconds_total") <= 2.4
    assert samples("compute_seconds_total") > 0


async def test_every_partial_that_is_shown_has_its_latency_and_the_first_one_another(client: Client) -> None:
    socket = await start_stream(client)
    for part in ("silence 200ms, speech 700ms", "speech 600ms"):
        await socket.send_bytes(pcm_s16le(sound(part)))
        await read_until(socket, "partial")
    assert (await scrape(client))("streams") == 1
    await socket.send_json({"type": "stop"})
    await read_to_the_close(socket)
    samples = await scrape(client)
    assert samples.latencies() == [0, 1, 2, 1]  # a flush ended it, not silence
    assert samples.partials() == [2, 2, 0, 0, 0]
    assert samples("batch_size_requests_count") == 3


async def test_partials_that_others_take_the_place_of_are_superseded(client: Client) -> None:
    """One partial is computed meanwhile. Another one waits, and is superseded by the next, and that by the final."""
    socket = await start_stream(client, prompt="script: delay 0.5")
    for part in ("silence 200ms, speech 700ms", "speech 600ms", "speech 600ms"):
        await socket.send_bytes(pcm_s16le(sound(part)))
    await socket.send_json({"type": "stop"})
    await read_to_the_close(socket)
    samples = await scrape(client)
    assert samples.partials() == [3, 1, 2, 0, 0]
    assert samples.finals() == [1, 0]
    assert samples.latencies() == [0, 1, 0, 1]  # the first caption was the final


async def test_the_partial_of_a_publisher_who_left_is_superseded_by_the_final(client: Client) -> None:
    socket = await start_stream(client, prompt="script: delay 0.5")
    for part in ("silence 200ms, speech 700ms", "speech 600ms"):
        await socket.send_bytes(pcm_s16le(sound(part)))
    await eventually(lambda: client.app[SERVICES].pool.queue.partials == 1)
    assert (await scrape(client))("waiting_requests", kind="partial") == 1
    await socket.close()
    await eventually(lambda: client.app[SERVICES].pool.queue.in_flight == 0)
    assert (await scrape(client)).partials() == [2, 1, 1, 0, 0]


async def test_a_final_that_failed_is_counted_as_that_and_has_no_latency(client: Client) -> None:
    await caption(client, partials=False, prompt="script: fail")
    samples = await scrape(client)
    assert samples.finals() == [0, 1]
    assert samples.latencies() == [1, 0, 0, 0]
    assert samples("batch_size_requests_count") == 0


async def test_runaway_texts_and_finals_that_were_redone_are_counted(client: Client) -> None:
    await caption(client, partials=False, prompt="script: runaway")
    await caption(client, partials=False)
    samples = await scrape(client)
    assert (samples("runaway_texts_total"), samples("redone_finals_total")) == (1, 1)
    assert samples.finals() == [2, 0]


async def test_a_worker_that_died_is_a_restart(client: Client) -> None:
    pool = client.app[SERVICES].pool
    await caption(client, partials=False, prompt="script: crash")
    await eventually(lambda: pool.state is PoolState.READY)
    samples = await scrape(client)
    assert samples("worker_restarts_total", worker="0") == 2  # the batch of the crashed worker is tried once more
    assert samples("worker_state", worker="0", state="ready") == 1
    assert samples.finals() == [0, 1]


async def test_streams_that_are_refused_are_counted_by_the_reason(start_server: StartServer) -> None:
    client = await start_server(max_streams=1, token="s3cret")
    streams = (await (await client.get("/v1/stats", headers=BEARER)).json())["streams"]
    assert (streams["limit"], streams["limit_reason"]) == (1, "max_streams")
    assert (await client.get("/v1/stream")).status == 401
    assert (await client.get("/v1/stream", headers={"Origin": "http://elsewhere"})).status == 403
    assert (await client.get("/v1/stream", headers=BEARER)).status == 426  # would be accepted
    async with client.ws_connect("/v1/stream", headers=BEARER):
        for _ in range(2):
            assert (await client.get("/v1/stream", headers=BEARER)).status == 503
        assert (await client.get("/readyz")).status == 503  # does not check for a stream
        samples = Samples(await (await client.get("/metrics", headers=BEARER)).text())
    refused = {code: samples("streams_refused_total", code=code) for code in ("unauthorized", "overloaded")}
    assert refused == {"unauthorized": 1, "overloaded": 2}
    assert samples("streams_refused_total", code="forbidden_origin") == 1
    assert samples("streams_refused_total", code="upgrade_required") is None
    assert (samples("streams"), samples("streams_accepted_total")) == (1, 1)


async def test_connections_are_counted_by_protocol(start_server: StartServer) -> None:
    client = await start_server(routes=(native.ROUTE, CHUNKS))
    async with client.ws_connect("/v1/stream"), client.ws_connect("/chunks") as socket:
        await socket.send_bytes(b"")
        await socket.receive()
        samples = Samples(await (await client.get("/metrics")).text())
        assert [samples("connections", protocol=name) for name in ("native", "foreign")] == [1, 1]
        await socket.close()
        samples = Samples(await (await client.get("/metrics")).text())
        assert [samples("connections", protocol=name) for name in ("native", "foreign")] == [1, 0]
        assert [samples("connections_opened_total", protocol=name) for name in ("native", "foreign")] == [1, 1]


async def test_figures_are_for_those_who_have_the_token(start_server: StartServer) -> None:
    client = await start_server(token="s3cret")
    for path in ("/metrics", "/v1/stats"):
        assert (await client.get(path)).status == 401
        assert (await client.get(path, headers={"Authorization": "Bearer other"})).status == 401
        assert (await client.get(path, headers=BEARER)).status == 200
    assert (await client.get("/stats")).status == 200  # the page has no figures, and prompts for the token


async def test_two_servers_in_one_process_do_not_mix_their_figures(start_server: StartServer) -> None:
    busy, idle = await start_server(), await start_server()
    await caption(busy, partials=False)
    assert (await scrape(busy)).finals() == [1, 0]
    assert (await scrape(idle)).finals() == [0, 0]
    assert (await scrape(idle)).latencies() == [0, 0, 0, 0]


async def test_the_stats_have_the_same_figures_as_prometheus(client: Client) -> None:
    await asyncio.gather(*(caption(client) for _ in range(3)))
    await caption(client, prompt="script: final-only fail")
    answer, samples = await stats(client), await scrape(client)
    assert answer["state"] == "ready"
    limit = answer["streams"].pop("limit")
    assert answer["streams"].pop("limit_reason") in ("measured", "memory")
    assert answer["streams"] == {"open": 0, "accepted": 4, "refused": {}, "connections": {"native": 0}}
    assert limit > 5
    assert samples("streams_limit") > 5
    assert answer["pace"] == {"partial_interval_ms": 500, "partials_paused_s": 0.0, "speculates": True}
    assert samples("partial_interval_seconds") == 0.5
    assert (samples("partials_paused"), samples("partials_paused_seconds_total")) == (0, 0)
    assert 0 < samples("worker_utilization_ratio") < 1
    assert 0 < answer["utilization"] < 1
    assert answer["received_audio_s"] == samples("received_audio_seconds_total") == pytest.approx(4 * 2.4)
    assert answer["transcribed_audio_s"] == samples("transcribed_audio_seconds_total")
    assert answer["compute_s"] == samples("compute_seconds_total")
    assert answer["real_time_factor"] == samples("real_time_factor")
    assert answer["real_time_factor"] == pytest.approx(answer["compute_s"] / answer["transcribed_audio_s"])
    assert list(answer["partials"].values()) == samples.partials()
    assert list(answer["finals"].values()) == samples.finals() == [3, 1]
    assert [answer["latencies_s"][kind]["n"] for kind in LATENCIES] == samples.latencies()
    sizes = {int(size): n for size, n in answer["batches"].items()}
    assert sum(sizes.values()) == samples("batch_size_requests_count")
    assert sum(size * n for size, n in sizes.items()) == samples("batch_size_requests_sum")
    assert sum(n for size, n in sizes.items() if size <= 2) == samples("batch_size_requests_bucket", le="2.0")
    (worker,) = answer["workers"]
    assert (worker["state"], worker["restarts"], worker["device_memory"]) == ("ready", 0, None)
    assert worker["resident_memory_bytes"] > 1e6
    assert answer["server"]["resident_memory_bytes"] > 1e6


async def test_a_delay_of_the_engine_is_in_the_latencies(client: Client) -> None:
    """The latency is from the last voice to the final: 500 ms of silence arrive at once, and the engine takes 0.4 s."""
    (final,) = [
        event for event in await caption(client, partials=False, prompt="script: delay 0.4") if event["type"] == "final"
    ]
    answer = (await stats(client))["latencies_s"]
    assert answer["final"]["p50"] == answer["final"]["p95"] == pytest.approx(final["latency_ms"] / 1000, abs=1e-3)
    assert answer["final"]["p50"] >= 0.4
    assert answer["endpoint"]["p50"] < 0.4
    assert answer["partial"] == {"n": 0, "p50": None, "p95": None}
    samples = await scrape(client)
    assert samples("final_latency_seconds_bucket", le="0.3") == 0
    assert samples("final_latency_seconds_bucket", le="30.0") == 1


async def test_a_loop_that_was_blocked_shows_a_lag(client: Client) -> None:
    await eventually(lambda: client.app[METRICS].snapshot()["event_loop_lag_s"]["p99"] is not None)
    time.sleep(0.4)  # noqa: ASYNC251 - the loop must be blocked; its next measurement is due 0.1 s after the last one
    lag_s = (await stats(client))["event_loop_lag_s"]
    assert 0.3 <= lag_s["p99"] < 10
    assert (await scrape(client))("event_loop_lag_seconds_bucket", le="0.2") < (await scrape(client))(
        "event_loop_lag_seconds_count"
    )


async def test_the_memory_of_a_gpu_is_as_its_worker_reports_it(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = [
        WorkerFigures(PoolState.READY, 0, 5_000, DeviceMemory(used_bytes=3_000, total_bytes=9_000)),
        WorkerFigures(PoolState.RECOVERING, 2, None, None),
    ]
    monkeypatch.setattr(WorkerPool, "workers", lambda _: figures)
    samples = await scrape(client)
    assert samples("device_memory_used_bytes", worker="0") == 3_000
    assert samples("device_memory_total_bytes", worker="0") == 9_000
    assert samples("device_memory_used_bytes", worker="1") is None
    assert samples("worker_resident_memory_bytes", worker="1") is None
    assert samples("worker_restarts_total", worker="1") == 2
    assert samples("worker_state", worker="1", state="recovering") == 1
    assert [worker["device_memory"] for worker in (await stats(client))["workers"]] == [
        {"used_bytes": 3_000, "total_bytes": 9_000},
        None,
    ]


async def test_a_pause_of_partials_is_reported(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    paused = LoadFigures(ServiceLevel(None, effort="reduced"), paused_s=7.5, utilization=0.9)
    monkeypatch.setattr(WorkerPool, "load_figures", paused)
    samples = await scrape(client)
    assert (samples("partials_paused"), samples("partials_paused_seconds_total")) == (1, 7.5)
    assert samples("partial_interval_seconds") is None
    answer = await stats(client)
    assert answer["pace"] == {"partial_interval_ms": None, "partials_paused_s": 7.5, "speculates": False}
    assert answer["utilization"] == samples("worker_utilization_ratio") == 0.9


async def test_names_follow_the_conventions_of_prometheus(client: Client) -> None:
    await caption(client)
    response = await client.get("/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in Samples(await response.text()).families}
    ours = {name for name in families if name.startswith("livecaption_") and not name.endswith("_created")}
    assert {name for name in families if not name.startswith(("livecaption_", "process_"))} == set()
    assert len(ours) > 20
    for name in ours:
        assert families[name].documentation
        assert re.fullmatch(r"[a-z_]+", name)
        assert not re.search(r"_(ms|s|mb|millis)$", name), "base units, in full"


def test_percentiles_are_of_the_last_minute_by_nearest_rank() -> None:
    recent = Recent()
    recent.add(0.0, 99.0)
    for n in range(1, 101):
        recent.add(30.0, float(101 - n))
    assert recent.percentiles(60.0, p99=0.99) == {"p99": 99.0}
    assert recent.percentiles(61.0, p50=0.5, p95=0.95, p100=1.0) == {"p50": 50.0, "p95": 95.0, "p100": 100.0}
    assert recent.count(90.0) == 100
    assert recent.count(90.1) == 0
    assert recent.percentiles(90.1, p50=0.5) == {"p50": None}


def test_values_of_the_last_minute_do_not_grow_without_bound() -> None:
    recent = Recent()
    for n in range(MAX_RECENT + 1000):
        recent.add(0.0, float(n))
    assert recent.count(0.0) == MAX_RECENT
    assert recent.percentiles(0.0, p100=1.0) == {"p100": MAX_RECENT + 999}


async def test_the_program_shows_its_version(client: Client) -> None:
    samples = await scrape(client)
    [build] = [family for family in samples.families if family.name == "livecaption_build_info"]
    [sample] = build.samples
    assert sample.value == 1
    assert (sample.labels["version"], sample.labels["protocol"]) == (livecaption.__version__, str(PROTOCOL_VERSION))
    assert set(sample.labels) == {"version", "protocol", "python", "system"}
