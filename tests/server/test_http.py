"""Pages, health and what every answer carries."""

from pathlib import Path

import pytest

from livecaption.server.http import STATIC, static_directory
from livecaption.server.services import SERVICES
from livecaption.workers.pool import PoolState
from tests.server.conftest import Client, StartServer, start_stream


async def test_the_page_and_everything_it_loads_are_served(client: Client) -> None:
    page = await client.get("/")
    assert page.status == 200
    assert page.content_type == "text/html"
    script = await client.get("/static/main.js")
    assert script.status == 200
    assert script.content_type in ("text/javascript", "application/javascript")


async def test_every_answer_forbids_foreign_scripts_and_frames(client: Client) -> None:
    for path in ("/", "/static/main.js", "/healthz", "/nowhere"):
        headers = (await client.get(path)).headers
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"


async def test_files_outside_static_are_not_served(client: Client) -> None:
    for path in ("/static/../setup.py", "/static/%2e%2e/setup.py", "/static/..%2fsetup.py", "/static/" + 3000 * "a"):
        assert (await client.get(path)).status in (403, 404)


async def test_a_server_that_loads_is_alive_but_not_ready(start_server: StartServer) -> None:
    client = await start_server("load 30", wait=False)
    assert (await client.get("/healthz")).status == 200
    ready = await client.get("/readyz")
    assert ready.status == 503
    assert (await ready.json())["state"] == "loading"
    assert int(ready.headers["Retry-After"]) >= 1
    stream = await client.get("/v1/stream")
    assert (stream.status, (await stream.json())["code"]) == (503, "loading")


async def test_a_server_that_is_ready_says_so_and_what_it_runs(client: Client) -> None:
    assert (await client.get("/readyz")).status == 200
    info = await (await client.get("/v1/info")).json()
    assert info["protocol"] == 1
    assert info["model"]["name"]
    assert info["model"]["revision"] is None
    assert "en" in info["model"]["languages"]


async def test_a_full_server_is_not_ready_and_refuses_before_the_upgrade(start_server: StartServer) -> None:
    client = await start_server(max_streams=1)
    socket = await start_stream(client)
    for path in ("/readyz", "/v1/stream"):
        refusal = await client.get(path)
        assert refusal.status == 503
        assert (await refusal.json())["code"] == "overloaded"
        assert "Retry-After" in refusal.headers
    await socket.close()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_other_methods_are_refused(client: Client, method: str) -> None:
    assert (await client.request(method, "/v1/stream")).status == 405


async def test_a_server_whose_engine_cannot_start_is_alive_and_says_failed(start_server: StartServer) -> None:
    client = await start_server("refuse", wait=False)
    assert await client.app[SERVICES].pool.wait_until_loaded() is PoolState.FAILED
    assert (await client.get("/healthz")).status == 200
    ready = await client.get("/readyz")
    assert (ready.status, (await ready.json())["state"]) == (503, "failed")


def test_the_pages_are_found_in_an_installed_package_and_in_a_checkout(tmp_path: Path) -> None:
    package = tmp_path / "livecaption"
    package.mkdir()
    assert static_directory(package) == tmp_path / "static"
    (package / "static").mkdir()
    assert static_directory(package) == package / "static"
    assert (STATIC / "index.html").is_file()
