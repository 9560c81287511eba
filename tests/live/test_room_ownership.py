"""Servers that share a database: one publisher speaks in a room at a time, whichever server the others come to."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import m3u8
import pytest
from aiohttp import ClientWebSocketResponse

from livecaption.delivery import sinks
from livecaption.delivery.destination import Destination
from livecaption.delivery.sources import RoomSource
from livecaption.server.config import HttpLimits
from livecaption.server.services import SERVICES
from livecaption.store import asking
from livecaption.store.config import StoreConfig
from tests.live.test_connection import resume
from tests.support.eventually import eventually
from tests.support.postgresql import Cluster
from tests.support.receivers import CaptionReceiver, receiving
from tests.support.rooms import NAME, TALK, RoomReader, enter, put, room_of, said, spoken
from tests.support.serving import SPEECH, Client, StartServer, read_event, read_to_the_close, read_until

Serve = Callable[..., Awaitable[Client]]


@pytest.fixture
def serve(client: Client, start_server: StartServer, cluster: Cluster) -> Serve:
    """Start one more server with the same database. The shared `client` has started the first worker."""
    store = StoreConfig(cluster.empty_database())
    return lambda **settings: start_server(store=store, **settings)


async def refusal_of(socket: ClientWebSocketResponse) -> str:
    [error] = await read_to_the_close(socket)
    return str(error["code"])


async def stop(socket: ClientWebSocketResponse) -> list[dict[str, Any]]:
    await socket.send_json({"type": "stop"})
    return await read_to_the_close(socket)


async def test_a_second_publisher_is_refused_at_every_server_and_nobody_notices(serve: Serve) -> None:
    one, other = await serve(), await serve()
    first = await enter(one)
    await read_event(first)
    await said(first, TALK)
    assert await refusal_of(await enter(other)) == "room_taken"
    assert await refusal_of(await enter(other, in_address=True)) == "room_taken"
    assert await refusal_of(await enter(other, secret="another secret than that", take_over=True)) == "wrong_token"
    assert await refusal_of(await enter(other, language="tlh", take_over=True)) == "unsupported_language"
    assert await refusal_of(await enter(other, private=True, take_over=True)) == "invalid_message"
    assert await refusal_of(await enter(other, former="of somebody else")) == "room_taken"
    assert (await said(first, TALK))["utterance"] == 1
    assert (await stop(first))[-1]["reason"] == "stop"


async def test_a_publisher_takes_a_room_over_from_another_server_which_sends_the_last_words(serve: Serve) -> None:
    one, other = await serve(), await serve()
    first = await enter(one)
    session = (await read_event(first))["session"]
    await first.send_bytes(SPEECH)
    await read_until(first, "speech_start")
    second = await enter(other, take_over=True)
    ready = await read_event(second)
    assert ready["type"] == "ready"
    events = await read_to_the_close(first)
    assert [event["type"] for event in events if event["type"] in ("final", "end")] == ["final", "end"]
    assert (events[-1]["reason"], first.close_code) == ("replaced", 1008)
    assert await refusal_of(await enter(one)) == "room_taken"
    await said(second, TALK)
    await stop(second)
    parts = (await room_of(other))["parts"]
    assert [part["session"] for part in parts] == [session, ready["session"]]  # of one event


@pytest.mark.parametrize("keep", [True, False])
async def test_a_publisher_is_not_refused_because_of_its_own_session_at_another_server(
    serve: Serve, *, keep: bool
) -> None:
    one, other = await serve(), await serve()
    first = await enter(one, keep=keep)
    ready = await read_event(first)
    first._writer.transport.abort()
    again = await enter(other, former=ready["resume_token"], keep=keep)
    assert (await read_event(again))["type"] == "ready"
    assert await refusal_of(await enter(one)) == "room_taken"
    await again.close()


async def test_the_next_part_begins_at_another_server_as_soon_as_one_has_stopped(serve: Serve) -> None:
    servers = [await serve(), await serve()]
    sessions = []
    for n in range(4):
        socket = await enter(servers[n % 2])
        sessions.append((await read_event(socket))["session"])
        await said(socket, TALK)
        await stop(socket)
    assert [part["session"] for part in (await room_of(servers[0]))["parts"]] == sessions


async def test_polls_get_the_parts_of_all_servers_at_any_of_them(serve: Serve) -> None:
    servers = [await serve(), await serve(), await serve()]
    texts = [text for n in range(3) for text in await spoken(servers[n % 2], 2)]
    socket = await enter(servers[0])
    await read_event(socket)
    texts.append((await said(socket, TALK))["text"])  # this part goes on
    for server in servers:
        words: list[str] = []
        last = 0
        async with asyncio.timeout(10):
            while words != " ".join(texts).split():
                async with server.get("/captions", params={"event": NAME, "last": last}) as response:
                    line = await response.json()
                last, words = line["lastPosition"], [*words, *line["content"].split()]
    await stop(socket)


async def test_players_get_the_same_segments_of_all_parts_at_each_server(serve: Serve) -> None:
    servers = [await serve(), await serve(), await serve()]
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 20))
    for n in range(3):
        await spoken(servers[n % 2])

    async def segments(server: Client) -> dict[str, str]:
        texts = {}
        async with server.get(f"/v1/rooms/{NAME}/captions.m3u8", params={"start": began, "duration": 2}) as response:
            playlist = m3u8.loads(await response.text())
        for segment in playlist.segments:
            async with server.get(f"/v1/rooms/{NAME}/{segment.uri}") as response:
                assert response.status == 200
                texts[str(segment.uri)] = await response.text()
        return texts

    at_home: dict[str, str] = {}
    async with asyncio.timeout(20):
        while not any("-->" in text for text in at_home.values()):
            at_home = await segments(servers[0])
            await asyncio.sleep(0.2)  # time itself is waited for
    for server in servers[1:]:
        elsewhere = await segments(server)
        assert at_home.keys() & elsewhere.keys()
        assert {uri: elsewhere.get(uri, text) for uri, text in at_home.items()} == at_home


async def test_a_publisher_resumes_its_part_at_another_server_and_the_room_comes_with_it(serve: Serve) -> None:
    servers = [await serve(), await serve()]
    socket = await enter(servers[0])
    ready = await read_event(socket)
    caption = await said(socket, TALK)
    for n in range(1, 4):
        former = socket
        socket = await resume(servers[n % 2], ready, caption["seq"])
        assert (await read_event(socket))["session"] == ready["session"]
        await read_to_the_close(former)
        caption = await said(socket, TALK)
        assert await refusal_of(await enter(servers[(n + 1) % 2])) == "room_taken"
    assert [part["session"] for part in (await room_of(servers[1]))["parts"]] == [ready["session"]]
    await socket.close()


async def test_readers_of_a_room_and_of_its_part_get_captions_at_once_from_the_server_that_takes_it_over(
    serve: Serve,
) -> None:
    one, other = await serve(), await serve(http=HttpLimits(heartbeat_s=1000.0))
    former = await enter(one)
    ready = await read_event(former)
    caption = await said(former, TALK)
    readers = [await RoomReader(other, name).connect() for name in (NAME, ready["session"])]
    for reader in readers:
        await reader.until("snapshot")
    socket = await resume(other, ready, caption["seq"])
    await read_event(socket)
    await read_to_the_close(former)
    for n in range(2):
        caption = await said(socket, TALK)
        for reader in readers:
            await reader.until("final", text=caption["text"])
        if n == 0:
            readers.append(await RoomReader(other, ready["session"]).connect())
            await readers[-1].until("snapshot")
    await stop(socket)
    for reader in readers:
        await reader.until("end")
        await reader.socket.close()


async def test_a_session_whose_room_was_taken_over_does_not_speak_again_at_another_server(serve: Serve) -> None:
    one, other = await serve(), await serve()
    first = await enter(one)
    ready = await read_event(first)
    caption = await said(first, TALK)
    second = await enter(other, take_over=True)
    await read_event(second)
    await read_to_the_close(first)
    again = await resume(other, ready, caption["seq"])
    assert await refusal_of(again) in ("unknown_session", "overloaded")
    assert (await said(second, TALK))["type"] == "final"
    await second.close()


async def test_a_server_that_did_not_answer_publishes_nothing_more_of_its_part(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ASK_S", 0.05)
    one, other = await serve(), await serve()
    first = await enter(one)
    await read_event(first)
    await said(first, TALK)
    one.app[SERVICES].store._presence._asked_for_room = lambda *_: None
    assert await refusal_of(await enter(other)) == "room_taken"
    second = await enter(other, take_over=True)
    assert (await read_event(second))["type"] == "ready"
    await first.send_bytes(TALK)
    left = await read_to_the_close(first)
    assert ([event for event in left if event["type"] in ("final", "end")], first.close_code) == ([], 1008)
    assert one.app[SERVICES].rooms.speaker_in(NAME) is None
    await second.close()


async def test_of_two_publishers_who_come_to_two_servers_at_once_one_speaks(serve: Serve) -> None:
    servers = [await serve(), await serve()]
    for n in range(3):
        sockets = await asyncio.gather(*(enter(server, f"room{n}") for server in servers))
        answers = await asyncio.gather(*(read_event(socket) for socket in sockets))
        kinds = sorted(answer.get("code") or answer["type"] for answer in answers)
        assert kinds in (["ready", "room_taken"], ["overloaded", "ready"])
        for socket in sockets:
            await socket.close()


async def test_a_room_is_made_changed_and_ended_at_any_server(serve: Serve) -> None:
    one, other = await serve(), await serve()
    await put(one, title="PyCon")
    await put(other, title="PyCon 2026")
    socket = await enter(one)
    await read_event(socket)
    await said(socket, TALK)
    await put(other, title="PyCon, day two")
    await eventually(lambda: one.app[SERVICES].rooms._rooms[NAME].about.title == "PyCon, day two")
    await put(other, state="ended")
    assert (await read_to_the_close(socket))[-1]["reason"] == "stop"
    assert (await room_of(one))["state"] == "ended"
    await put(other, status=401, secret="another secret than that")


async def test_a_private_room_has_its_reader_token_at_any_server(serve: Serve) -> None:
    one, other = await serve(), await serve()
    made = await put(one, private=True)
    for client in (one, other):
        async with client.get(f"/v1/rooms/{NAME}") as response:
            assert response.status == 401
        async with client.get(f"/v1/rooms/{NAME}", params={"reader_token": made["reader_token"]}) as response:
            assert response.status == 200
    socket = await enter(other)
    assert (await read_event(socket))["room"]["reader_token"] == made["reader_token"]
    await socket.close()


async def test_a_database_that_is_away_is_named_to_a_publisher_and_ends_nobodys_part(
    serve: Serve, cluster: Cluster
) -> None:
    one, other = await serve(), await serve()
    first = await enter(one)
    await read_event(first)
    cluster.stop(signal.SIGQUIT)
    try:
        assert await refusal_of(await enter(other, take_over=True)) == "store_failed"
    finally:
        cluster.start()
    assert one.app[SERVICES].rooms.speaker_in(NAME) is not None
    await eventually(lambda: one.app[SERVICES].store.figures.working)
    await first.close()


@pytest.fixture
async def receiver() -> AsyncIterator[CaptionReceiver]:
    async with receiving() as running:
        yield running


async def test_a_sink_gets_the_captions_of_a_room_once_wherever_its_parts_run(
    serve: Serve, receiver: CaptionReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays at the server where it was attached, and gets the captions of other servers at once."""
    monkeypatch.setattr(sinks, "LOOK_S", 1000.0)
    servers = [await serve(), await serve()]
    services = servers[0].app[SERVICES]
    await services.sinks.attach(RoomSource(NAME, services.rooms), "zoom", Destination("zoom", receiver.url))
    texts = []
    former = None
    for n in range(1, 5):
        socket = await enter(servers[n % 2], take_over=True)
        ready = await read_event(socket)
        if former is not None:
            await read_to_the_close(former)
        caption = await said(socket, TALK)
        texts.append(caption["text"])
        await receiver.took(len(texts))
        if n == 2:  # this part moves
            former, socket = socket, await resume(servers[1], ready, caption["seq"])
            await read_event(socket)
            await read_to_the_close(former)
            texts.append((await said(socket, TALK))["text"])
            await receiver.took(len(texts))
        former = socket
    await stop(socket)
    assert receiver.texts == texts
