"""The speakers of a session: what publishers and readers receive, their names, and what is kept."""

import base64
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientWebSocketResponse

from livecaption.engine.scripted import embedding
from livecaption.events import SpeakerNamed, Turn
from livecaption.live.dialects.commands import NameSpeaker
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
from tests.support.speech import pcm_s16le, sound
from tests.support.stored import bytes_of, fill, new_session, opened
from tests.support.transcripts import final

TALK = pcm_s16le(sound("silence 200ms, speech 4200ms, silence 1000ms"))
"""An utterance of some 16 words: two people who share it speak for 2 s each."""
TWO = "script: voices ada bob"


@pytest.fixture
async def client(start_server: StartServer, tmp_path: Path) -> Client:
    return await start_server(store=StoreConfig(str(tmp_path / "transcripts.db")), speakers=True)


async def talk(client: Client, audio: bytes = TALK, **options: Any) -> tuple[str, list[dict[str, Any]]]:
    """Speak to the end; return the session and all events behind `ready`."""
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "speakers": True, "partials": False, "prompt": TWO, **options})
    ready = await read_event(socket)
    assert ready["speakers"] is True
    await socket.send_bytes(audio)
    await socket.send_json({"type": "stop"})
    return ready["session"], await read_to_the_close(socket)


def speakers_of(event: dict[str, Any]) -> list[int | None]:
    return [turn["speaker"] for turn in event["turns"]]


async def name(socket: ClientWebSocketResponse, speaker: Any, name: Any) -> dict[str, Any]:
    """Name a speaker, and return the answer."""
    await socket.send_json({"type": "name", "speaker": speaker, "name": name})
    while (event := await read_event(socket))["type"] not in ("name", "error"):
        pass
    return event


async def test_a_final_has_the_turns_of_those_who_speak(client: Client) -> None:
    _, events = await talk(client, TALK * 2, words=True)
    finals = [event for event in events if event["type"] == "final"]
    assert [speakers_of(event) for event in finals] == [[1, 2], [1, 2]]
    for event in finals:
        assert "".join(turn["text"] for turn in event["turns"]) == event["text"]
        assert event["turns"][0].keys() == {"speaker", "text", "start_ms", "end_ms"}
        spoken = [word["speaker"] for word in event["words"]]
        assert spoken == sorted(spoken)
        assert set(spoken) == {1, 2}


async def test_finals_have_no_turns_unless_the_publisher_asks(client: Client) -> None:
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "words": True, "prompt": TWO})
    assert "speakers" not in await read_event(socket)
    await socket.send_bytes(TALK)
    event = await read_until(socket, "final")
    assert "turns" not in event
    assert all("speaker" not in word for word in event["words"])
    await socket.close()


async def test_there_are_as_many_speakers_as_are_expected(client: Client) -> None:
    _, events = await talk(client, speakers=1)
    assert [speakers_of(event) for event in events if event["type"] == "final"] == [[1, None]]


async def test_music_and_silence_have_no_speakers(client: Client) -> None:
    for command, turns in (("voices", [None]), ("empty; voices ada", [])):
        _, events = await talk(client, prompt=f"script: {command}")
        assert [speakers_of(event) for event in events if event["type"] == "final"] == [turns]


async def test_speakers_are_refused_where_the_operator_has_not_allowed_them(start_server: StartServer) -> None:
    client = await start_server()
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "speakers": True})
    (error,) = await read_to_the_close(socket)
    assert (error["code"], error["fatal"], socket.close_code) == ("unsupported_speakers", True, 1008)


async def test_channels_that_are_kept_apart_are_speakers_on_any_server(start_server: StartServer) -> None:
    client = await start_server()
    socket = await client.ws_connect("/v1/stream")
    start = {"type": "start", "speakers": True, "words": True, "channels": 2, "channel_mode": "separate"}
    await socket.send_json(start)
    await read_event(socket)
    assert (await name(socket, 2, "Bob"))["type"] == "name"  # also before a word is said
    assert (await name(socket, 3, "Eve"))["code"] == "unknown_speaker"
    one, other = (memoryview(SPEECH + PAUSE).cast("h") for _ in range(2))
    await socket.send_bytes(b"".join(bytes(one[i : i + 1]) + bytes(other[i : i + 1]) for i in range(len(one))))
    await socket.send_json({"type": "stop"})
    finals = [event for event in await read_to_the_close(socket) if event["type"] == "final"]
    assert sorted((event["channel"], *speakers_of(event)) for event in finals) == [(0, 1), (1, 2)]
    assert all(word["speaker"] == event["channel"] + 1 for event in finals for word in event["words"])


# Names


async def test_a_name_is_sent_to_everybody_and_late_readers_get_it_with_the_captions(client: Client) -> None:
    socket = await start_stream(client, speakers=True, prompt=TWO)
    session_id = client.app[SERVICES].sessions._open.copy().pop().id
    early = await client.ws_connect(f"/v1/rooms/{session_id}/watch")
    await socket.send_bytes(TALK)
    await read_until(socket, "final")
    for given, sent in (("Ada", "Ada"), (" <b>Ada</b> ", "<b>Ada</b>")):
        event = await name(socket, 1, given)
        assert (event["speaker"], event["name"]) == (1, sent)
        assert (await read_until(early, "name"))["name"] == sent
    late = await client.ws_connect(f"/v1/rooms/{session_id}/watch")
    snapshot = await read_until(late, "snapshot")
    assert snapshot["names"] == [{"speaker": 1, "name": "<b>Ada</b>"}]
    assert speakers_of(snapshot["finals"][0]) == [1, 2]
    for each in (early, late):
        await each.close()
    await socket.send_json({"type": "stop"})
    await read_to_the_close(socket)


async def test_a_wrong_name_is_refused_and_the_stream_goes_on(client: Client) -> None:
    socket = await start_stream(client, speakers=True, prompt=TWO)
    assert (await name(socket, 1, "Ada"))["code"] == "unknown_speaker"  # nobody has spoken
    await socket.send_bytes(TALK)
    await read_until(socket, "final")
    for speaker, given, code in (
        (1, "", "invalid_name"),
        (1, "  ", "invalid_name"),
        (1, "x" * 10_000, "invalid_name"),
        (1, "A\nB", "invalid_name"),
        (1, None, "invalid_name"),
        (0, "Ada", "unknown_speaker"),
        (3, "Ada", "unknown_speaker"),
        (10**40, "Ada", "unknown_speaker"),
        (True, "Ada", "invalid_message"),
        ("1", "Ada", "invalid_message"),
    ):
        error = await name(socket, speaker, given)
        assert (error["type"], error["code"], error["fatal"]) == ("error", code, False)
    await socket.send_bytes(TALK)
    assert speakers_of(await read_until(socket, "final")) == [1, 2]
    await socket.send_json({"type": "stop"})
    events = await read_to_the_close(socket)
    assert events[-1]["reason"] == "stop"


async def test_a_stream_that_asked_for_no_speakers_has_none_to_name(client: Client) -> None:
    socket = await start_stream(client)
    assert (await name(socket, 1, "Ada"))["code"] == "unknown_speaker"
    await socket.close()


# What is kept


def turn(speaker: int | None, text: str) -> Turn:
    return Turn(speaker, text, 0, 900)


async def read_snapshot(client: Client, session: str) -> dict[str, Any]:
    async with client.ws_connect(f"/v1/rooms/{session}/watch") as reader:
        return await read_until(reader, "snapshot")


async def test_after_the_servers_death_numbers_go_on_above_the_highest_and_names_stay(
    start_server: StartServer, tmp_path: Path
) -> None:
    """Row 88."""
    path, token = tmp_path / "transcripts.db", "the publisher's token"
    start = '{"type": "start", "speakers": 2, "prompt": "script: voices ada bob"}'
    said = [
        final("Un. Deux.", 0, 900, 0, turns=[turn(1, "Un. "), turn(2, "Deux.")]),
        final("Trois.", 1500, 2400, 1, turns=[turn(None, "Trois.")]),
    ]
    with opened(path) as database:
        session = new_session("talk", resumption=Resumption(start, token_hash(token), None))
        fill(database, session, said, ended=False)
        database.write([rows.name_speaker(SessionId("talk"), SpeakerNamed(2, "Bob"))])
    client = await start_server(store=StoreConfig(str(path)), speakers=True)
    socket = await resume(client, {"session": "talk", "resume_token": token}, 3)
    assert (await read_event(socket))["speakers"] is True
    await socket.send_bytes(bytes(2 * 16 * 2400) + TALK)  # what is transcribed comes again
    assert speakers_of(await read_until(socket, "final")) == [3, 4]
    assert (await name(socket, 4, "Bob"))["type"] == "name"
    assert (await name(socket, 5, "Eve"))["code"] == "unknown_speaker"
    snapshot = await read_snapshot(client, "talk")
    assert snapshot["names"] == [{"speaker": 2, "name": "Bob"}, {"speaker": 4, "name": "Bob"}]
    assert [speakers_of(each) for each in snapshot["finals"]] == [[1, 2], [None], [3, 4]]
    await socket.close()


async def test_a_session_that_needs_voices_cannot_go_on_where_there_are_none(
    start_server: StartServer, tmp_path: Path
) -> None:
    """Row 88."""
    path, token = tmp_path / "transcripts.db", "the publisher's token"
    with opened(path) as database:
        resumption = Resumption('{"type": "start", "speakers": true}', token_hash(token), None)
        fill(database, new_session("talk", resumption=resumption), [final("Un.", 0, 900, 0)], ended=False)
    client = await start_server(store=StoreConfig(str(path)))
    socket = await resume(client, {"session": "talk", "resume_token": token}, 2)
    (error,) = await read_to_the_close(socket)
    assert error["code"] == "unsupported_speakers"


async def rename(client: Client, session: str, status: int = 200, **change: Any) -> dict[str, Any]:
    async with client.patch(f"/v1/sessions/{session}", json=change) as response:
        assert response.status == status, await response.text()
        return await response.json()


async def test_names_can_be_changed_later_and_the_old_ones_are_gone(client: Client, tmp_path: Path) -> None:
    session, _ = await talk(client, title="Talk")
    assert (await rename(client, session, names={"1": "Xerxes", "2": "Bob"}))["names"] == {"1": "Xerxes", "2": "Bob"}
    described = await rename(client, session, names={"1": " Ada "})
    assert (described["names"], described["speakers"]) == ({"1": "Ada", "2": "Bob"}, 2)
    assert described["title"] == "Talk"
    names = (await read_snapshot(client, session))["names"]
    assert names == [{"speaker": 1, "name": "Ada"}, {"speaker": 2, "name": "Bob"}]
    assert b"Xerxes" not in bytes_of(tmp_path)
    assert (await rename(client, session, title="Other", names={"2": "Eve"}))["title"] == "Other"


async def test_readers_of_a_session_that_runs_get_a_name_that_is_changed_later(client: Client) -> None:
    socket = await start_stream(client, speakers=True, prompt=TWO)
    await socket.send_bytes(TALK)
    await read_until(socket, "final")
    (session,) = client.app[SERVICES].sessions._sessions
    await rename(client, session, names={"2": "Bob"})
    event = await read_until(socket, "name")
    assert (event["speaker"], event["name"]) == (2, "Bob")
    assert (await read_snapshot(client, session))["names"] == [{"speaker": 2, "name": "Bob"}]
    await socket.close()


async def test_a_channel_can_be_named_later_too_before_a_word_is_said_and_then_always(client: Client) -> None:
    socket = await start_stream(client, speakers=True, channels=2, channel_mode="separate")
    (session,) = client.app[SERVICES].sessions._sessions
    assert (await rename(client, session, names={"2": "Bob"}))["names"] == {"2": "Bob"}
    assert (await rename(client, session, 400, names={"3": "Eve"}))["code"] == "unknown_speaker"
    await socket.send_json({"type": "stop"})
    await read_to_the_close(socket)
    client.app[SERVICES].sessions._sessions.pop(session)  # five minutes later: only the store has it
    assert (await rename(client, session, names={"2": "Ben"}))["names"] == {"2": "Ben"}
    assert (await rename(client, session, 400, names={"3": "Eve"}))["code"] == "unknown_speaker"


async def test_a_publisher_names_nobody_after_the_end(client: Client) -> None:
    session, _ = await talk(client)
    live = client.app[SERVICES].sessions.known(session)
    assert live is not None
    live.execute(NameSpeaker(1, "Ada"))
    assert "names" not in await read_snapshot(client, session)
    async with client.get(f"/v1/sessions/{session}") as response:
        assert (await response.json())["names"] == {}


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ({"3": "Eve"}, "unknown_speaker"),
        ({"0": "Eve"}, "unknown_speaker"),
        ({"-1": "Eve"}, "unknown_speaker"),
        ({"one": "Eve"}, "unknown_speaker"),
        ({"9" * 5000: "Eve"}, "unknown_speaker"),
        ({"1": ""}, "invalid_name"),
        ({"1": "x" * 10_000}, "invalid_name"),
        ({"1": 7}, "invalid_message"),
        (["Eve"], "invalid_message"),
    ],
)
async def test_a_wrong_name_changes_nothing(client: Client, names: Any, code: str) -> None:
    session, _ = await talk(client)
    refusal = await rename(client, session, 400, title="Other", names=names)
    assert refusal["code"] == code
    async with client.get(f"/v1/sessions/{session}") as response:
        described = await response.json()
    assert (described["title"], described["names"]) == ("", {})


async def test_a_deleted_session_takes_its_names_with_it(client: Client, tmp_path: Path) -> None:
    socket = await start_stream(client, speakers=True, prompt=TWO)
    await socket.send_bytes(TALK)
    await read_until(socket, "final")
    await name(socket, 1, "Xerxes")
    (session,) = client.app[SERVICES].sessions._sessions
    assert b"Xerxes" in bytes_of(tmp_path)
    assert (await client.delete(f"/v1/sessions/{session}")).status == 204
    assert b"Xerxes" not in bytes_of(tmp_path)
    assert "names" not in await read_snapshot(client, session)
    await socket.close()


async def test_no_voice_is_in_the_store_the_log_the_metrics_or_a_message(
    client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    session, events = await talk(client, words=True)
    async with client.get("/metrics") as response:
        metrics = await response.text()
    async with client.get("/v1/stats") as response:
        stats = await response.text()
    async with client.get(f"/v1/sessions/{session}/transcript.json") as response:
        export = await response.text()
    said = "".join(map(repr, [*events, metrics, stats, export, caplog.text])).encode() + bytes_of(tmp_path)
    for person in ("ada", "bob"):
        for numbers in (embedding(person), embedding(person).astype(np.float16)):
            raw = numbers.tobytes()
            assert raw[:16] not in said
            assert base64.b64encode(raw)[:16] not in said
            assert f"{numbers[0]:.4f}".encode() not in said
    assert b"embedding" not in said
    assert b"Voice(" not in said


async def test_the_parts_of_a_room_have_their_own_names_and_one_count_in_its_transcript(client: Client) -> None:
    async def part(name_of_first: str, **options: Any) -> str:
        socket = await enter(client, speakers=True, prompt=TWO, **options)
        session: str = (await read_event(socket))["session"]
        await socket.send_bytes(TALK)
        await read_until(socket, "final")
        await name(socket, 1, name_of_first)
        await socket.send_json({"type": "stop"})
        await read_to_the_close(socket)
        return session

    sessions = [await part("Ada"), await part("Eve")]
    client.app[SERVICES].sessions._sessions.pop(sessions[0])  # five minutes later: only the store has it
    async with client.ws_connect(f"/v1/rooms/{NAME}/watch") as reader:
        names = [(await read_until(reader, "snapshot"))["names"] for _ in sessions]
    assert names == [[{"speaker": 1, "name": "Ada"}], [{"speaker": 1, "name": "Eve"}]]
    async with client.get(f"/v1/rooms/{NAME}/transcript.txt") as response:
        lines = (await response.text()).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["Ada", "Speaker 2", "Eve", "Speaker 4"]
    async with client.get(f"/v1/sessions/{sessions[0]}/transcript.json") as response:
        export = await response.json()
    assert (export["names"], speakers_of(export["captions"][0])) == ({"1": "Ada"}, [1, 2])


async def test_an_export_that_is_kept_has_a_name_that_is_given_later(client: Client) -> None:
    session, _ = await talk(client)
    for names, voice in (({}, "Speaker 1"), ({"1": "Ada"}, "Ada")):
        if names:
            await rename(client, session, names=names)
        async with client.get(f"/v1/sessions/{session}/transcript.vtt") as response:
            assert f"<v {voice}>One two" in await response.text()


async def test_players_and_polls_of_a_room_get_names_where_another_one_speaks(client: Client) -> None:
    session, _ = await talk(client)
    async with client.get(f"/v1/rooms/{session}/captions/0.vtt") as response:
        assert "<v Speaker 1>One two" in await response.text()
    async with client.get(f"/v1/rooms/{session}/captions", params={"last": "0"}) as response:
        assert (await response.json())["content"].startswith("Speaker 1: One two")
