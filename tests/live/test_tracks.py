"""Finals in other languages: what publishers and readers get, what is kept, and that nothing waits for them."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse

from livecaption.events import Translation
from livecaption.live.event_log import SEQS_PER_GENERATION
from livecaption.live.registry import SessionRegistry
from livecaption.live.tokens import token_hash
from livecaption.recognition import SessionId
from livecaption.server.services import SERVICES
from livecaption.store import rows
from livecaption.store.config import StoreConfig
from livecaption.store.rows import Resumption
from tests.live.test_connection import resume
from tests.support.rooms import NAME, enter
from tests.support.serving import (
    PAUSE,
    SPEECH,
    Client,
    StartServer,
    read_event,
    read_to_the_close,
    read_until,
    start_stream,
)
from tests.support.stored import fill, new_session, opened
from tests.support.transcripts import final

TALK = SPEECH + PAUSE
TRACKS = ("de", "en")


@pytest.fixture
async def client(start_server: StartServer, tmp_path: Path) -> Client:
    return await start_server(store=StoreConfig(str(tmp_path / "transcripts.db")), tracks=TRACKS)


async def talk(client: Client, audio: bytes = TALK, **options: Any) -> tuple[str, list[dict[str, Any]]]:
    """Speak to the end; return the session and all events behind `ready`."""
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "language": "fr", "translate": ["de"], "partials": False, **options})
    ready = await read_event(socket)
    await socket.send_bytes(audio)
    await socket.send_json({"type": "stop"})
    return ready["session"], await read_to_the_close(socket)


def captions(events: list[dict[str, Any]]) -> list[tuple[str, int, str]]:
    return [
        (event["type"], event["utterance"], event["text"])
        for event in events
        if event["type"] in ("final", "translation")
    ]


async def export(client: Client, path: str, **query: str) -> str:
    async with client.get(f"{path}/transcript.{query.pop('format', 'txt')}", params=query) as response:
        assert response.status == 200, await response.text()
        return await response.text()


async def test_a_publisher_gets_each_final_and_then_its_translation(client: Client) -> None:
    _, events = await talk(client, TALK * 2)
    said = captions(events)
    assert len(said) == 4
    for utterance in (0, 1):
        (_, _, text), translation = [each for each in said if each[1] == utterance]
        assert translation == ("translation", utterance, f"de: {text}")
    assert [event["seq"] for event in events] == list(range(2, len(events) + 2))
    assert events[-1]["type"] == "end"


async def test_ready_and_info_name_the_tracks_and_others_are_refused(client: Client) -> None:
    async with client.get("/v1/info") as response:
        assert (await response.json())["model"]["tracks"] == ["de", "en"]
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "translate": ["German", "de-AT"]})
    assert (await read_event(socket))["tracks"] == ["de"]
    plain = await client.ws_connect("/v1/stream")
    await plain.send_json({"type": "start"})
    assert "tracks" not in await read_event(plain)
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "translate": ["fr"]})
    (error,) = await read_to_the_close(socket)
    assert (error["code"], error["message"]) == ("unsupported_translation", "this server translates into de, en")
    assert socket.close_code == 1008


async def test_the_engine_fails_at_translations_and_the_finals_stand(client: Client) -> None:
    _, events = await talk(client, prompt="script: translation-only fail")
    assert captions(events) == [("final", 0, "One two three four five six.")]
    assert not any(event["type"] == "error" for event in events)
    async with client.get("/v1/stats") as response:
        assert (await response.json())["translations"] == {"answered": 0, "missing": 1}


async def test_a_translation_that_crashes_its_worker_costs_only_itself(client: Client) -> None:
    _, events = await talk(client, TALK * 2, prompt="script: translation-only crash")
    assert [kind for kind, *_ in captions(events)] == ["final", "final"]
    assert events[-1]["reason"] == "stop"


async def test_a_slow_translation_delays_no_final(client: Client) -> None:
    """One that is being computed holds up the only worker, and no other goes before a final."""
    socket = await start_stream(client, translate=["de"], language="fr", prompt="script: translation-only delay 0.5")
    await socket.send_bytes(TALK * 3)
    await socket.send_json({"type": "stop"})
    kinds = [kind for kind, *_ in captions(await read_to_the_close(socket))]
    assert kinds.count("final") == 3
    assert kinds[-2:] == ["translation"] * 2


async def test_readers_get_translations_as_they_come_and_late_ones_with_their_finals(client: Client) -> None:
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "language": "fr", "translate": ["de"]})
    session = (await read_event(socket))["session"]
    async with client.ws_connect(f"/v1/sessions/{session}/watch") as reader:
        snapshot = await read_event(reader)
        assert snapshot["tracks"] == ["de"]
        await socket.send_bytes(TALK)
        translation = await read_until(reader, "translation")
        assert translation["text"] == "de: One two three four five six."
    async with client.ws_connect(f"/v1/sessions/{session}/watch") as late:
        snapshot = await read_event(late)
        assert [final["translations"] for final in snapshot["finals"]] == [
            [{"language": "de", "text": "de: One two three four five six."}]
        ]
    cursor = f"{snapshot['epoch']}-{translation['seq'] - 1}"
    async with client.ws_connect(f"/v1/sessions/{session}/watch", params={"last_event_id": cursor}) as back:
        assert await read_event(back) == translation


async def test_transcripts_are_exported_in_a_track(client: Client) -> None:
    session, _ = await talk(client)
    path = f"/v1/sessions/{session}"
    for store in (False, True):
        if store:
            client.app[SERVICES].sessions._sessions.clear()  # five minutes pass
        assert await export(client, path) == "One two three four five six.\n"
        assert await export(client, path, track="de") == "de: One two three four five six.\n"
        assert "de: One two three four five six." in await export(client, path, track="de", format="vtt")
        assert "de: One two three four five six." in await export(client, path, track="de", format="srt")
        assert await export(client, path, track="es") == "One two three four five six.\n"
        original, translated = [
            json.loads(await export(client, path, format="json", **query))["captions"][0]
            for query in ({}, {"track": "de"})
        ]
        assert original["translations"] == [{"language": "de", "text": "de: One two three four five six."}]
        assert (translated["text"], translated["language"]) == ("de: One two three four five six.", "de")
        assert "translations" not in translated
        assert (original["start_ms"], original["end_ms"]) == (translated["start_ms"], translated["end_ms"])
    async with client.get(f"{path}/transcript.txt", params={"track": "klingon"}) as response:
        assert (response.status, (await response.json())["code"]) == (400, "invalid_query")


async def test_a_room_has_the_tracks_of_all_its_parts(client: Client) -> None:
    room = {"name": NAME, "secret": "the secret of a room"}
    await talk(client, room=room)
    client.app[SERVICES].sessions._sessions.clear()
    socket = await enter(client, language="fr", translate=["en"])
    await read_event(socket)
    await socket.send_bytes(TALK)
    await read_until(socket, "translation")
    async with client.ws_connect(f"/v1/rooms/{NAME}/watch") as reader:
        snapshots = [await read_until(reader, "snapshot") for _ in range(2)]
    assert [snapshot["tracks"] for snapshot in snapshots] == [["de"], ["en"]]
    assert [final["translations"][0]["language"] for each in snapshots for final in each["finals"]] == ["de", "en"]
    text = await export(client, f"/v1/rooms/{NAME}", track="en")
    assert text.split(maxsplit=6)[:6] == ["One", "two", "three", "four", "five", "six."]
    assert text.count("en: One two three four five six.") == 1


async def test_translations_survive_the_death_of_the_server_with_their_numbers(
    start_server: StartServer, tmp_path: Path
) -> None:
    path, token = tmp_path / "transcripts.db", "the publisher's token"
    start = '{"type": "start", "language": "fr", "translate": ["de"]}'
    with opened(path) as database:
        session = new_session("talk", language="fr", resumption=Resumption(start, token_hash(token), None))
        fill(database, session, [final("Un.", 0, 900, 0), final("Deux.", 1500, 2400, 1)], ended=False)
        database.write([rows.translate(SessionId("talk"), Translation(0, "de", "Eins."), 4)])
    client = await start_server(store=StoreConfig(str(path)), tracks=TRACKS)
    socket = await resume(client, {"session": "talk", "resume_token": token}, 3)
    assert (await read_event(socket))["tracks"] == ["de"]
    translation = {"type": "translation", "seq": 4, "utterance": 0, "language": "de", "text": "Eins."}
    assert await read_event(socket) == translation
    assert (await read_event(socket))["seq"] == SEQS_PER_GENERATION
    async with client.ws_connect("/v1/sessions/talk/watch") as reader:
        finals = (await read_event(reader))["finals"]
    assert [each.get("translations") for each in finals] == [[{"language": "de", "text": "Eins."}], None]


async def translating(start_server: StartServer) -> tuple[SessionRegistry, ClientWebSocketResponse]:
    """Return the sessions of a server, and a stream whose first final the worker translates for longer than a stop."""
    client = await start_server(tracks=TRACKS, drain_timeout_s=2.0)
    prompt = "script: translation-only delay 8"
    socket = await start_stream(client, language="fr", translate=["de"], prompt=prompt, partials=False)
    await socket.send_bytes(TALK)
    await read_until(socket, "final")
    return client.app[SERVICES].sessions, socket


async def test_a_stop_of_the_server_does_not_wait_for_translations_beyond_its_time(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    sessions, socket = await translating(start_server)
    drain = asyncio.ensure_future(sessions.drain())
    assert (await read_to_the_close(socket))[-1]["reason"] == "draining"
    await drain
    assert not sessions.overran
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_stop_that_gives_up_a_final_does_not_wait_for_translations_either(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker computes a translation, so the second final has no answer when the time is up."""
    sessions, socket = await translating(start_server)
    await socket.send_bytes(TALK)
    await read_until(socket, "speech_end")
    drain = asyncio.ensure_future(sessions.drain())
    end = (await read_to_the_close(socket))[-1]
    assert (end["type"], end["reason"]) == ("end", "draining")
    await drain
    [lost] = [record.message for record in caplog.records if record.levelno >= logging.ERROR]
    assert lost == "finals of 1 streams did not come in time"


async def test_the_end_does_not_wait_for_ever_for_a_translation(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livecaption.pipeline.stream.LAST_TRANSLATIONS_S", 0.5)
    _, events = await talk(client, prompt="script: translation-only delay 4")
    assert captions(events) == [("final", 0, "One two three four five six.")]
    assert events[-1]["type"] == "end"
