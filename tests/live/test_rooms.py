"""Rooms over real sockets: who may speak, and one link for all parts."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, WSServerHandshakeError

from livecaption.server.services import SERVICES
from livecaption.store.config import StoreConfig
from livecaption.store.store import written
from tests.live.test_connection import resume
from tests.support.eventually import eventually
from tests.support.rooms import NAME, RoomReader, enter, put, room_of, said, spoken
from tests.support.serving import PAUSE, SPEECH, Client, StartServer, read_event, read_to_the_close, read_until

TALK = SPEECH + PAUSE


@pytest.fixture
async def client(start_server: StartServer) -> Client:
    """A new server for each test, because the rooms of earlier tests stay."""
    return await start_server()


async def test_one_link_is_right_before_between_and_after_the_parts_of_an_event(client: Client) -> None:
    assert await put(client, title="PyCon") == {
        "name": "pycon",
        "title": "PyCon",
        "private": False,
        "state": "waiting",
        "session": None,
        "away": False,
        "parts": [],
    }
    reader = await RoomReader(client).connect()
    await reader.next()
    morning = await enter(client, title="Morning")
    first = await read_event(morning)
    assert first["room"] == {"name": "pycon"}
    said_first = await said(morning, TALK)
    await morning.send_json({"type": "stop"})
    await read_to_the_close(morning)
    between = await reader.until("room", state="break")
    assert [part["state"] for part in between["parts"]] == ["ended"]

    noon = await enter(client, title="Afternoon")
    second = await read_event(noon)
    late = await RoomReader(client).connect()
    said_then = await said(noon, TALK)
    await noon.send_json({"type": "stop", "end_room": True})
    end = (await read_to_the_close(noon))[-1]
    assert end["reason"] == "stop"
    expected = {first["session"]: [said_first["text"]], second["session"]: [said_then["text"]]}
    for each in (reader, late):
        over = await each.until("room", state="ended")
        assert [(part["session"], part["title"]) for part in over["parts"]] == [
            (first["session"], "Morning"),
            (second["session"], "Afternoon"),
        ]
        assert each.texts == expected
        assert await read_to_the_close(each.socket) == []
        assert each.socket.close_code == 1000
    assert reader.states == ["waiting", "live", "break", "live", "ended"]
    assert late.states == ["live", "ended"]
    assert (await room_of(client))["state"] == "ended"


async def refusal_of(socket: ClientWebSocketResponse) -> str:
    [error] = await read_to_the_close(socket)
    assert socket.close_code == 1008
    return error["code"]


async def test_one_publisher_speaks_at_a_time_and_a_second_one_is_refused_or_takes_over(client: Client) -> None:
    first = await enter(client)
    session = (await read_event(first))["session"]
    reader = await RoomReader(client).connect()
    said_first = await said(first, TALK)
    assert await refusal_of(await enter(client, secret="another secret than that")) == "wrong_token"
    assert await refusal_of(await enter(client)) == "room_taken"
    assert await refusal_of(await enter(client, name="no/name")) == "invalid_message"
    assert await refusal_of(await enter(client, secret="short")) == "invalid_message"
    assert await refusal_of(await enter(client, private=True, take_over=True)) == "invalid_message"
    assert await refusal_of(await enter(client, language="tlh", take_over=True)) == "unsupported_language"
    assert (await room_of(client))["session"] == session  # none of them cost anybody anything

    await first.send_bytes(SPEECH)
    await read_until(first, "speech_start")
    second = await enter(client, take_over=True)
    other = (await read_event(second))["session"]
    events = await read_to_the_close(first)
    assert [event["type"] for event in events if event["type"] in ("final", "end")] == ["final", "end"]
    assert (events[-1]["reason"], first.close_code) == ("replaced", 1008)
    said_then = await said(second, TALK)
    await second.send_json({"type": "stop"})
    await reader.until("room", state="break")
    last_words = next(event["text"] for event in events if event["type"] == "final")
    assert reader.texts == {session: [said_first["text"], last_words], other: [said_then["text"]]}


async def test_on_a_full_server_who_takes_a_room_over_gets_the_slots_of_the_one_that_ends(
    start_server: StartServer,
) -> None:
    """A second publisher learns that the room is taken, which it can change, and not that the server is full."""
    client = await start_server(max_streams=2)
    sessions = client.app[SERVICES].sessions
    apart = {"channels": 2, "channel_mode": "separate"}
    first = await enter(client, **apart)
    await read_event(first)
    for room, status in (("other", 503), (NAME, 426)):
        assert (await client.get("/v1/stream", params={"room": room})).status == status
    with pytest.raises(WSServerHandshakeError, match="503"):
        await enter(client, take_over=True)  # an address without the room gives no right
    assert await refusal_of(await enter(client, in_address=True)) == "room_taken"
    wrong = {"in_address": True, "take_over": True}
    assert await refusal_of(await enter(client, secret="another secret than that", **wrong)) == "wrong_token"
    assert await refusal_of(await enter(client, language="tlh", **wrong)) == "unsupported_language"
    assert await refusal_of(await enter(client, channels=3, channel_mode="separate", **wrong)) == "unsupported_channels"
    assert len(sessions) == 2
    await said(first, TALK + TALK)  # none of them cost anybody anything

    second = await enter(client, **apart, in_address=True, take_over=True)
    assert (await read_event(second))["type"] == "ready"
    assert (await read_to_the_close(first))[-1]["reason"] == "replaced"
    assert len(sessions) == 2
    third = await enter(client, in_address=True, take_over=True)  # with one channel
    assert (await read_event(third))["type"] == "ready"
    assert len(sessions) == 1
    other = await enter(client, name="other")
    assert (await read_event(other))["type"] == "ready"
    # A client that has named a room, and opens a stream elsewhere, needs a slot like everybody.
    stranger = await client.ws_connect("/v1/stream", params={"room": NAME})
    await stranger.send_json({"type": "start"})
    [refusal] = await read_to_the_close(stranger)
    assert (refusal["code"], stranger.close_code) == ("overloaded", 1013)


@pytest.mark.parametrize("noticed", [True, False])
async def test_a_publisher_is_not_refused_by_its_own_former_session(client: Client, *, noticed: bool) -> None:
    """This does not depend on whether the server has noticed the loss. Its last words are in the part before."""
    first = await enter(client)
    ready = await read_event(first)
    await first.send_bytes(SPEECH)
    await read_until(first, "speech_start")
    reader = await RoomReader(client).connect()
    if noticed:
        first._writer.transport.abort()
        await reader.until("room", away=True)
    token = ready["resume_token"]
    assert await refusal_of(await enter(client, former=token[::-1])) == "room_taken"
    assert await refusal_of(await enter(client, former=token, secret="another secret than that")) == "wrong_token"
    second = await enter(client, former=token)
    other = (await read_event(second))["session"]
    assert (await reader.until("end"))["reason"] == "replaced"
    await said(second, TALK)
    await second.send_json({"type": "stop"})
    await reader.until("room", state="break")
    assert list(reader.texts) == [ready["session"], other]


async def test_a_publisher_may_begin_the_next_part_as_soon_as_the_last_one_ends(client: Client) -> None:
    """A page that was paused need not wait until the last final is out, nor until its old connection is closed."""
    first = await enter(client)
    await read_event(first)
    await first.send_bytes(TALK)
    await first.send_json({"type": "stop"})
    await first.send_json({"type": "ping", "id": 1})
    await read_until(first, "pong")
    second = await enter(client)
    assert (await read_event(second))["type"] == "ready"


async def test_readers_stay_for_the_next_part_when_another_process_has_changed_the_room_meanwhile(
    start_server: StartServer, tmp_path: Path
) -> None:
    client = await start_server(store=StoreConfig(str(tmp_path / "store.db")))
    services = client.app[SERVICES]
    await put(client)
    reader = await RoomReader(client).connect()
    texts = []
    for n in range(2):
        socket = await enter(client)
        await read_event(socket)
        texts.append((await said(socket, TALK))["text"])
        changed = replace(await services.store.room(NAME), title=f"Day {n}")
        await written(partial(services.store.put_room, changed))
        services.rooms.let_go(NAME)
        await reader.until("room", title=f"Day {n}")
        await socket.send_json({"type": "stop", "end_room": n == 1})
        await read_to_the_close(socket)
    await reader.until("room", state="ended")
    assert [text for [text] in reader.texts.values()] == texts


async def test_readers_stay_where_an_event_has_begun_that_is_on_its_way_to_the_store(client: Client) -> None:
    socket = await enter(client)
    await read_event(socket)
    reader = await RoomReader(client).connect()
    room = await client.app[SERVICES].rooms.find(NAME)
    room.move_on()
    room.update(replace(room.about, event=room.about.event - 1), [])
    await socket.send_json({"type": "stop"})
    await reader.until("room", state="break")
    texts = await spoken(client, end_room=True)
    await reader.until("room", state="ended")
    assert list(reader.texts.values()) == [texts]


async def test_an_ended_room_goes_on_when_its_publisher_speaks_again(client: Client) -> None:
    await put(client, title="Talk", state="ended")
    assert (await room_of(client))["state"] == "ended"
    reader = await RoomReader(client).connect()
    assert [event["state"] for event in await read_to_the_close(reader.socket)] == ["ended"]
    socket = await enter(client)
    await read_event(socket)
    assert (await room_of(client))["state"] == "live"
    await socket.send_json({"type": "stop"})
    await read_to_the_close(socket)
    assert (await room_of(client))["state"] == "break"
    assert (await put(client, state="ended"))["state"] == "ended"


async def test_readers_see_that_the_publisher_is_away_and_back(client: Client) -> None:
    socket = await enter(client)
    ready = await read_event(socket)
    reader = await RoomReader(client).connect()
    socket._writer.transport.abort()
    away = await reader.until("room", away=True)
    assert (away["state"], away["session"]) == ("live", ready["session"])
    assert await refusal_of(await enter(client)) == "room_taken"  # for as long as they may come back
    await resume(client, ready, last_seq=1)
    await reader.until("room", away=False)


async def test_a_reader_who_comes_back_gets_exactly_what_came_meanwhile(client: Client) -> None:
    socket = await enter(client)
    first = (await read_event(socket))["session"]
    reader = await RoomReader(client).connect()
    texts = [(await said(socket, TALK))["text"]]
    await reader.until("final")
    await reader.socket.close()
    texts.append((await said(socket, TALK))["text"])
    await reader.connect()
    await reader.until("final")
    assert (reader.n_snapshots, reader.texts) == (1, {first: texts})
    await reader.socket.close()
    texts.append((await said(socket, TALK))["text"])
    await socket.send_json({"type": "stop"})
    await read_to_the_close(socket)
    # The part has ended, and another one has begun.
    socket = await enter(client)
    second = (await read_event(socket))["session"]
    await reader.connect()
    more = (await said(socket, TALK))["text"]
    while second not in reader.texts:
        await reader.next()
    assert (reader.n_snapshots, reader.texts) == (2, {first: texts, second: [more]})
    # A cursor of nowhere gets everything again.
    stranger = RoomReader(client)
    stranger.cursor = "0-0"
    await stranger.connect()
    while second not in stranger.texts:
        await stranger.next()
    assert stranger.texts == reader.texts


@pytest.fixture
def next_server(start_server: StartServer, tmp_path: Path) -> Callable[[], Awaitable[Client]]:
    """Start a server on the store of the one before."""
    return lambda: start_server(store=StoreConfig(str(tmp_path / "transcripts.db")))


async def stopped(client: Client, *sockets: ClientWebSocketResponse) -> list[list[dict[str, Any]]]:
    """Stop a server in order; return what each of these was still sent."""
    stopping = asyncio.ensure_future(client.server.close())
    received = [await read_to_the_close(socket) for socket in sockets]
    await stopping
    assert [socket.close_code for socket in sockets] == [1012] * len(sockets)
    return received


async def test_an_orderly_restart_in_mid_part_costs_and_doubles_no_word(
    next_server: Callable[[], Awaitable[Client]],
) -> None:
    before = await next_server()
    token = (await put(before, private=True))["reader_token"]
    socket = await enter(before)
    ready = await read_event(socket)
    reader = await RoomReader(before, token=token).connect()
    texts = [(await said(socket, TALK))["text"]]
    await reader.until("final")
    await socket.send_bytes(SPEECH)  # in mid-sentence
    await read_until(socket, "speech_start")
    waiting = await enter(before, name="other")
    await read_event(waiting)
    await waiting.send_json({"type": "stop"})
    await read_to_the_close(waiting)
    in_a_break = await before.ws_connect("/v1/rooms/other/watch")

    events, seen, _ = await stopped(before, socket, reader.socket, in_a_break)
    assert [event["type"] for event in events if event["type"] in ("final", "end")] == ["final"]
    assert [event["type"] for event in seen if event["type"] in ("final", "end")] == ["final"]
    texts.append(next(event["text"] for event in events if event["type"] == "final"))
    last_seq = events[-1]["seq"]

    after = await next_server()
    async with after.get(f"/v1/sessions/{ready['session']}/transcript.txt") as response:
        assert response.status == 401
    reader = RoomReader(after, token=token, cursor=reader.cursor)
    await reader.connect()
    back = await reader.until("room")
    assert (back["state"], back["away"], back["session"]) == ("live", True, ready["session"])
    socket = await resume(after, ready, last_seq)
    again = await read_event(socket)
    assert again["session"] == ready["session"]
    assert again["room"] == {"name": "pycon"}  # this server has no secret, and needs none
    assert again["private"]
    assert "reader_token" not in again
    assert again["received_ms"] >= (2 * len(SPEECH) + len(PAUSE)) // 32 - 20  # nothing is missing
    texts.append((await said(socket, PAUSE + TALK))["text"])
    await socket.send_json({"type": "stop"})
    assert (await read_to_the_close(socket))[-1]["reason"] == "stop"
    assert (await reader.until("room", state="break"))["parts"][0]["state"] == "ended"
    assert reader.texts == {ready["session"]: texts}
    assert (await room_of(after, "other"))["state"] == "break"


async def test_a_part_that_a_restart_has_left_and_another_publisher_takes_over_has_ended(
    next_server: Callable[[], Awaitable[Client]],
) -> None:
    before = await next_server()
    socket = await enter(before)
    session = (await read_event(socket))["session"]
    await said(socket, TALK)
    await stopped(before, socket)
    after = await next_server()
    assert await refusal_of(await enter(after)) == "room_taken"
    reader = await RoomReader(after).connect()
    await read_event(await enter(after, take_over=True))
    assert (await reader.until("end"))["reason"] == "replaced"
    async with after.get(f"/v1/sessions/{session}") as response:
        assert (await response.json())["state"] == "ended"


async def test_a_session_without_a_room_ends_with_its_server(next_server: Callable[[], Awaitable[Client]]) -> None:
    client = await next_server()
    alone = await client.ws_connect("/v1/stream")
    await alone.send_json({"type": "start"})
    await read_event(alone)
    stopping = asyncio.ensure_future(client.server.close())
    end = (await read_to_the_close(alone))[-1]
    assert (end["type"], end["reason"], alone.close_code) == ("end", "draining", 1001)
    await stopping


async def test_a_part_whose_finals_take_too_long_for_a_stop_goes_on_with_the_next_server(
    start_server: StartServer, tmp_path: Path
) -> None:
    """The audio without a final is asked for again."""
    store = StoreConfig(str(tmp_path / "transcripts.db"))
    before = await start_server("delay 5", store=store, drain_timeout_s=1.2)
    socket = await enter(before, partials=False)
    ready = await read_event(socket)
    await socket.send_bytes(TALK)
    await read_until(socket, "speech_end")
    [events] = await stopped(before, socket)
    assert not {"final", "end", "error"} & {event["type"] for event in events}
    assert not before.app[SERVICES].sessions.overran
    socket = await resume(await start_server(store=store), ready, events[-1]["seq"] if events else 3)
    again = await read_event(socket)
    assert again["received_ms"] < 400
    assert (await said(socket, TALK[again["received_ms"] * 32 :]))["utterance"] == 0


async def test_every_connection_of_a_part_may_come_back_after_a_stop(
    next_server: Callable[[], Awaitable[Client]],
) -> None:
    """Also one that has only named its session, and one that a forced stop closes at once."""
    client = await next_server()
    socket = await enter(client)
    session = (await read_event(socket))["session"]
    claiming = await client.ws_connect("/v1/stream", params={"resume": session})
    sessions = client.app[SERVICES].sessions
    await eventually(lambda: session in sessions.claims._claims)
    closing = asyncio.ensure_future(sessions.close())
    for each in (socket, claiming):
        await read_to_the_close(each)
        assert each.close_code == 1012
    await closing
    late = await client.ws_connect("/v1/stream", params={"resume": session})
    await eventually(lambda: session in sessions.claims._claims)
    await stopped(client, late)
