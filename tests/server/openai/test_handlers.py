"""OpenAI's routes for recordings, with a plain HTTP client. tests/foreign has the tests with OpenAI's own."""

import asyncio
import io
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, FormData
from aiohttp.test_utils import TestServer

from livecaption.live.config import LiveConfig, SocketLimits
from livecaption.recordings import recording as recordings
from livecaption.server.services import SERVICES
from tests.support.containers import Track, container, tone
from tests.support.eventually import eventually
from tests.support.peers import raw_connection
from tests.support.recordings import ONE_UTTERANCE, SILENCE, TWO_UTTERANCES, recording
from tests.support.serving import Client, StartServer
from tests.support.streaming import JFK

PATH = "/v1/audio/transcriptions"
TEXT = "One two three four five six."
TWO_TEXTS = f"{TEXT} One two three four five six seven."


def form(file: bytes = recording(), **fields: Any) -> FormData:
    data = FormData()
    for name, values in fields.items():
        for value in values if isinstance(values, list) else [values]:
            data.add_field(name.replace("__", "[]"), value)
    data.add_field("file", io.BytesIO(file), filename="talk.wav", content_type="audio/wav")
    return data


async def ask(client: Client, file: bytes = recording(), path: str = PATH, **fields: Any) -> ClientResponse:
    return await client.post(path, data=form(file, **fields))


async def error_of(response: ClientResponse) -> dict[str, Any]:
    """Return the error in a refusal, after which clients must not send the same request again."""
    assert response.headers["x-should-retry"] == "false"
    error: dict[str, Any] = (await response.json())["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


async def test_a_recording_is_answered_with_its_text_and_its_length(client: Client) -> None:
    response = await ask(client, recording(TWO_UTTERANCES), model="whisper-1")
    assert response.status == 200
    answer = await response.json()
    assert answer == {"text": TWO_TEXTS, "usage": {"type": "duration", "seconds": 5}}


@pytest.mark.parametrize(
    ("name", "begin"), [("text", f"{TEXT}\n"), ("srt", "1\n00:00:00,"), ("vtt", "WEBVTT\n\n00:00")]
)
async def test_a_text_format_is_the_body_alone(client: Client, name: str, begin: str) -> None:
    response = await ask(client, response_format=name)
    assert (await response.text()).startswith(begin)
    assert response.content_type == {"text": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt"}[name]


async def test_the_verbose_answer_has_segments_and_words_if_asked_for(client: Client) -> None:
    asked = {"response_format": "verbose_json", "timestamp_granularities__": ["word", "segment"]}
    answer = await (await ask(client, **asked)).json()
    [segment] = answer["segments"]
    assert (answer["task"], answer["language"], answer["duration"]) == ("transcribe", "english", 2.4)
    assert segment["text"] == answer["text"] == TEXT
    assert 0 <= segment["start"] < segment["end"] <= 2.4
    assert [word["word"] for word in answer["words"]] == TEXT.split()
    assert "words" not in await (await ask(client, response_format="verbose_json")).json()


async def test_a_stream_of_events_only_appends_text(client: Client) -> None:
    response = await ask(client, recording(TWO_UTTERANCES), stream="true")
    assert response.content_type == "text/event-stream"
    events = [json.loads(line.removeprefix("data: ")) for line in (await response.text()).split("\n\n") if line]
    assert [event["type"] for event in events] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
    assert "".join(event["delta"] for event in events[:-1]) == events[-1]["text"] == TWO_TEXTS
    assert events[-1]["usage"] == {"type": "duration", "seconds": 5}


async def test_a_failure_before_any_text_is_an_error_and_after_that_an_event(start_server: StartServer) -> None:
    client = await start_server("delay 0.3")
    response = await ask(client, stream="true", prompt="script: fail")
    assert (response.status, (await error_of(response))["type"]) == (500, "server_error")
    response = await ask(client, recording(TWO_UTTERANCES), stream="true")
    first = await response.content.readline()
    await client.app[SERVICES].pool.stop()
    rest = await response.text()
    assert json.loads(first.removeprefix(b"data: "))["delta"] == TEXT
    assert json.loads(rest.strip().removeprefix("data: "))["error"]["code"] == "failed"


async def test_a_client_that_does_not_read_its_events_is_cut_off(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise it would keep a turn from other recordings for good."""
    caplog.set_level("INFO")
    client = await start_server(live=LiveConfig(socket=SocketLimits(send_timeout_s=0.3)))
    assert isinstance(client.server, TestServer)
    server, loop = client.server.handler, asyncio.get_running_loop()
    assert server is not None
    file = recording(80 * ONE_UTTERANCE)
    data = form(file, stream="true", prompt=f"script: say {'x' * 900}")()
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {data.headers['Content-Type']}\r\n"
    body = await data.as_bytes()
    async with raw_connection(str(client.make_url("/")), receive_buffer_bytes=4096) as connection:
        await eventually(lambda: server.connections)
        (protocol,) = server.connections
        assert protocol.transport is not None
        protocol.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        protocol.transport.set_write_buffer_limits(high=0)
        await loop.sock_sendall(connection, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await eventually(lambda: "it did not read" in caplog.text, within_s=20)
        await eventually(lambda: not server.connections)
        assert len(client.app[SERVICES].recordings) == 0


async def test_translations_are_made_by_a_model_that_translates(client: Client) -> None:
    response = await ask(client, path="/v1/audio/translations", response_format="verbose_json")
    assert (await response.json())["task"] == "translate"


async def test_the_container_may_have_its_index_at_the_end(client: Client) -> None:
    film = container("mp4", [Track(tone(duration_s=2.0), "aac")])
    assert film.index(b"moov") > film.index(b"mdat")
    response = await ask(client, film)
    assert (response.status, await response.json()) == (
        200,
        {"text": TEXT, "usage": {"type": "duration", "seconds": 3}},
    )


@pytest.mark.parametrize("file", [recording(SILENCE), recording(b"")], ids=["silence", "no samples"])
async def test_a_recording_without_speech_has_no_text(client: Client, file: bytes) -> None:
    response = await ask(client, file)
    assert (response.status, (await response.json())["text"]) == (200, "")


async def test_a_recording_that_breaks_off_has_the_text_up_to_there(client: Client) -> None:
    file = JFK.read_bytes()
    response = await ask(client, file[: len(file) // 2])
    assert response.status == 200
    assert (await response.json())["text"].startswith("One two three")


@pytest.mark.parametrize(
    ("file", "code"), [(b"", "empty_recording"), (b"no audio at all " * 99, "invalid_container")], ids=["empty", "text"]
)
async def test_a_file_that_is_no_audio_is_refused(client: Client, file: bytes, code: str) -> None:
    response = await ask(client, file)
    error = await error_of(response)
    assert (response.status, error["type"], error["code"]) == (400, "invalid_request_error", code)
    assert error["param"] == "file"


async def test_a_form_without_a_recording_or_no_form_is_refused(client: Client) -> None:
    data = FormData(default_to_multipart=True)
    data.add_field("model", "whisper-1")
    response = await client.post(PATH, data=data)
    assert (response.status, (await error_of(response))["param"]) == (400, "file")
    for body, kind in (
        (b"{}", "application/json"),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (b"", "multipart/form-data"),
    ):
        response = await client.post(PATH, data=body, headers={"Content-Type": kind})
        assert (response.status, (await error_of(response))["code"]) == (400, "invalid_upload")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("response_format", "pdf"),
        ("response_format", "diarized_json"),
        ("known_speaker_names", "Ada"),
        ("timestamp_granularities", "letter"),
        ("stream", "perhaps"),
        ("language", "tlh"),
    ],
)
async def test_a_wrong_field_is_named(client: Client, field: str, value: str) -> None:
    response = await ask(client, **{field: value})
    error = await error_of(response)
    assert (response.status, error["param"], error["type"]) == (400, field, "invalid_request_error")


async def test_fields_have_limits(client: Client) -> None:
    assert (await ask(client, model=["x"] * 101)).status == 413
    assert (await ask(client, model="x" * 20_000)).status == 413


async def test_a_recording_over_the_limit_is_refused_whether_its_size_is_announced_or_not(
    start_server: StartServer,
) -> None:
    client = await start_server(max_upload_mb=1)
    response = await ask(client, bytes(2**20 + 1))
    assert (response.status, (await error_of(response))["code"]) == (413, "upload_too_large")


async def test_a_form_that_announces_too_much_is_refused_before_its_body_comes(start_server: StartServer) -> None:
    client = await start_server(max_upload_mb=1)
    reader, writer = await asyncio.open_connection(client.host, client.port)
    head = "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n"
    writer.write(f"{head}Content-Type: multipart/form-data; boundary=b\r\nConnection: close\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 413")
    writer.close()


async def test_a_recording_that_is_too_long_is_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "MAX_DURATION_MS", 2000)
    response = await ask(client)
    assert (response.status, (await error_of(response))["code"]) == (413, "recording_too_long")


async def test_a_key_is_needed_where_the_server_has_one(start_server: StartServer) -> None:
    client = await start_server(token="a very secret token")
    response = await ask(client)
    assert (response.status, (await error_of(response))["code"]) == (401, "invalid_api_key")
    for name, value in (
        ("Authorization", "Bearer a very secret token"),
        ("X-API-Key", "a very secret token"),
    ):
        assert (await client.get("/v1/models", headers={name: value})).status in (200, 401)


async def test_the_loaded_model_is_listed(client: Client) -> None:
    listed = await (await client.get("/v1/models")).json()
    [model] = listed["data"]
    assert listed["object"] == "list"
    assert await (await client.get(f"/v1/models/{model['id']}")).json() == model
    response = await client.get("/v1/models/some/other")
    assert (response.status, (await error_of(response))["code"]) == (404, "model_not_found")


async def test_a_page_of_another_site_cannot_use_the_server(client: Client) -> None:
    response = await client.post(PATH, data=form(), headers={"Origin": "https://example.org"})
    assert (response.status, (await error_of(response))["code"]) == (403, "forbidden_origin")


async def test_an_upload_that_ends_is_nowhere_any_more(client: Client) -> None:
    services = client.app[SERVICES]
    assert (await ask(client)).status == 200
    assert len(services.recordings) == 0
    assert len(services.sessions) == 0
    assert services.pool._sessions == {}
    assert services.decoders.pids == [] or await eventually(lambda: services.decoders.pids == []) is None


async def test_the_transcription_for_a_client_that_has_left_is_stopped(client: Client, tmp_path: Path) -> None:
    services = client.app[SERVICES]
    begun = tmp_path / "begun"
    asking = asyncio.ensure_future(ask(client, prompt=f"script: touch {begun}; delay 1"))
    await eventually(begun.exists, within_s=20)
    asking.cancel()
    await eventually(lambda: len(services.recordings) == 0)
    assert services.pool._sessions == {}
