"""The log of real servers: what each line has, and what none has. One server logs text, the other one JSON.

Both get the same: a publisher in a private room, readers, refusals, an inference process that fails, and the stop.
"""

import asyncio
import base64
import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import ClientSession

from tests.support.processes import serving
from tests.support.recordings import recording
from tests.support.speech import pcm_s16le, sound

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="module")]

TOKEN = "operators-t0ken"
WRONG = "wr0ng-token"
ROOM_SECRET = "r00m-secret-of-a-publisher"
ROOM = "hall-of-62-random-bits"
SAID = "Zanzibar hippopotamus"
SPEECH = pcm_s16le(sound("silence 200ms, speech 1200ms, silence 1000ms"))
FORMATS = ("text", "json")


def as_subprotocol(token: str) -> str:
    return "token." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


SECRETS = [TOKEN, WRONG, ROOM_SECRET, as_subprotocol(TOKEN), as_subprotocol(WRONG), ROOM, *SAID.split(), "xylophone"]


@dataclass
class Seen:
    """The output of a server, and the answers to its clients.

    Attributes:
        lines: its whole log.
        ready: the `ready` of the publisher.
        request_ids: the answers' `X-Request-Id` by a name of the request.
    """

    lines: list[str]
    ready: dict[str, Any]
    request_ids: dict[str, str]

    @property
    def parsed(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    def accesses(self, request_id: str) -> list[dict[str, Any]]:
        return [
            line for line in self.parsed if line["logger"] == "livecaption.access" and line["request"] == request_id
        ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def logged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    """The logs by their format."""
    seen = await asyncio.gather(*(record(name, tmp_path_factory.mktemp(name)) for name in FORMATS))
    return dict(zip(FORMATS, seen, strict=True))


async def record(log_format: str, directory: Path) -> Seen:
    flags = ("--log-level", "debug", "--log-format", log_format, "--access-log", "--trusted-proxy", "127.0.0.1")
    flags += ("--store", str(directory / "transcripts.db"), "--workers", "1")
    async with serving(*flags, environment={"LIVECAPTION_TOKEN": TOKEN}) as server:
        url = (await server.logged(r'listening on ([^\s"]+)'))[1]
        await server.logged(r"livecaption: ready$|\"message\": \"ready\"")
        async with aiohttp.ClientSession(url, headers={"X-Forwarded-For": "203.0.113.5"}) as client:
            ready, request_ids = await talk(client)
        await server.logged("worker 2 is ready")
        server.send(signal.SIGTERM)
        assert await server.exited(within_s=10) == 0
        return Seen(server.lines, ready, request_ids)


async def talk(client: ClientSession) -> tuple[dict[str, Any], dict[str, str]]:
    """Do what a log could reveal; return the `ready` of the publisher, and the ids of requests."""
    request_ids = {}

    async def get(name: str, path: str, **headers: str) -> None:
        async with client.get(path, headers=headers) as response:
            await response.read()
            request_ids[name] = response.headers["X-Request-Id"]

    operator = {"Authorization": f"Bearer {TOKEN}"}
    room = {"name": ROOM, "secret": ROOM_SECRET}
    async with client.ws_connect("/v1/stream", protocols=("livecaption.v1", as_subprotocol(TOKEN))) as socket:
        say = f"script: say {SAID}"
        start = {"type": "start", "room": room, "private": True, "prompt": say, "hotwords": ["xylophone"]}
        await socket.send_json(start)
        ready = await socket.receive_json()
        assert ready["type"] == "ready", ready
        reader_token = ready["room"]["reader_token"]
        session = ready["session"]
        await socket.send_bytes(SPEECH)
        while (event := await socket.receive_json())["type"] != "final":
            pass
        assert event["text"] == SAID
        async with client.ws_connect(f"/v1/rooms/{ROOM}/watch?reader_token={reader_token}") as reader:
            await reader.receive()
        async with client.get(
            f"/v1/rooms/{ROOM}/events", headers={"Authorization": f"Bearer {reader_token}"}
        ) as response:
            await response.content.readany()
        await get("transcript", f"/v1/sessions/{session}/transcript.txt?reader_token={reader_token}")
        await socket.send_str(f'{{"type": "{SAID}"')  # not JSON
        await socket.send_json({"type": "stop"})
        async for _ in socket:
            pass
    await get("wrong token", f"/v1/stats?token={WRONG}", Authorization=f"Bearer {WRONG}")
    await get("search", f"/v1/sessions?q={SAID}", **operator)
    await get("wrong address", f"/{TOKEN}/{ROOM}?reader_token={reader_token}")
    await get("wrong address of OpenAI", "/v1/audio/speech")
    await get("wrong method of OpenAI", "/v1/audio/transcriptions")
    await get("named by the proxy", "/healthz", **{"X-Request-Id": "0123-abcd"})
    await get("named too long", "/healthz", **{"X-Request-Id": TOKEN + "x" * 100})
    await get("page", f"/watch/{ROOM}")
    for headers in ({"Origin": "https://evil.example"}, {"Sec-WebSocket-Protocol": as_subprotocol(WRONG)}):
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await client.ws_connect("/v1/stream", headers=headers)
    async with client.put(f"/v1/rooms/{ROOM}", json={"secret": WRONG, "title": SAID}, headers=operator) as response:
        assert response.status >= 400
    key = {"Authorization": f"Token {TOKEN}"}
    async with client.ws_connect("/v1/listen", headers=key) as deepgram:
        request_ids["Deepgram's stream"] = deepgram._response.headers["dg-request-id"]
        await deepgram.send_json({"type": "CloseStream"})
        async for _ in deepgram:
            pass
    for name, body in (("Deepgram's recording", recording(SPEECH)), ("Deepgram's refusal", b"")):
        async with client.post("/v1/listen", headers=key, data=body) as response:
            await response.read()
            request_ids[name] = response.headers["dg-request-id"]
    async with client.ws_connect("/v1/stream", headers=operator) as socket:
        await socket.send_json({"type": "start", "prompt": "script: unusable"})
        await socket.send_bytes(SPEECH)
        while (await socket.receive_json())["type"] != "final":
            pass
    return ready, request_ids


@pytest.mark.parametrize("log_format", FORMATS)
async def test_no_line_has_words_that_people_said_or_a_secret(logged: dict[str, Seen], log_format: str) -> None:
    seen = logged[log_format]
    own = [seen.ready["session"], seen.ready["resume_token"], seen.ready["room"]["reader_token"]]
    output = "\n".join(seen.lines)
    assert "DEBUG" in output or '"debug"' in output
    assert [secret for secret in [*SECRETS, *own] if secret in output] == []


async def test_each_line_is_json_with_its_time_level_logger_and_process(logged: dict[str, Seen]) -> None:
    for line in logged["json"].parsed:
        assert line["time"].endswith("Z")
        assert len(line["time"]) == len("2023-11-14T22:13:20.250Z")
        assert {"level", "logger", "message", "process", "pid"} <= line.keys()


async def test_an_inference_process_logs_in_the_same_format(logged: dict[str, Seen]) -> None:
    lines = [line for line in logged["json"].parsed if line["process"] == "livecaption-worker"]
    assert {(line["logger"], line["level"]) for line in lines} == {("livecaption.engine.main", "error")}


async def test_each_request_is_a_line_with_its_route_and_the_client_behind_the_proxy(logged: dict[str, Seen]) -> None:
    seen = logged["json"]
    expected = {
        "transcript": ("/v1/sessions/{session}/transcript.{format}", 200, None),
        "wrong token": ("/v1/stats", 401, "unauthorized"),
        "search": ("/v1/sessions", 200, None),
        "wrong address": ("-", 404, None),
        "wrong address of OpenAI": ("-", 404, "unknown_address"),
        "wrong method of OpenAI": ("-", 405, "wrong_method"),
        "page": ("/watch/{room}", 200, None),
    }
    for name, (route, status, code) in expected.items():
        [line] = seen.accesses(seen.request_ids[name])
        assert (line["method"], line["route"], line["status"], line.get("code")) == ("GET", route, status, code), name
        assert line["peer"] == "203.0.113.5"
        assert line["bytes"] > 100
        assert line["ms"] >= 0
    assert len(set(seen.request_ids.values())) == len(seen.request_ids)


async def test_a_websocket_is_a_line_of_its_own_after_its_close(logged: dict[str, Seen]) -> None:
    lines = [line for line in logged["json"].parsed if line["logger"] == "livecaption.access"]
    sockets = [(line["route"], line.get("room")) for line in lines if line["status"] == 101]
    assert ("/v1/stream", ROOM[:6]) in sockets
    assert ("/v1/rooms/{room}/watch", ROOM[:6]) in sockets


async def test_a_trusted_proxy_names_requests_by_ids_that_are_short_and_plain(logged: dict[str, Seen]) -> None:
    for seen in logged.values():
        assert seen.request_ids["named by the proxy"] == "0123-abcd"
        assert str(UUID(seen.request_ids["named too long"])) == seen.request_ids["named too long"]
    assert len(logged["json"].accesses("0123-abcd")) == 1


async def test_lines_of_a_session_have_its_session_room_and_request(logged: dict[str, Seen]) -> None:
    seen = logged["json"]
    session = seen.ready["session"][:6]
    about = [line for line in seen.parsed if line.get("session") == session]
    started, ended = (
        next(line for line in about if f"session={session} {what}" in line["message"]) for what in ("started", "ended")
    )
    assert (started["room"], started["peer"]) == (ROOM[:6], "203.0.113.5")
    assert ended["room"] == ROOM[:6]
    [closed] = [line for line in about if line["logger"] == "livecaption.access" and line["route"] == "/v1/stream"]
    assert closed["request"] == started["request"]


async def test_lines_of_a_client_of_deepgram_have_the_id_that_it_received(logged: dict[str, Seen]) -> None:
    seen = logged["json"]

    def lines(name: str) -> list[str]:
        return [line["message"] for line in seen.parsed if line.get("request") == seen.request_ids[name]]

    assert any(" started: " in line for line in lines("Deepgram's stream"))
    assert any(line.startswith("a recording ended after ") for line in lines("Deepgram's recording"))
    assert "a recording is refused: empty_recording" in lines("Deepgram's refusal")
    assert [len(seen.accesses(request_id)) for request_id in seen.request_ids.values()] == [1] * len(seen.request_ids)


async def test_text_has_what_a_line_is_about_in_brackets(logged: dict[str, Seen]) -> None:
    seen = logged["text"]
    request_id = seen.request_ids["wrong token"]
    [access] = [line for line in seen.lines if request_id in line and "livecaption.access" in line]
    assert access.endswith(f" ms [request={request_id} peer=203.0.113.5 code=unauthorized]")
