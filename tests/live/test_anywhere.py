"""Servers that share a database: a session is read at any of them, whichever has it."""

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientWebSocketResponse, WSMsgType

from livecaption.live import following
from livecaption.server.services import SERVICES
from livecaption.store.config import StoreConfig
from livecaption.store.postgresql.broadcast import NotifyBroadcast
from tests.live.test_connection import resume
from tests.live.test_takeover import begin, die, note_conversions
from tests.support.eventually import eventually
from tests.support.postgresql import Cluster
from tests.support.rooms import NAME, TALK, enter, said
from tests.support.serving import PAUSE, SPEECH, Client, StartServer, read_event, read_to_the_close, read_until

Serve = Callable[..., Awaitable[Client]]


@pytest.fixture
def serve(client: Client, start_server: StartServer, cluster: Cluster) -> Serve:
    """Start one more server with the same database; see `test_takeover`."""
    store = StoreConfig(cluster.empty_database())
    return lambda **settings: start_server(store=store, **settings)


async def server_sent(response: ClientResponse) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
    """Yield the events of a reader with their cursors."""
    assert response.status == 200, await response.text()
    cursor = ""
    async for line in response.content:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "id":
            cursor = value
        elif name == "data":
            yield cursor, json.loads(value)


async def read(client: Client, session: str, until: str = "end", **settings: Any) -> list[tuple[str, dict[str, Any]]]:
    """Read along up to an event of this type."""
    events = []
    async with (
        client.get(f"/v1/sessions/{session}/events", **settings) as response,
        aclosing(server_sent(response)) as sent,
    ):
        async for each in sent:
            events.append(each)
            if each[1]["type"] == until:
                break
    return events


async def say(socket: ClientWebSocketResponse) -> dict[str, Any]:
    await socket.send_bytes(SPEECH + PAUSE)
    return await read_until(socket, "final")


async def stop(socket: ClientWebSocketResponse) -> None:
    await socket.send_json({"type": "stop"})
    await read_until(socket, "end")


async def killed(server: Client, other: Client) -> None:
    """Let a server leave its sessions, and send nothing more, as if it was killed."""
    broadcast = server.app[SERVICES].store.broadcast
    assert isinstance(broadcast, NotifyBroadcast)
    await broadcast.close()
    await die(server, other)


async def test_a_reader_at_another_server_gets_the_same_events_with_the_same_cursors(serve: Serve) -> None:
    one, other = await serve(), await serve()
    socket, ready, _ = await begin(one)
    reading = [asyncio.ensure_future(read(server, ready["session"])) for server in (one, other)]
    await eventually(lambda: all(server.app[SERVICES].sessions.n_readers for server in (one, other)))
    for _ in range(3):
        await say(socket)
    await stop(socket)
    at_home, elsewhere = await asyncio.gather(*reading)
    assert [event["type"] for _, event in elsewhere if event["type"] in ("snapshot", "final", "end")] == [
        *("snapshot", "final", "final", "final", "end")
    ]
    assert elsewhere == at_home


async def test_partials_arrive_at_another_server_while_people_speak(serve: Serve) -> None:
    one, other = await serve(), await serve()
    socket = await one.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "title": "Talk"})
    ready = await read_event(socket)
    await socket.send_bytes(SPEECH)
    await read_until(socket, "partial")
    reader = await other.ws_connect(f"/v1/sessions/{ready['session']}/watch")
    snapshot = await read_event(reader)
    assert (snapshot["title"], snapshot["finals"], snapshot["partial"]["utterance"]) == ("Talk", [], 0)
    await socket.send_bytes(SPEECH)
    assert (await read_until(reader, "partial"))["revision"] > snapshot["partial"]["revision"]
    await stop(socket)
    await read_until(reader, "end")
    await reader.receive()
    assert reader.close_code == 1000


async def test_a_reader_goes_on_when_a_third_server_takes_the_session_over(serve: Serve) -> None:
    one, other, third = await serve(), await serve(), await serve()
    socket, ready, caption = await begin(one)
    reading = asyncio.ensure_future(read(other, ready["session"]))
    await eventually(lambda: other.app[SERVICES].sessions.n_readers)
    again = await resume(third, ready, caption["seq"])
    await read_event(again)
    following_caption = await say(again)
    await stop(again)
    events = [event for _, event in await reading]
    snapshots = [event for event in events if event["type"] == "snapshot"]
    assert snapshots[-1]["epoch"] != snapshots[0]["epoch"]
    assert [final["utterance"] for final in snapshots[-1]["finals"]] in ([0], [0, 1])
    finals = [event["text"] for event in events if event["type"] == "final"]
    assert finals in ([following_caption["text"]], [])
    assert events[-1]["utterances"] == 2
    await socket.close()


async def test_a_reader_goes_on_when_its_own_server_takes_the_session_over(serve: Serve) -> None:
    one, other = await serve(), await serve()
    socket, ready, caption = await begin(one)
    reading = asyncio.ensure_future(read(other, ready["session"]))
    await eventually(lambda: other.app[SERVICES].sessions.n_readers)
    again = await resume(other, ready, caption["seq"])
    await read_event(again)
    following_caption = await say(again)
    await stop(again)
    kinds = [event["type"] for _, event in await reading if event["type"] in ("snapshot", "final", "end")]
    assert kinds == ["snapshot", "snapshot", "final", "end"]
    (final,) = [event for _, event in await reading if event["type"] == "final"]
    assert final["text"] == following_caption["text"]
    assert other.app[SERVICES].anywhere._followed == {}
    await socket.close()


async def test_readers_of_a_session_whose_server_has_died_wait_for_the_next_one(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "SILENT_S", 0.05)
    one, other, third = await serve(), await serve(), await serve()
    socket, ready, caption = await begin(one)
    reading = asyncio.ensure_future(read(other, ready["session"]))
    await eventually(lambda: other.app[SERVICES].sessions.n_readers)
    await killed(one, other)
    # A reader that comes now gets all finals so far, and waits too.
    late = await third.ws_connect(f"/v1/sessions/{ready['session']}/watch")
    assert [final["text"] for final in (await read_event(late))["finals"]] == [caption["text"]]
    again = await resume(other, ready, caption["seq"])
    await read_event(again)
    await say(again)
    await stop(again)
    assert (await reading)[-1][1]["utterances"] == (await read_until(late, "end"))["utterances"] == 2
    await socket.close()


async def test_readers_leave_a_session_that_nobody_resumes(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SILENT_S", 0.05)
    one, other = await serve(), await serve(resume_window_s=0.5)
    socket, ready, _ = await begin(one)
    reader = await other.ws_connect(f"/v1/sessions/{ready['session']}/watch")
    await read_event(reader)
    await killed(one, other)
    while (await reader.receive(timeout=20)).type is WSMsgType.TEXT:
        pass
    assert reader.close_code == 1012
    async with other.get(f"/v1/sessions/{ready['session']}/events") as response:
        assert response.status == 404
    await socket.close()


async def test_readers_of_a_room_do_not_read_again_what_was_said_in_a_part_to_which_nobody_comes_back(
    serve: Serve, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server has died, and its publisher has stayed away for longer than the resume window."""
    one, other = await serve(), await serve()
    socket = await enter(one)
    await read_event(socket)
    caption = await said(socket, TALK)
    await killed(one, other)
    cluster.execute("UPDATE resumption SET interrupted_at_ms = interrupted_at_ms - 3600000")
    threads = note_conversions(monkeypatch)
    readers = [await other.ws_connect(f"/v1/rooms/{NAME}/watch") for _ in range(3)]
    for reader in readers:
        assert [final["text"] for final in (await read_until(reader, "snapshot"))["finals"]] == [caption["text"]]
    assert len(threads) == 1  # once for all of them
    for each in (socket, *readers):
        await each.close()


async def test_finals_of_a_session_elsewhere_are_converted_beside_the_event_loop(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server runs, or has died."""
    one, other, third = await serve(), await serve(), await serve()
    socket, ready, caption = await begin(one)
    threads = note_conversions(monkeypatch)
    [(_, snapshot)] = await read(other, ready["session"], until="snapshot")
    await killed(one, other)
    [(_, alike)] = await read(third, ready["session"], until="snapshot")
    assert [[final["text"] for final in each["finals"]] for each in (snapshot, alike)] == 2 * [[caption["text"]]]
    assert threads
    assert threading.current_thread() not in threads
    await socket.close()


async def test_a_private_session_is_read_elsewhere_with_its_reader_token_alone(serve: Serve) -> None:
    one, other = await serve(), await serve()
    socket = await one.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "private": True})
    ready = await read_event(socket)
    await say(socket)
    path = f"/v1/sessions/{ready['session']}"
    for place in ("/events", "/transcript.txt", "/watch"):
        for token in ({}, {"reader_token": "guess"}):
            async with other.get(path + place, params=token) as response:
                assert (response.status, (await response.json())["code"]) == (401, "wrong_token"), place
    token = {"reader_token": ready["reader_token"]}
    (snapshot,) = await read(other, ready["session"], until="snapshot", params=token)
    async with other.get(f"{path}/transcript.txt", params=token) as response:
        assert (await response.text()).strip() == snapshot[1]["finals"][0]["text"]
    await stop(socket)


async def test_transcripts_of_a_running_session_are_the_same_at_each_server(serve: Serve) -> None:
    one, other = await serve(), await serve()
    socket, ready, _ = await begin(one)
    vtt = b""
    for n in range(2, 4):
        await say(socket)
        mirrored = other.app[SERVICES].anywhere.known(ready["session"])
        await eventually(lambda: mirrored is None or len(mirrored.hub.finals) == n)  # noqa: B023
        for form in ("json", "txt", "vtt", "srt"):
            path = f"/v1/sessions/{ready['session']}/transcript.{form}"
            texts = []
            for server in (one, other):
                async with server.get(path) as response:
                    texts.append(await response.read())
            assert texts[0] == texts[1], form
        async with other.get(f"/v1/sessions/{ready['session']}/transcript.vtt") as response:
            assert (await response.read()).startswith(vtt)
            vtt = await response.read()
    await stop(socket)


async def test_polls_and_players_find_a_session_of_another_server(serve: Serve) -> None:
    one, other = await serve(), await serve()
    socket, ready, caption = await begin(one)
    path = f"/v1/rooms/{ready['session']}/captions"
    async with other.get(path, params={"length": 200}) as response:
        line = await response.json()
        assert line["content"].split() == caption["text"].split()
    texts = []
    for server in (one, other):
        async with server.get(f"{path}.m3u8") as response:
            assert response.status == 200
            texts.append((await response.text()).splitlines()[:3])
    assert texts[0] == texts[1]
    later = await say(socket)
    last, text = line["lastPosition"], ""
    async with asyncio.timeout(10):
        while text.split() != later["text"].split():  # a line has some words of it
            async with other.get(path, params={"last": last}) as response:
                line = await response.json()
            last, text = line["lastPosition"], text + line["content"]
    await stop(socket)


async def test_a_session_that_is_renamed_elsewhere_has_the_new_title_at_each_server(serve: Serve) -> None:
    one, other, third = await serve(), await serve(), await serve()
    socket = await one.ws_connect("/v1/stream")
    await socket.send_json(
        {"type": "start", "title": "Talk", "channels": 2, "channel_mode": "separate", "speakers": True}
    )
    ready = await read_event(socket)
    stereo = b"".join(SPEECH[at : at + 2] * 2 for at in range(0, len(SPEECH), 2))
    await socket.send_bytes(stereo + bytes(2 * len(PAUSE)))
    await read_until(socket, "final")
    path = f"/v1/sessions/{ready['session']}"
    reader = await third.ws_connect(f"{path}/watch")
    await read_event(reader)
    async with other.patch(path, json={"title": "Lecture", "names": {"1": "Ada"}}) as response:
        assert response.status == 200, await response.text()
        assert (await response.json())["title"] == "Lecture"
    named = {"type": "name", "speaker": 1, "name": "Ada"}
    assert (await read_until(socket, "name")).items() >= named.items()
    assert (await read_until(reader, "name")).items() >= named.items()
    for server in (one, other, third):
        (snapshot,) = await read(server, ready["session"], until="snapshot")
        assert (snapshot[1]["title"], snapshot[1]["names"]) == ("Lecture", [{"speaker": 1, "name": "Ada"}])
    await stop(socket)


async def test_a_session_that_is_deleted_elsewhere_is_forgotten_at_each_server(serve: Serve) -> None:
    one, other, third = await serve(), await serve(), await serve()
    socket, ready, _ = await begin(one)
    path = f"/v1/sessions/{ready['session']}"
    reader = await third.ws_connect(f"{path}/watch")
    assert (await read_event(reader))["finals"]
    async with other.delete(path) as response:
        assert response.status == 204
    await eventually(lambda: one.app[SERVICES].sessions.known(ready["session"]).hub.forgotten)
    await eventually(lambda: third.app[SERVICES].anywhere.known(ready["session"]).hub.forgotten)
    later = await say(socket)
    assert (await read_until(reader, "final"))["text"] == later["text"]
    for server in (one, third):
        (snapshot,) = await read(server, ready["session"], until="snapshot")
        assert [final["text"] for final in snapshot[1]["finals"]] == [later["text"]]
    await stop(socket)
    assert (await read_until(reader, "end"))["type"] == "end"
    assert list(await other.app[SERVICES].store.finals(ready["session"])) == []


async def test_a_reader_gets_in_a_snapshot_what_it_lost_while_the_database_was_restarted(
    serve: Serve, cluster: Cluster
) -> None:
    one, other = await serve(), await serve()
    socket, ready, first = await begin(one)
    reader = await other.ws_connect(f"/v1/sessions/{ready['session']}/watch")
    await read_event(reader)
    cluster.stop()
    try:
        second = await say(socket)
    finally:
        cluster.start()
    third = await say(socket)
    texts: list[str] = []
    while len(texts) < 3:
        event = await read_event(reader)
        if event["type"] == "snapshot":
            texts = [final["text"] for final in event["finals"]]
        elif event["type"] == "final":
            texts.append(event["text"])
    assert texts == [first["text"], second["text"], third["text"]]
    await stop(socket)
    await read_until(reader, "end")


async def test_a_reader_whose_server_has_lost_its_connection_to_the_database_misses_nothing(
    serve: Serve, cluster: Cluster
) -> None:
    one, other = await serve(), await serve()
    socket, ready, first = await begin(one)
    reader = await other.ws_connect(f"/v1/sessions/{ready['session']}/watch")
    await read_event(reader)
    texts = [first["text"]]
    seen = list(texts)
    for _ in range(3):
        cluster.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'pg_noti[f]y|LISTE[N]'")
        texts.append((await say(socket))["text"])
    await stop(socket)
    while (event := await read_event(reader))["type"] != "end":
        if event["type"] == "snapshot":
            seen = [final["text"] for final in event["finals"]]
        elif event["type"] == "final":
            seen.append(event["text"])
    assert seen == texts


async def test_a_session_is_published_only_while_somebody_reads_it_elsewhere(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "SILENT_S", 0.05)
    monkeypatch.setattr(following, "LINGER_S", 0.1)
    one, other = await serve(), await serve()
    socket, ready, _ = await begin(one)
    published = one.app[SERVICES].anywhere._publications._tasks
    assert published == {}
    await read(other, ready["session"], until="snapshot")
    assert list(published) == [one.app[SERVICES].sessions.find(ready["session"]).hub]
    await eventually(lambda: other.app[SERVICES].anywhere.known(ready["session"]) is None)
    await stop(socket)
    await eventually(lambda: published == {})


async def test_a_session_that_has_come_back_is_published_although_its_former_publication_still_waits(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "SILENT_S", 1000)  # so that its finals are not read from the store
    one, other, third = await serve(), await serve(), await serve()
    socket, ready, caption = await begin(one)
    reader = await third.ws_connect(f"/v1/sessions/{ready['session']}/watch")
    await read_until(reader, "snapshot")
    publications = one.app[SERVICES].anywhere._publications
    [former] = publications._tasks
    publications._tasks[former].cancel()
    await asyncio.wait([publications._tasks[former]])
    waits = publications._tasks[former] = asyncio.ensure_future(asyncio.Event().wait())  # for a slow database
    again = await resume(other, ready, caption["seq"])
    await read_event(again)
    await read_to_the_close(socket)
    back = await resume(one, ready, caption["seq"])
    await read_event(back)
    spoken = await say(back)
    utterances: list[int] = []
    while spoken["utterance"] not in utterances:  # it comes by itself, or in the snapshot of a mended mirror
        event = await read_event(reader)
        finals = {"final": [event], "snapshot": event.get("finals", [])}.get(event["type"], [])
        utterances += [final["utterance"] for final in finals]
    waits.cancel()
    for each in (reader, again, back):
        await each.close()


async def test_an_unknown_session_is_found_at_no_server(serve: Serve) -> None:
    other = await serve()
    async with other.get("/v1/sessions/unknown/events") as response:
        assert (response.status, (await response.json())["code"]) == (404, "unknown_session")


async def test_a_session_that_is_over_is_read_at_any_server_up_to_its_end(serve: Serve) -> None:
    """Also by a reader with a position of the server that had it. A reader that has seen it all gets nothing more."""
    one, other = await serve(), await serve()
    socket, ready, _ = await begin(one)
    await say(socket)
    await stop(socket)
    [(position, at_home)] = await read(one, ready["session"], "snapshot")
    for headers in ({}, {"Last-Event-ID": position}):
        events = await read(other, ready["session"], headers=headers)
        assert [event["type"] for _, event in events] == ["snapshot", "end"]
        assert events[0][1]["finals"] == at_home["finals"]
        last, _ = events[-1]
        url = f"/v1/sessions/{ready['session']}/events"
        async with other.get(url, headers={"Last-Event-ID": last}) as response:
            assert response.status == 204


async def test_a_session_elsewhere_cannot_be_found_while_the_database_is_away(serve: Serve, cluster: Cluster) -> None:
    one, other = await serve(), await serve()
    socket, ready, _ = await begin(one)
    cluster.stop()
    try:
        async with other.get(f"/v1/sessions/{ready['session']}/events") as response:
            assert (response.status, (await response.json())["code"]) == (503, "store_failed")
        assert len(await read(one, ready["session"], until="snapshot")) == 1
    finally:
        cluster.start()
    assert len(await read(other, ready["session"], until="snapshot")) == 1
    await stop(socket)


async def test_a_session_that_begins_while_the_database_is_away_is_not_taken_for_deleted(
    serve: Serve, cluster: Cluster
) -> None:
    one = await serve()
    anywhere = one.app[SERVICES].anywhere
    await eventually(lambda: not anywhere._changes)
    cluster.stop()
    try:
        socket, ready, caption = await begin(one)
        anywhere.receive_change(None)
    finally:
        cluster.start()
    await eventually(lambda: not anywhere._changes, within_s=20)
    assert [final.text for final in one.app[SERVICES].sessions.find(ready["session"]).hub.finals] == [caption["text"]]
    assert [final.text for final in await one.app[SERVICES].store.finals(ready["session"])] == [caption["text"]]
    await stop(socket)


async def test_a_deletion_is_noticed_though_the_beginning_of_another_session_is_lost_which_is_not_taken_for_deleted(
    serve: Serve, cluster: Cluster
) -> None:
    one = await serve()
    anywhere, store, sessions = (getattr(one.app[SERVICES], name) for name in ("anywhere", "store", "sessions"))
    deleted = await begin(one)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store._writer, "_max_waiting", 0)
        unstored = await begin(one)
    assert store.figures.lost
    cluster.execute(f"DELETE FROM session WHERE id = '{deleted[1]['session']}' RETURNING number")
    anywhere.receive_change(None)  # the connection for messages was away meanwhile
    await eventually(lambda: not anywhere._changes, within_s=20)
    forgotten = [sessions.find(ready["session"]).hub.forgotten for _, ready, _ in (deleted, unstored)]
    assert forgotten == [True, False]
    for socket, *_ in (deleted, unstored):
        await stop(socket)
