"""Rooms over HTTP: registration, state, server-sent events, exports over all parts, and who gets them."""

import json
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse

from livecaption.live import rooms
from livecaption.live.tokens import reader_token, token_hash
from livecaption.server.config import HttpLimits
from livecaption.server.services import SERVICES
from livecaption.store import store as limits
from livecaption.store import transcripts
from livecaption.store.config import StoreConfig
from livecaption.store.database import Database
from tests.support.rooms import NAME, SECRET, RoomReader, enter, put, room_of, said
from tests.support.serving import PAUSE, SPEECH, Client, StartServer, read_event, read_to_the_close, read_until

TALK = SPEECH + PAUSE
EVERYTHING = ("", "/events", "/watch", "/qr.svg", "/transcript.txt")
"""All that a reader can get of a room."""


@pytest.fixture
async def client(start_server: StartServer) -> Client:
    """A new server for each test, because the rooms of earlier tests stay."""
    return await start_server()


@pytest.fixture
async def stored(start_server: StartServer, tmp_path: Path) -> Client:
    return await start_server(store=StoreConfig(str(tmp_path / "transcripts.db")))


async def events_of(client: Client, name: str = NAME, cursor: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Read the server-sent events of a room that has ended, each with its id."""
    async with client.get(f"/v1/rooms/{name}/events", headers={"Last-Event-ID": cursor} if cursor else {}) as response:
        assert response.status == 200, await response.text()
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        blocks = (await response.text()).split("\n\n")
    found = []
    for block in blocks[:-1]:
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        event = json.loads(fields["data"])
        assert fields["event"] == event["type"]
        found.append((fields.get("id", ""), event))
    return found


async def part(client: Client, **options: Any) -> str:
    """Speak one part of the room to its end; return the session."""
    end_room = options.pop("end_room", False)
    socket = await enter(client, **options)
    session: str = (await read_event(socket))["session"]
    await said(socket, TALK)
    await socket.send_json({"type": "stop", "end_room": end_room})
    await read_to_the_close(socket)
    return session


def forget_sessions(client: Client) -> None:
    """Let five minutes pass: only the store has the sessions that are over."""
    client.app[SERVICES].sessions._sessions.clear()


async def code_of(client: Client, path: str, **query: str) -> tuple[int, str]:
    async with client.get(path, params=query) as response:
        return response.status, (await response.json())["code"] if response.status >= 400 else ""


async def test_a_part_that_gets_another_title_has_it_for_the_readers_of_its_room(stored: Client) -> None:
    session = await part(stored, title="One")
    async with stored.ws_connect(f"/v1/rooms/{NAME}/watch") as reader:
        assert (await read_event(reader))["parts"][0]["title"] == "One"
        assert (await stored.patch(f"/v1/sessions/{session}", json={"title": "Morning"})).status == 200
        assert (await read_until(reader, "room"))["parts"][0]["title"] == "Morning"


async def test_a_reader_of_a_quiet_room_sees_that_the_connection_is_alive(start_server: StartServer) -> None:
    """Pages do not see pings, and would take a dead connection for silence."""
    client = await start_server(http=HttpLimits(heartbeat_s=0.05))
    await put(client, title="PyCon")
    async with client.ws_connect(f"/v1/rooms/{NAME}/watch") as reader:
        rooms = [await read_event(reader) for _ in range(3)]
    assert [(room["type"], room["title"]) for room in rooms] == [("room", "PyCon")] * 3


async def test_an_ended_room_is_read_to_its_end_and_a_reader_who_has_it_all_stops(stored: Client) -> None:
    first = await part(stored, title="One")
    forget_sessions(stored)
    second = await part(stored, title="Two", end_room=True)
    for _ in range(2):
        events = await events_of(stored)
        assert [event["type"] for _, event in events][:3] == ["room", "snapshot", "snapshot"]
        assert events[0][0] == "room-0"
        assert [(event["session"], len(event["finals"])) for _, event in events[1:3]] == [(first, 1), (second, 1)]
        for cursor in (events[1][0], "0-7"):
            again = [event["session"] for _, event in await events_of(stored, cursor=cursor) if "finals" in event]
            assert again == ([second] if cursor == events[1][0] else [first, second])
        async with stored.get(f"/v1/rooms/{NAME}/events", headers={"Last-Event-ID": events[-1][0]}) as response:
            assert response.status == 204
        forget_sessions(stored)  # the second time, all comes from the store


async def test_a_room_that_ended_without_a_word_stops_its_readers_too(stored: Client) -> None:
    await put(stored, state="ended")
    [(cursor, event)] = await events_of(stored)
    assert (event["state"], event["parts"]) == ("ended", [])
    async with stored.get(f"/v1/rooms/{NAME}/events", params={"last_event_id": cursor}) as response:
        assert response.status == 204


async def test_many_readers_of_an_earlier_part_read_the_store_once(stored: Client) -> None:
    await part(stored, end_room=True)
    forget_sessions(stored)
    room = await stored.app[SERVICES].rooms.find(NAME)
    n_loads = 0
    load = room._load

    async def counted(part: Any) -> Any:
        nonlocal n_loads
        n_loads += 1
        return await load(part)

    room._load = counted
    with room.used():
        for _ in range(3):
            assert len(await events_of(stored)) == 2
        assert n_loads == 1
    assert [part.snapshot for part in room.parts] == [None]  # nobody needs it any more


async def test_a_transcript_has_all_parts_at_their_times_on_the_wall(stored: Client, tmp_path: Path) -> None:
    sessions = [await part(stored, words=True), await part(stored)]
    begins = [entry["started_at_ms"] for entry in (await room_of(stored))["parts"]]
    later_ms = 3_600_000
    forget_sessions(stored)
    with closing(Database(tmp_path / "transcripts.db")) as database:
        database.execute("UPDATE session SET started_at_ms = ? WHERE id = ?", (begins[0] + later_ms, sessions[1]))
    async with stored.get(f"/v1/rooms/{NAME}/transcript.json") as response:
        first, second = json.loads(await response.text())["captions"]
    assert (first["utterance"], second["utterance"]) == (0, 1)
    assert abs(second["start_ms"] - first["start_ms"] - later_ms) < 100
    assert first["words"][0]["start_ms"] < 2000
    async with stored.get(f"/v1/rooms/{NAME}/transcript.vtt") as response:
        assert len(re.findall(r"^01:00:0\d\.\d+ --> ", await response.text(), re.MULTILINE)) > 0
    async with stored.get(f"/v1/rooms/{NAME}/transcript.txt") as response:
        assert len((await response.text()).splitlines()) == 2
    running = await enter(stored)
    await read_event(running)
    await said(running, TALK)
    async with stored.get(f"/v1/rooms/{NAME}/transcript.txt", headers={"Range": "bytes=1-"}) as response:
        assert response.status == 200  # what comes next may change it
        assert (await response.text()).count("One two") == 3
    assert (await stored.get(f"/v1/rooms/{NAME}/transcript.pdf")).status == 404


async def test_the_list_names_the_room_of_a_session_and_a_deleted_part_is_gone(stored: Client) -> None:
    first, second = await part(stored, title="PyCon"), await part(stored)
    socket = await stored.ws_connect("/v1/stream")
    await socket.send_json({"type": "start"})
    alone = (await read_event(socket))["session"]
    async with stored.get("/v1/sessions") as response:
        rooms = {entry["id"]: (entry["room"], entry["room_title"]) for entry in (await response.json())["sessions"]}
    assert rooms == {first: (NAME, "PyCon"), second: (NAME, "PyCon"), alone: (None, None)}
    await said(socket, TALK)
    await socket.send_json({"type": "stop"})
    await read_to_the_close(socket)
    exports = [f"/v1/rooms/{name}/transcript.txt" for name in (NAME, first, alone)]
    for path in exports:
        assert (await stored.get(path)).status == 200  # and kept for the next request
    # At once, and not when five minutes are over. Somebody reads along.
    reader = await RoomReader(stored).connect()
    for session, left in ((first, [second]), (alone, [second]), (second, [])):
        assert (await stored.delete(f"/v1/sessions/{session}")).status == 204
        for path in (f"/v1/sessions/{session}/events", f"/v1/rooms/{session}", f"/v1/rooms/{session}/transcript.txt"):
            assert (await code_of(stored, path))[0] == 404, path
        assert [part["session"] for part in (await room_of(stored))["parts"]] == left  # the link stays
    assert await (await stored.get(exports[0])).text() == ""
    await reader.until("room", parts=[])
    late = await RoomReader(stored).connect()
    assert (await late.next())["state"] == "waiting"


async def test_a_part_that_is_deleted_while_it_runs_is_gone_so_far_and_leaves_nothing_at_its_end(
    stored: Client,
) -> None:
    socket = await enter(stored, title="Secret")
    session = (await read_event(socket))["session"]
    await said(socket, TALK)
    early = await RoomReader(stored).connect()
    await early.until("snapshot")
    assert (await stored.delete(f"/v1/sessions/{session}")).status == 204
    state = await room_of(stored)
    assert (state["state"], state["title"], state["session"], state["parts"]) == ("live", "", session, [])
    for name in (NAME, session):
        assert await (await stored.get(f"/v1/rooms/{name}/transcript.txt")).text() == ""
    late = await RoomReader(stored).connect()
    assert (await late.until("snapshot"))["finals"] == []
    text = (await said(socket, TALK))["text"]
    await socket.send_json({"type": "stop"})
    assert (await read_to_the_close(socket))[-1]["reason"] == "stop"
    for reader in (early, late):  # those who read along lose nothing
        await reader.until("end")
        assert reader.texts[session][-1] == text
    for path in (f"/v1/sessions/{session}/events", f"/v1/rooms/{session}"):
        assert (await code_of(stored, path))[0] == 404
    assert (await room_of(stored))["state"] == "waiting"


async def test_a_new_event_at_the_same_link_has_no_word_of_the_one_before(stored: Client) -> None:
    first = await part(stored, title="Ecology", end_room=True)
    before = await room_of(stored)
    assert (before["title"], [part["session"] for part in before["parts"]]) == ("Ecology", [first])
    second = await part(stored, title="Chemistry")
    for _ in range(2):
        room = await room_of(stored)
        assert (room["title"], [part["session"] for part in room["parts"]]) == ("Chemistry", [second])
        assert len((await (await stored.get(f"/v1/rooms/{NAME}/transcript.txt")).text()).splitlines()) == 1
        forget_sessions(stored)  # the second time, all comes from the store
    third = await part(stored, title="Questions")  # after a break: the same event
    assert [part["session"] for part in (await room_of(stored))["parts"]] == [second, third]
    async with stored.get("/v1/sessions") as response:
        listed = [(entry["id"], entry["room_title"]) for entry in (await response.json())["sessions"]]
    assert listed == [(third, "Chemistry"), (second, "Chemistry"), (first, "Ecology")]


async def test_the_end_of_an_event_ends_a_part_that_runs_or_waits_for_its_publisher(client: Client) -> None:
    for is_away in (False, True):
        socket = await enter(client)
        session = (await read_event(socket))["session"]
        await said(socket, TALK)
        reader = await RoomReader(client).connect()
        if is_away:
            socket._writer.transport.abort()
            await reader.until("room", away=True)
        await put(client, state="ended")
        if not is_away:
            assert (await read_to_the_close(socket))[-1]["reason"] == "stop"
        await reader.until("end")
        over = await reader.until("room", state="ended")
        assert [part["session"] for part in over["parts"]] == [session]
    # Nothing is left that could end the next one.
    assert (await (await client.get(f"/v1/rooms/{NAME}")).json())["state"] == "ended"
    await part(client)
    assert (await room_of(client))["state"] == "break"


@pytest.mark.parametrize("is_stored", [True, False])
async def test_no_stranger_pushes_out_a_room_that_waits_for_its_first_part(
    start_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_stored: bool
) -> None:
    monkeypatch.setattr(rooms, "MAX_UNUSED_ROOMS", 3)
    monkeypatch.setattr(transcripts, "MAX_UNUSED_ROOMS", 3)
    client = await start_server(store=StoreConfig(str(tmp_path / "transcripts.db")) if is_stored else StoreConfig())
    for number in range(3):
        await put(client, f"r{number}")
    stranger = "the secret of a stranger"
    assert (await put(client, "r3", status=503, secret=stranger))["code"] == "overloaded"
    await put(client, "r0", title="Known")  # who has one may change it
    for name in ("r3", "r4", "r5", "r6"):  # and those who speak need no place
        socket = await enter(client, name, stranger, keep=False)
        await read_event(socket)
        await socket.send_json({"type": "stop"})
        await read_to_the_close(socket)
        forget_sessions(client)
    for number in range(3):
        assert (await room_of(client, f"r{number}"))["state"] == "waiting"
    socket = await enter(client, "r0")
    await read_event(socket)
    await put(client, "r7")  # its place is free
    await socket.close()


@pytest.mark.parametrize("is_stored", [True, False])
async def test_a_room_that_was_ended_or_has_waited_too_long_makes_place_for_new_ones(
    start_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_stored: bool
) -> None:
    monkeypatch.setattr(rooms, "MAX_UNUSED_ROOMS", 3)
    monkeypatch.setattr(transcripts, "MAX_UNUSED_ROOMS", 3)
    client = await start_server(store=StoreConfig(str(tmp_path / "transcripts.db")) if is_stored else StoreConfig())
    await put(client, "ended", state="ended")
    for number in range(3):
        await put(client, f"r{number}")
    async with client.put("/v1/rooms/r3", json={"secret": SECRET}) as refusal:
        assert (refusal.status, refusal.headers["Retry-After"]) == (503, "3600")
    monkeypatch.setattr(limits, "WAITING_DAYS", -1)  # the time is over
    await put(client, "r3")
    names = ("ended", "r0", "r1", "r2", "r3")
    known = [name for name in names if (await code_of(client, f"/v1/rooms/{name}"))[0] == 200]
    assert known == ["r1", "r2", "r3"]  # a link that is old goes only if others need its place


async def test_the_id_of_a_session_is_no_link_to_a_room_whose_name_differs_in_case_alone(stored: Client) -> None:
    socket = await stored.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "title": "Alone", "partials": False})
    session = (await read_event(socket))["session"]
    strangers = session.swapcase()
    await put(stored, strangers, title="Another")
    with (await stored.app[SERVICES].rooms.find(strangers)).used():  # somebody reads it
        assert (await room_of(stored, session))["title"] == "Alone"
        await socket.send_json({"type": "stop"})
        await read_to_the_close(socket)
        forget_sessions(stored)
        assert (await room_of(stored, session))["title"] == "Alone"
        assert (await room_of(stored, strangers))["title"] == "Another"
    for name, title in ((session, "Alone"), (strangers, "Another")):
        assert (await room_of(stored, name))["title"] == title


async def test_case_does_not_count_in_the_name_of_a_room_and_a_last_slash_is_forgiven(stored: Client) -> None:
    await put(stored, "PyCon", title="PyCon")
    assert (await put(stored, "pycon", status=401, secret="of somebody else"))["code"] == "wrong_token"
    await part(stored, name="PYCON")
    rooms_in_use = stored.app[SERVICES].rooms
    room = await rooms_in_use.find("PyCon")
    assert await rooms_in_use.find("pYCON") is room
    forget_sessions(stored)
    state = await room_of(stored, "pycon")
    assert (state["name"], len(state["parts"])) == ("PyCon", 1)
    async with stored.get("/watch/PyCon/?overlay=1%0a", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (308, "../PyCon?overlay=1%0A")
    assert (await stored.get("/watch/PyCon/")).status == 200
    assert (await stored.get("/watch/no%20name/")).status == 404


async def test_titles_are_one_line_by_each_way_that_they_come(stored: Client) -> None:
    given, title = "\u202eone\r\ntwo\x00", "one two"
    assert (await put(stored, title=given))["title"] == title
    session = await part(stored, title=given)
    assert [part["title"] for part in (await room_of(stored))["parts"]] == [title]
    async with stored.patch(f"/v1/sessions/{session}", json={"title": given + "!"}) as response:
        assert (await response.json())["title"] == title + "!"


async def test_a_private_room_of_an_earlier_version_gets_the_token_of_this_one_from_its_publisher(
    stored: Client, tmp_path: Path
) -> None:
    """Earlier versions derived it from the secret alone."""
    await put(stored, private=True)
    with closing(Database(tmp_path / "transcripts.db")) as database:
        database.execute("UPDATE room SET reader_token_hash = ?", (token_hash(reader_token(SECRET)),))
    token = (await put(stored, private=True))["reader_token"]
    assert (await stored.get(f"/v1/rooms/{NAME}", params={"reader_token": token})).status == 200


async def test_a_session_without_a_room_is_a_room_of_its_own(stored: Client) -> None:
    socket = await stored.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "title": "Alone", "partials": False})
    session = (await read_event(socket))["session"]
    state = await room_of(stored, session)
    assert (state["name"], state["title"], state["state"], state["session"]) == (session, "Alone", "live", session)
    reader = await stored.ws_connect(f"/v1/rooms/{session}/watch")
    await said(socket, TALK)
    await socket.send_json({"type": "stop"})
    await read_to_the_close(socket)
    kinds = [event["type"] for event in await read_to_the_close(reader)]
    assert kinds == ["room", "snapshot", "speech_start", "speech_end", "final", "end", "room"]
    assert (await put(stored, session, status=401))["code"] == "wrong_token"  # and nobody else's
    forget_sessions(stored)
    assert (await room_of(stored, session))["state"] == "ended"
    events = await events_of(stored, session)
    assert [event["type"] for _, event in events] == ["room", "snapshot"]
    assert (await put(stored, session, status=401))["code"] == "wrong_token"


@pytest.mark.parametrize("name", [NAME, None])
async def test_a_new_title_of_a_running_part_reaches_its_readers_at_once_and_those_who_come_later(
    stored: Client, name: str | None
) -> None:
    """Also where the session is a room of its own. A room that nobody has given a title has that of its first part."""
    socket = await stored.ws_connect("/v1/stream")
    room = {} if name is None else {"room": {"name": name, "secret": SECRET}}
    await socket.send_json({"type": "start", "title": "Mroning", **room})
    session = (await read_event(socket))["session"]
    await said(socket, TALK)
    reader = await RoomReader(stored, name or session).connect()
    await reader.until("snapshot")
    assert (await stored.patch(f"/v1/sessions/{session}", json={"title": "Morning"})).status == 200
    renamed = await reader.until("room")
    assert [part["title"] for part in renamed["parts"]] == ["Morning"]
    assert renamed["title"] == "Morning"
    late = await stored.ws_connect(f"/v1/sessions/{session}/watch")
    assert (await read_event(late))["title"] == "Morning"
    assert (await room_of(stored, name or session))["parts"][0]["title"] == "Morning"


async def test_a_private_room_is_closed_without_its_reader_token_before_within_and_after_a_part(stored: Client) -> None:
    client = stored
    token = (await put(client, private=True))["reader_token"]
    assert token == reader_token(SECRET, NAME)

    async def check() -> None:
        for what in EVERYTHING:
            path = f"/v1/rooms/{NAME}{what}"
            assert await code_of(client, path) == (401, "wrong_token")
            assert await code_of(client, path, reader_token=SECRET) == (401, "wrong_token")
            if what == "/watch":
                await (await client.ws_connect(path, params={"reader_token": token})).close()
            else:
                async with client.get(path, params={"reader_token": token}) as response:
                    assert response.status == 200

    await check()
    socket = await enter(client)  # without a wish of its own, each part is private
    ready = await read_event(socket)
    assert (ready["private"], ready["reader_token"], ready["room"]["reader_token"]) == (True, token, token)
    await said(socket, TALK)
    await check()
    assert await code_of(client, f"/v1/sessions/{ready['session']}/events") == (401, "wrong_token")
    await socket.send_json({"type": "stop"})
    await read_to_the_close(socket)
    forget_sessions(client)
    await check()
    assert (await code_of(client, f"/v1/rooms/{ready['session']}"))[0] == 401
    assert (await put(client, status=200))["private"] is True


async def test_a_room_is_changed_with_its_secret_and_to_what_it_can_be_alone(client: Client) -> None:
    await put(client, title="As it was")
    assert (await put(client, status=401, secret="not the secret of it"))["code"] == "wrong_token"
    for name, change in (
        ("pycon", {"private": True}),
        ("pycon", {"secret": "short"}),
        ("pycon", {"secret": None}),
        ("pycon", {"title": "x" * 201}),
        ("pycon", {"title": 5}),
        ("pycon", {"state": "live"}),
        ("py con", {}),
        ("x" * 65, {}),
    ):
        assert (await put(client, name, status=400, **change))["code"] == "invalid_message", change
    async with client.put(f"/v1/rooms/{NAME}", data=b"\xff[") as response:
        assert response.status == 400
    assert (await room_of(client))["title"] == "As it was"


async def test_rooms_are_made_by_those_who_may_stream(start_server: StartServer) -> None:
    client = await start_server(token="operator")
    assert (await put(client, status=401))["code"] == "unauthorized"
    headers = {"Authorization": "Bearer operator"}
    body = {"secret": SECRET, "private": True}
    async with client.put(f"/v1/rooms/{NAME}", json=body, headers=headers | {"Origin": "http://evil"}) as response:
        assert response.status == 403
    async with client.put(f"/v1/rooms/{NAME}", json=body, headers=headers) as response:
        assert response.status == 200
    # The operator may read along too. But the operator's token is not to be in a code on a screen.
    for what, status in (("", 200), ("/transcript.txt", 200), ("/events", 200), ("/qr.svg", 401)):
        async with client.get(f"/v1/rooms/{NAME}{what}", headers=headers) as response:
            assert response.status == status, what


async def test_an_unknown_room_is_404_and_one_that_was_made_has_a_qr_code_before_its_first_part(client: Client) -> None:
    for what in EVERYTHING:
        assert await code_of(client, f"/v1/rooms/{NAME}{what}") == (404, "unknown_room")
    await put(client)
    async with client.get(f"/v1/rooms/{NAME}/qr.svg") as response:
        assert (response.status, response.content_type) == (200, "image/svg+xml")


async def test_without_a_store_a_room_outlasts_the_words_of_its_parts(client: Client) -> None:
    await part(client)
    forget_sessions(client)
    state = await room_of(client)
    assert (state["state"], len(state["parts"])) == ("break", 1)
    socket: ClientWebSocketResponse = await client.ws_connect(f"/v1/rooms/{NAME}/watch")
    assert (await read_event(socket))["type"] == "room"
    await part(client, end_room=True)
    events = await read_to_the_close(socket)
    assert sum(event["type"] == "snapshot" for event in events) == 1
    assert events[-1]["state"] == "ended"
