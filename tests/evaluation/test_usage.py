"""The usage of a server between two snapshots."""

import asyncio
import re
import ssl
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from livecaption.evaluation.server_process import serving
from livecaption.evaluation.usage import Snapshot, look, usage
from tests.support.certificates import Authority


def stats(at_s: float, scale: float, **more: Any) -> dict[str, Any]:
    return {
        "at_s": at_s,
        "compute_s": 2 * scale,
        "transcribed_audio_s": 50 * scale,
        "received_audio_s": 8 * scale,
        "batches": {"1": int(scale), "8": 3 * int(scale)},
        "redone_finals": int(scale),
        "runaway_texts": 0,
        "server": {"cpu_seconds": scale, "resident_memory_bytes": 100.0},
        "workers": [{"resident_memory_bytes": 200}, {"resident_memory_bytes": None}],
    } | more


BEFORE = Snapshot(stats(100, 1), {5: 10.0, 6: 20.0})
AFTER = Snapshot(stats(110, 2), {5: 14.0, 6: 23.0})


def test_usage_is_what_was_gained_between_two_looks() -> None:
    assert usage(BEFORE, AFTER) == {
        "rtf": pytest.approx(0.04),
        "compute_per_audio": pytest.approx(0.25),
        "mean_batch_size": pytest.approx(25 / 4),
        "redone_finals": 1,
        "runaway_texts": 0,
        "server_cpu_percent": pytest.approx(10),
        "inference_cpu_percent": pytest.approx(70),
        "server_memory_bytes": 100,
        "inference_memory_bytes": 200,
    }


def test_a_size_of_batch_that_is_new_counts_whole() -> None:
    after = Snapshot(stats(110, 2, batches={"1": 1, "8": 3, "16": 2}), None)
    assert usage(BEFORE, after)["mean_batch_size"] == 16


def test_a_server_that_did_nothing_has_no_rates() -> None:
    found = usage(BEFORE, BEFORE)
    assert (found["rtf"], found["compute_per_audio"], found["mean_batch_size"]) == (None, None, None)


@pytest.mark.parametrize("cpu_s", [None, {}, {5: 1.0, 7: 1.0}])
def test_cpu_of_inference_is_unknown_elsewhere_and_after_a_restart(cpu_s: dict[int, float] | None) -> None:
    assert usage(BEFORE, Snapshot(AFTER.stats, cpu_s))["inference_cpu_percent"] is None


async def test_a_server_whose_authority_is_named_is_seen(tmp_path: Path) -> None:
    async def figures(_: web.Request) -> web.Response:
        return web.json_response({"at_s": 1.0})

    application = web.Application()
    application.router.add_get("/v1/stats", figures)
    server = TestServer(application)
    await server.start_server(ssl=Authority().server(tmp_path, "127.0.0.1"))
    trusted = ssl.create_default_context(cafile=tmp_path / "authority.pem")
    assert (await look(str(server.make_url("/")), "", trusted)).stats == {"at_s": 1.0}
    with pytest.raises(ConnectionError, match="certificate verify failed"):
        await look(str(server.make_url("/")), "")
    await server.close()


@pytest.mark.processes
async def test_a_server_on_this_machine_is_seen_with_its_inference_processes() -> None:
    async with serving("--token", "secret") as server:
        snapshot = await look(await server.ready(), "secret")
        assert snapshot.inference_cpu_s is not None
        assert list(snapshot.inference_cpu_s) == server.worker_pids
        assert snapshot.stats["state"] == "ready"


@pytest.mark.processes
async def test_the_inference_processes_of_all_processes_of_a_server_are_seen() -> None:
    async with serving("--processes", "2") as server:
        snapshot = await look(await server.ready(), "")
        started = [re.search(r"worker 1 started \(pid (\d+)\)", line) for line in server.lines]
    assert snapshot.inference_cpu_s is not None
    assert sorted(snapshot.inference_cpu_s) == sorted(int(match[1]) for match in started if match)
    assert len(snapshot.inference_cpu_s) == 2


async def test_a_server_that_gives_no_figures_is_named_without_the_password(unused_tcp_port: int) -> None:
    with pytest.raises(ConnectionError, match=f"no figures from http://127.0.0.1:{unused_tcp_port}/v1/stats: "):
        await asyncio.wait_for(look(f"ws://anna:s3cret@127.0.0.1:{unused_tcp_port}", ""), 10)
