"""Servers that share a database: a publisher resumes at any of them, and its session lives in one at a time."""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import WSServerHandshakeError

from livecaption.errors import StoreFailed
from livecaption.events import Final, SpeakerNamed
from livecaption.live.config import LiveConfig, SocketLimits
from livecaption.live.event_log import SEQS_PER_GENERATION
from livecaption.live.hub import Hub
from livecaption.recognition import SessionId
from livecaption.server.app import drain
from livecaption.server.services import SERVICES
from livecaption.store import asking, rows
from livecaption.store.config import StoreConfig
from livecaption.store.postgresql.store import PostgresqlStore
from livecaption.store.rows import InterruptedSession, SessionState
from livecaption.store.store import written
from tests.live.test_connection import resume
from tests.support.eventually import eventually
from tests.support.postgresql import Cluster
from tests.support.relay import relay_to_database
from tests.support.serving import (
    PAUSE,
    SPEECH,
    Client,
    StartServer,
    read_event,
    read_to_the_close,
    read_until,
)

Serve = Callable[..., Awaitable[Client]]


@pytest.fixture
def serve(client: Client, start_server: StartServer, cluster: Cluster) -> Serve:
    """Start one more server with the same database.

    The shared `client` has started the first worker of the process. That blocks the loop for seconds on a busy machine,
    in which the database would seem to be away.
    """
    store = StoreConfig(cluster.empty_database())
    return lambda **settings: start_server(store=store, **settings)


async def begin(client: Client) -> tuple:
    """Begin a session with one final. Return its connection, its `ready`, and the number of its newest event."""
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "partials": False})
    ready = await read_event(socket)
    await socket.send_bytes(SPEECH + PAUSE)
    caption = await read_until(socket, "final")
    return socket, ready, caption


async def stored(client: Client, session: str) -> list[tuple[int, str]]:
    finals = await client.app[SERVICES].store.finals(session)
    return [(final.utterance, final.text) for final in finals]


async def test_a_publisher_resumes_at_another_server_and_the_first_one_gives_the_session_up(serve: Serve) -> None:
    one, other = await serve(), await serve()
    socket, ready, caption = await begin(one)
    again = await resume(other, ready, caption["seq"])
    assert (await read_event(again))["received_ms"] >= caption["end_ms"]
    left = await read_to_the_close(socket)
    assert (socket.close_code, [event for event in left if event["type"] == "end"]) == (1008, [])
    assert one.app[SERVICES].sessions.known(ready["session"]) is None
    assert len(one.app[SERVICES].sessions) == 0
    assert len(other.app[SERVICES].sessions) == 1
    await again.send_bytes(SPEECH + PAUSE)
    following = await read_until(again, "final")
    assert (following["utterance"], following["seq"] > SEQS_PER_GENERATION) == (1, True)
    await again.send_json({"type": "stop"})
    assert (await read_to_the_close(again))[-1]["utterances"] == 2
    assert await stored(one, ready["session"]) == [(0, caption["text"]), (1, following["text"])]
    assert (await one.app[SERVICES].store.session(ready["session"])).state is SessionState.ENDED


async def test_a_session_that_is_given_up_while_a_server_starts_is_not_in_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its publisher would come back to a state that is older than its own."""
    read = PostgresqlStore.interrupted

    async def interrupted(store: PostgresqlStore, session_id: SessionId) -> InterruptedSession | None:
        found = await read(store, session_id)
        store._note_asked(session_id, uuid4())
        return found

    one, other = await serve(), await serve()
    socket, ready, caption = await begin(one)
    await die(one, other)
    with monkeypatch.context() as patched:
        patched.setattr(PostgresqlStore, "interrupted", interrupted)
        starting = await serve()
    assert starting.app[SERVICES].sessions.known(ready["session"]) is None
    again = await resume(other, ready, caption["seq"])
    assert (await read_event(again))["received_ms"] >= caption["end_ms"]
    await again.close()
    await socket.close()


async def test_a_server_starts_although_an_interrupted_session_cannot_be_read_and_its_publisher_goes_on(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After the crash of a server with many long sessions the database may be slow. Later ones are not tried then."""
    read = PostgresqlStore.interrupted
    tried: list[str] = []

    async def interrupted(store: PostgresqlStore, session_id: SessionId) -> InterruptedSession | None:
        tried.append(session_id)
        if len(tried) == 1:
            raise StoreFailed("the database does not answer")
        return await read(store, session_id)

    one, other = await serve(), await serve()
    begun = [await begin(one) for _ in range(3)]
    await die(one, other)
    monkeypatch.setattr(PostgresqlStore, "interrupted", interrupted)
    starting = await serve()
    assert tried == [begun[0][1]["session"]]
    assert "the database does not answer" in caplog.text
    assert len(starting.app[SERVICES].sessions) == 0
    for (socket, ready, caption), server in zip(begun, (starting, starting, other), strict=True):
        again = await resume(server, ready, caption["seq"])
        assert (await read_event(again))["received_ms"] >= caption["end_ms"]
        await again.close()
        await socket.close()


def note_conversions(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """Return the threads of all finals that are read from a store, and converted, from now on."""
    convert = rows.final_from_row
    threads: list[threading.Thread] = []

    def converted(row: Sequence[Any]) -> Final:
        threads.append(threading.current_thread())
        return convert(row)

    monkeypatch.setattr(rows, "final_from_row", converted)
    return threads


async def test_finals_of_a_session_that_goes_on_are_converted_beside_the_event_loop(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The finals of some hours would block it, also for sessions whose publishers speak."""
    one, other = await serve(), await serve()
    begun = [await begin(one) for _ in range(2)]
    threads = note_conversions(monkeypatch)
    _, ready, caption = begun[0]
    again = await resume(other, ready, caption["seq"])
    await read_event(again)
    await die(one, other)
    starting = await serve()
    assert len(starting.app[SERVICES].sessions) == 1
    assert len(threads) == 2
    assert threading.current_thread() not in threads
    for each in (again, *(socket for socket, *_ in begun)):
        await each.close()


async def test_a_publisher_who_resumes_is_not_refused_because_the_store_takes_long(
    client: Client, start_server: StartServer, cluster: Cluster
) -> None:
    address = cluster.empty_database()
    async with relay_to_database(address) as (network, by_relay):
        one = await start_server(store=StoreConfig(address))
        limits = LiveConfig(socket=SocketLimits(start_timeout_s=0.2))
        other = await start_server(store=StoreConfig(by_relay), live=limits)
        socket, ready, caption = await begin(one)
        network.hold()
        again = await resume(other, ready, caption["seq"])
        with pytest.raises(TimeoutError):
            await again.receive(timeout=0.6)
        network.release()
        assert (await read_event(again))["received_ms"] >= caption["end_ms"]
        await again.close()
        await socket.close()


async def test_a_session_goes_from_one_server_to_the_other_and_back(serve: Serve) -> None:
    servers = [await serve(), await serve()]
    socket, ready, caption = await begin(servers[0])
    said = [(0, caption["text"])]
    for n in range(1, 5):
        former = socket
        socket = await resume(servers[n % 2], ready, caption["seq"])
        assert (await read_event(socket))["type"] == "ready"
        await read_to_the_close(former)
        await socket.send_bytes(SPEECH + PAUSE)
        caption = await read_until(socket, "final")
        said.append((n, caption["text"]))
    assert await stored(servers[0], ready["session"]) == said
    await socket.close()


async def test_a_stranger_with_the_id_of_a_session_takes_nothing(serve: Serve) -> None:
    one, other = await serve(), await serve()
    socket, ready, _ = await begin(one)
    stranger = await resume(other, {**ready, "resume_token": "guess"}, 0)
    (refusal,) = await read_to_the_close(stranger)
    assert (refusal["code"], stranger.close_code) == ("wrong_token", 1008)
    stranger = await resume(other, {**ready, "session": "no such session"}, 0)
    assert [event["code"] for event in await read_to_the_close(stranger)] == ["unknown_session"]
    await socket.send_bytes(SPEECH + PAUSE)
    assert (await read_until(socket, "final"))["utterance"] == 1
    await socket.close()


async def test_a_full_server_refuses_before_the_upgrade_and_the_session_stays_where_it_is(serve: Serve) -> None:
    one, full = await serve(), await serve(max_streams=1)
    socket, ready, _ = await begin(one)
    own, _, _ = await begin(full)
    with pytest.raises(WSServerHandshakeError) as refusal:
        await resume(full, ready, 0)
    assert refusal.value.status == 503
    await socket.send_bytes(SPEECH + PAUSE)
    assert (await read_until(socket, "final"))["utterance"] == 1
    await socket.close()
    await own.close()


async def test_a_server_that_has_lost_a_session_sends_nothing_more_of_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not asked, or did not answer. Its next final finds that out, and is neither stored nor sent."""
    monkeypatch.setattr(asking, "ASK_S", 0.0)
    one, other = await serve(), await serve()
    one.app[SERVICES].store._on_asked = lambda _: None
    socket, ready, caption = await begin(one)
    again = await resume(other, ready, caption["seq"])
    await read_event(again)
    await written(lambda call: other.app[SERVICES].store.name_speaker("nobody", SpeakerNamed(1, "x"), call))
    await socket.send_bytes(SPEECH + PAUSE)
    left = await read_to_the_close(socket)
    assert [event for event in left if event["type"] in ("final", "end")] == []
    assert socket.close_code == 1008
    assert await stored(one, ready["session"]) == [(0, caption["text"])]
    assert len(one.app[SERVICES].sessions) == 0
    await again.close()


async def test_a_publisher_whose_server_is_taken_for_dead_notices_nothing(serve: Serve) -> None:
    """No other server has taken its session, so nothing is in the way."""
    one, other = await serve(), await serve()
    socket, ready, caption = await begin(one)
    store = other.app[SERVICES].store
    await store._do(lambda connection: interrupted_by(connection, one))
    await socket.send_bytes(SPEECH + PAUSE)
    following = await read_until(socket, "final")
    assert await stored(other, ready["session"]) == [(0, caption["text"]), (1, following["text"])]
    await socket.close()


async def die(server: Client, other: Client) -> None:
    """Let a server leave its sessions as if it was killed. Its worker goes on, because it is that of the test."""
    server.app[SERVICES].store._generations.clear()  # so that it has none to have back
    await other.app[SERVICES].store._do(lambda connection: interrupted_by(connection, server))


async def interrupted_by(connection: object, server: Client) -> None:
    from livecaption.store.postgresql import ownership

    await ownership.interrupt(connection, {server.app[SERVICES].store._presence.id})


async def test_a_server_that_stops_stores_the_open_utterance_and_leaves_the_session_to_the_others(serve: Serve) -> None:
    one, other = await serve(), await serve()
    socket, ready, caption = await begin(one)
    reader = await one.ws_connect(f"/v1/sessions/{ready['session']}/watch")
    assert (await read_event(reader))["type"] == "snapshot"
    await socket.send_bytes(SPEECH)
    await read_until(socket, "speech_start")
    draining = asyncio.ensure_future(drain(one.app))
    events = await read_to_the_close(socket)
    (cut,) = [event for event in events if event["type"] == "final"]
    assert ([event for event in events if event["type"] == "end"], socket.close_code) == ([], 1012)
    await read_to_the_close(reader)
    assert reader.close_code == 1012
    await draining
    assert await stored(other, ready["session"]) == [(0, caption["text"]), (1, cut["text"])]
    again = await resume(other, ready, cut["seq"])
    assert (await read_event(again))["received_ms"] >= cut["end_ms"]
    await again.send_bytes(SPEECH + PAUSE)
    assert (await read_until(again, "final"))["utterance"] == 2
    await again.close()


async def test_a_session_that_has_waited_too_long_is_over(serve: Serve) -> None:
    one = await serve()
    socket, ready, caption = await begin(one)
    other = await serve(resume_window_s=0.01)
    await asyncio.sleep(0.05)
    one.app[SERVICES].store._on_asked = one.app[SERVICES].store.release
    await one.app[SERVICES].store._do(lambda connection: interrupted_by(connection, one))
    await asyncio.sleep(0.05)
    again = await resume(other, ready, caption["seq"])
    assert [event["code"] for event in await read_to_the_close(again)] == ["unknown_session"]
    await socket.close()


async def test_a_publisher_is_asked_to_try_again_while_the_database_is_away(serve: Serve, cluster: Cluster) -> None:
    one, other = await serve(), await serve()
    socket, ready, caption = await begin(one)
    cluster.stop(signal.SIGQUIT)
    try:
        again = await resume(other, ready, caption["seq"])
        (refusal,) = await read_to_the_close(again)
        assert (refusal["code"], refusal["retry_after_s"], again.close_code) == ("store_failed", 2.0, 1013)
    finally:
        cluster.start()
    again = await resume(other, ready, caption["seq"])
    assert (await read_event(again))["type"] == "ready"
    await read_to_the_close(socket)
    await again.close()


async def test_two_connections_that_resume_at_one_server_get_one_session(serve: Serve) -> None:
    one, other = await serve(), await serve()
    socket, ready, caption = await begin(one)
    first, second = await asyncio.gather(*(resume(other, ready, caption["seq"]) for _ in range(2)))
    await read_to_the_close(socket)
    kinds = [(await read_event(each))["type"] for each in (first, second)]
    assert kinds == ["ready", "ready"]
    assert len(other.app[SERVICES].sessions) == 1
    await first.close()
    await second.close()


async def test_of_two_servers_at_which_a_session_is_resumed_at_once_one_goes_on_with_it(serve: Serve) -> None:
    """The other one refuses the client for a moment or, if it came first, loses the session again."""
    former, *servers = [await serve() for _ in range(3)]
    socket, ready, caption = await begin(former)
    sockets = await asyncio.gather(*(resume(server, ready, caption["seq"]) for server in servers))
    answers = [await read_event(each) for each in sockets]
    assert {answer.get("retry_after_s") for answer in answers} in ({None}, {None, 1.0})
    await read_to_the_close(socket)

    def has_it(server: Client) -> bool:
        return server.app[SERVICES].sessions.known(ready["session"]) is not None

    await eventually(lambda: sum(map(has_it, servers)) == 1)
    winner, loser = sockets if has_it(servers[0]) else sockets[::-1]
    assert [event for event in await read_to_the_close(loser) if event["type"] in ("final", "end")] == []
    assert loser.close_code in (1008, 1012, 1013)
    await winner.send_bytes(SPEECH + PAUSE)
    following = await read_until(winner, "final")
    assert await stored(former, ready["session"]) == [(0, caption["text"]), (1, following["text"])]
    await winner.close()


async def test_a_reader_with_the_position_of_another_server_gets_a_snapshot_and_goes_on(serve: Serve) -> None:
    one, other = await serve(), await serve()
    socket, ready, caption = await begin(one)
    reader = await one.ws_connect(f"/v1/sessions/{ready['session']}/watch")
    snapshot = await read_event(reader)
    position = f"{snapshot['epoch']}-{snapshot['seq']}"
    again = await resume(other, ready, caption["seq"])
    await read_event(again)
    await read_to_the_close(reader)
    reader = await other.ws_connect(f"/v1/sessions/{ready['session']}/watch?last_event_id={position}")
    there = await read_event(reader)
    assert (there["type"], there["finals"], there["epoch"] != snapshot["epoch"]) == (
        "snapshot",
        snapshot["finals"],
        True,
    )
    await again.send_bytes(SPEECH + PAUSE)
    following = await read_until(again, "final")
    assert (await read_until(reader, "final"))["seq"] == following["seq"]
    await read_to_the_close(socket)
    await reader.close()
    await again.close()


def test_the_events_of_a_generation_have_the_same_epoch_in_all_servers() -> None:
    epochs = [Hub(session=session, generation=n).epoch for session, n in (("a", 1), ("a", 1), ("a", 2), ("b", 1))]
    assert epochs[0] == epochs[1]
    assert len(set(epochs)) == 3
