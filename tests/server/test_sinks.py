"""Sinks over HTTP: who may attach them, and what an answer has and does not have."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import hdrs

from livecaption.config import Config
from livecaption.delivery.config import DeliveryConfig
from livecaption.delivery.sources import room_key
from livecaption.errors import ConfigError
from livecaption.server import build_app
from livecaption.server.services import SERVICES
from livecaption.store.config import StoreConfig
from tests.support.eventually import eventually
from tests.support.receivers import CaptionReceiver, receiving
from tests.support.rooms import NAME, enter, said
from tests.support.serving import PAUSE, SPEECH, Client, StartServer, read_to_the_close, read_until

SINKS = f"/v1/rooms/{NAME}/sinks"
TOKEN = "lc_the-operators-token"
SECRET = "a-secret-signature"


@pytest.fixture
async def receiver() -> AsyncIterator[CaptionReceiver]:
    async with receiving() as running:
        yield running


@pytest.fixture
async def client(start_server: StartServer) -> Client:
    return await start_server()


async def asked(client: Client, method: str, path: str, status: int = 200, **options: Any) -> dict[str, Any]:
    async with client.request(method, path, **options) as response:
        text = await response.text()
        assert response.status == status, text
        assert SECRET not in text
        answer: dict[str, Any] = await response.json() if text else {}
        return answer


def body(receiver: CaptionReceiver, **changes: Any) -> dict[str, Any]:
    return {"service": "zoom", "url": f"{receiver.url}&signature={SECRET}"} | changes


async def test_a_sink_is_attached_shown_and_detached(client: Client, receiver: CaptionReceiver) -> None:
    empty = {
        "name": "zoom",
        "service": "zoom",
        "host": "127.0.0.1",
        "state": "waiting",
        "failing_for_s": None,
        "problem": None,
        "sent": 0,
        "waiting": 0,
        "dropped": 0,
    }
    assert await asked(client, "PUT", f"{SINKS}/zoom", json=body(receiver)) == empty
    assert await asked(client, "GET", SINKS) == {"sinks": [empty]}
    await said(await enter(client), SPEECH + PAUSE)
    await receiver.took(1)
    sink = client.app[SERVICES].sinks.find(room_key(NAME), "zoom")
    await eventually(lambda: sink.status.sent == 1)
    assert await asked(client, "GET", f"{SINKS}/zoom") == empty | {"sent": 1}
    await asked(client, "DELETE", f"{SINKS}/zoom", 204)
    assert await asked(client, "GET", SINKS) == {"sinks": []}
    assert (await asked(client, "GET", f"{SINKS}/zoom", 404))["code"] == "unknown_sink"
    assert (await asked(client, "DELETE", f"{SINKS}/zoom", 404))["code"] == "unknown_sink"


async def test_a_sink_that_fails_shows_since_when_and_why(client: Client, receiver: CaptionReceiver) -> None:
    receiver.always = 400
    await asked(client, "PUT", f"{SINKS}/zoom", json=body(receiver))
    await said(await enter(client), SPEECH + PAUSE)
    sink = client.app[SERVICES].sinks.find(room_key(NAME), "zoom")
    await eventually(lambda: sink.status.problem)
    shown = await asked(client, "GET", f"{SINKS}/zoom")
    assert (shown["state"], shown["problem"], shown["waiting"]) == ("failing", "HTTP 400", 1)
    assert 0 <= shown["failing_for_s"] < 60


async def test_a_sink_replaces_one_of_the_same_name(client: Client, receiver: CaptionReceiver) -> None:
    await asked(client, "PUT", f"{SINKS}/one", json=body(receiver, url=f"http://127.0.0.1:1/?x={SECRET}"))
    await asked(client, "PUT", f"/v1/rooms/{NAME.upper()}/sinks/one", json=body(receiver))
    assert len((await asked(client, "GET", SINKS))["sinks"]) == 1
    await said(await enter(client), SPEECH + PAUSE)
    await receiver.took(1)


@pytest.mark.parametrize(
    "wrong",
    [{"service": "teams"}, {"url": f"ftp://{SECRET}"}, {"url": 1}, {"password": SECRET}],
)
async def test_a_wrong_body_is_refused_without_being_shown(
    client: Client, receiver: CaptionReceiver, wrong: dict[str, Any]
) -> None:
    refused = await asked(client, "PUT", f"{SINKS}/zoom", 400, json=body(receiver, **wrong))
    assert refused["code"] == "invalid_message"
    assert await asked(client, "GET", SINKS) == {"sinks": []}


async def test_names_of_rooms_and_sinks_have_the_same_form(client: Client, receiver: CaptionReceiver) -> None:
    for path, what in (("/v1/rooms/a%20room/sinks/zoom", "room"), (f"{SINKS}/a%20sink", "sink")):
        refused = await asked(client, "PUT", path, 400, json=body(receiver))
        assert refused["message"].startswith(f"the name of a {what} has 1 to 64 letters")


async def test_pages_of_other_sites_and_other_machines_attach_nothing(
    start_server: StartServer, receiver: CaptionReceiver
) -> None:
    client = await start_server(insecure=True, host="0.0.0.0")
    other_site = {hdrs.ORIGIN: "https://evil.example"}
    refused = await asked(client, "PUT", f"{SINKS}/zoom", 403, json=body(receiver), headers=other_site)
    assert refused["code"] == "forbidden_origin"
    through_a_proxy = {"X-Forwarded-For": "192.0.2.1"}
    for method, path in (("PUT", f"{SINKS}/zoom"), ("GET", SINKS)):
        refused = await asked(client, method, path, 403, json=body(receiver), headers=through_a_proxy)
        assert refused["code"] == "local_only"


async def test_sinks_are_for_the_operator(start_server: StartServer, receiver: CaptionReceiver) -> None:
    """`test_access` asks with keys of all roles."""
    client = await start_server(token=TOKEN)
    for method, path in (("PUT", f"{SINKS}/zoom"), ("GET", SINKS), ("DELETE", f"{SINKS}/zoom")):
        assert (await asked(client, method, path, 401, json=body(receiver)))["code"] == "unauthorized"
    own = {hdrs.AUTHORIZATION: f"Bearer {TOKEN}"}
    await asked(client, "PUT", f"{SINKS}/zoom", json=body(receiver), headers=own)


async def test_sinks_of_the_file_are_there_from_the_start(
    aiohttp_client: Any, tmp_path: Path, receiver: CaptionReceiver
) -> None:
    file = tmp_path / "sinks.toml"
    file.write_text(f'[[sink]]\nroom = "{NAME}"\nservice = "zoom"\nurl = "{receiver.url}"\n')
    client = await aiohttp_client(build_app(Config(delivery=DeliveryConfig(str(file)))))
    assert [sink["name"] for sink in (await asked(client, "GET", SINKS))["sinks"]] == ["zoom"]


async def test_a_file_of_sinks_that_all_users_can_read_gets_a_warning(
    tmp_path: Path, receiver: CaptionReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "sinks.toml"
    file.write_text(f'[[sink]]\nroom = "{NAME}"\nservice = "zoom"\nurl = "{receiver.url}&x={SECRET}"\n')
    for mode, n_warnings in ((0o600, 0), (0o640, 0), (0o644, 1)):
        file.chmod(mode)
        build_app(Config(delivery=DeliveryConfig(str(file))))
        assert caplog.text.count("all users of this machine can read") == n_warnings
    assert SECRET not in caplog.text


async def test_a_server_with_a_wrong_file_of_sinks_does_not_start(tmp_path: Path) -> None:
    file = tmp_path / "sinks.toml"
    for content in (f'[[sink]]\nroom = "{NAME}"\nservice = "zoom"\nurl = "{SECRET}"\n', "[[sink"):
        file.write_text(content)
        with pytest.raises(ConfigError) as refused:
            build_app(Config(delivery=DeliveryConfig(str(file))))
        assert SECRET not in refused.value.message


async def test_a_session_has_sinks_like_a_room_until_it_is_over(client: Client, receiver: CaptionReceiver) -> None:
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start"})
    sinks = f"/v1/sessions/{(await read_until(socket, 'ready'))['session']}/sinks"
    assert await asked(client, "GET", sinks) == {"sinks": []}
    shown = await asked(client, "PUT", f"{sinks}/zoom", json=body(receiver))
    assert await asked(client, "GET", sinks) == {"sinks": [shown]}
    assert await asked(client, "GET", SINKS) == {"sinks": []}
    await said(socket, SPEECH + PAUSE)
    await receiver.took(1)
    assert (await asked(client, "GET", f"{sinks}/zoom"))["host"] == "127.0.0.1"
    await asked(client, "PUT", f"{sinks}/second", json=body(receiver))
    await asked(client, "DELETE", f"{sinks}/second", 204)
    assert (await asked(client, "GET", f"{sinks}/second", 404))["code"] == "unknown_sink"
    await socket.send_json({"type": "stop"})
    await read_to_the_close(socket)
    all_sinks = client.app[SERVICES].sinks
    await eventually(lambda: all_sinks.all == [])
    assert (await asked(client, "PUT", f"{sinks}/zoom", 404, json=body(receiver)))["code"] == "session_ended"


async def test_a_session_that_nobody_knows_has_no_sinks(client: Client, receiver: CaptionReceiver) -> None:
    for method, path in (("GET", ""), ("GET", "/zoom"), ("PUT", "/zoom"), ("DELETE", "/zoom")):
        refused = await asked(client, method, f"/v1/sessions/nobody/sinks{path}", 404, json=body(receiver))
        assert refused["code"] == "unknown_session"


async def test_a_session_that_is_deleted_takes_its_sinks_with_it(
    start_server: StartServer, tmp_path: Path, receiver: CaptionReceiver
) -> None:
    client = await start_server(store=StoreConfig(str(tmp_path / "transcripts.db")))
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start"})
    session = f"/v1/sessions/{(await read_until(socket, 'ready'))['session']}"
    await asked(client, "PUT", f"{session}/sinks/zoom", json=body(receiver))
    await said(socket, SPEECH + PAUSE)
    await receiver.took(1)
    await asked(client, "DELETE", session, 204)
    assert await asked(client, "GET", f"{session}/sinks") == {"sinks": []}
    await said(socket, SPEECH + PAUSE)
    await socket.send_json({"type": "stop"})
    await read_to_the_close(socket)
    assert len(receiver.accepted) == 1
