"""A server that alone does not reach a shared database leaves its sessions to others; else it goes on as before."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientWebSocketResponse, WSServerHandshakeError

from livecaption.live import cut_off
from livecaption.server.services import SERVICES
from livecaption.store.config import StoreConfig
from livecaption.store.postgresql import presence, reach
from livecaption.store.rows import SessionState
from tests.live.test_connection import resume
from tests.live.test_takeover import begin, interrupted_by, stored
from tests.support.eventually import eventually
from tests.support.postgresql import Cluster
from tests.support.relay import Relay, relay_to_database
from tests.support.serving import PAUSE, SPEECH, Client, StartServer, read_event, read_to_the_close, read_until

Serve = Callable[[], Awaitable[tuple[Client, Relay]]]
FOR_EVER_S = 1000.0
AT_ONCE_S = 0.0


@pytest.fixture
async def serve(
    client: Client, start_server: StartServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Serve]:
    """Start one more server with the same database, over a network of its own. See `test_takeover.serve`."""
    monkeypatch.setattr(reach, "CUT_OFF_S", 0.5)
    monkeypatch.setattr(presence, "BEAT_S", 0.05)
    address = cluster.empty_database()
    async with AsyncExitStack() as networks:

        async def start() -> tuple[Client, Relay]:
            relay, by_relay = await networks.enter_async_context(relay_to_database(address))
            return await start_server(store=StoreConfig(by_relay)), relay

        yield start


async def acquainted(*servers: Client) -> None:
    """Wait until each of the servers has seen the others."""
    others = [server.app[SERVICES].store._presence._reach for server in servers]
    await eventually(lambda: all(each._n_others == len(servers) - 1 for each in others))


def is_cut_off(server: Client) -> bool:
    return server.app[SERVICES].cut_off.is_now


async def say(socket: ClientWebSocketResponse) -> tuple[int, str]:
    await socket.send_bytes(SPEECH + PAUSE)
    final = await read_until(socket, "final")
    return final["utterance"], final["text"]


async def state_of(server: Client, session: str) -> SessionState:
    record = await server.app[SERVICES].store.session(session)
    assert record is not None
    return record.state


async def refusal_before_the_upgrade(client: Client, path: str) -> tuple[int, str]:
    response = await client.get(path)
    return response.status, (await response.json())["code"]


async def test_a_server_that_is_cut_off_sends_its_publishers_and_readers_to_another_one(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut_off, "ELSEWHERE_S", FOR_EVER_S)
    (one, network), (other, _) = await serve(), await serve()
    await acquainted(one, other)
    socket, ready, caption = await begin(one)
    session = f"/v1/sessions/{ready['session']}"
    reader = await one.ws_connect(f"{session}/watch")
    assert (await read_event(reader))["type"] == "snapshot"
    feed = await one.get(f"{session}/events")
    network.cut()
    assert [event for event in await read_to_the_close(socket) if event["type"] == "end"] == []
    await read_to_the_close(reader)
    assert (socket.close_code, reader.close_code) == (1012, 1012)
    assert (await feed.text()).count("event: ") == 1
    refusal = (503, "cut_off")
    assert await refusal_before_the_upgrade(one, "/readyz") == refusal
    assert await refusal_before_the_upgrade(one, f"/v1/stream?resume={ready['session']}") == refusal
    assert await refusal_before_the_upgrade(one, f"{session}/events") == refusal
    for server, value in ((one, "1.0"), (other, "0.0")):
        assert f"livecaption_store_cut_off {value}" in await (await server.get("/metrics")).text()
    again = await resume(other, ready, caption["seq"])
    assert (await read_event(again))["received_ms"] >= caption["end_ms"]
    said = [(0, caption["text"]), await say(again)]
    network.up = True
    await eventually(lambda: one.app[SERVICES].sessions.known(ready["session"]) is None)
    await eventually(lambda: not is_cut_off(one))
    assert (await one.get("/readyz")).status == 200
    said.append(await say(again))
    assert await stored(one, ready["session"]) == said
    assert len(one.app[SERVICES].sessions) == 0
    await again.close()


async def test_where_no_server_reaches_the_database_a_publisher_comes_back_to_its_own_and_goes_on(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut_off, "ELSEWHERE_S", FOR_EVER_S)
    (one, network), (other, of_the_other) = await serve(), await serve()
    await acquainted(one, other)
    socket, ready, caption = await begin(one)
    network.cut()
    of_the_other.cut()
    await read_to_the_close(socket)
    assert socket.close_code == 1012
    await eventually(lambda: is_cut_off(other))
    with pytest.raises(WSServerHandshakeError) as refusal:
        await resume(other, ready, caption["seq"])
    assert refusal.value.status == 503
    one.app[SERVICES].cut_off._refuses_until_s = 0.0  # the time is over
    again = await resume(one, ready, caption["seq"])
    assert (await read_event(again))["type"] == "ready"
    said = [(0, caption["text"]), await say(again)]
    reader = await one.ws_connect(f"/v1/sessions/{ready['session']}/watch")
    assert len((await read_event(reader))["finals"]) == 2
    network.up = of_the_other.up = True
    await eventually(lambda: not is_cut_off(one) and not is_cut_off(other))
    said.append(await say(again))
    await eventually(lambda: one.app[SERVICES].store.figures.waiting == 0)
    assert await stored(other, ready["session"]) == said
    assert await state_of(other, ready["session"]) is SessionState.OPEN
    await again.send_json({"type": "stop"})
    assert (await read_to_the_close(again))[-1]["utterances"] == 3
    await reader.close()


async def test_a_session_that_nobody_has_taken_goes_on_where_it_was_when_the_server_is_back(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server has taken this one for dead meanwhile."""
    monkeypatch.setattr(cut_off, "ELSEWHERE_S", FOR_EVER_S)
    (one, network), (other, _) = await serve(), await serve()
    await acquainted(one, other)
    socket, ready, caption = await begin(one)
    network.cut()
    await read_to_the_close(socket)
    await other.app[SERVICES].store._do(lambda connection: interrupted_by(connection, one))
    network.up = True
    await eventually(lambda: not is_cut_off(one))
    again = await resume(one, ready, caption["seq"])
    assert (await read_event(again))["type"] == "ready"
    said = [(0, caption["text"]), await say(again)]
    assert await stored(other, ready["session"]) == said
    assert await state_of(other, ready["session"]) is SessionState.OPEN
    await again.close()


async def test_a_server_that_is_alone_on_its_database_keeps_its_sessions_without_it(serve: Serve) -> None:
    one, network = await serve()
    socket, ready, caption = await begin(one)
    network.cut()
    way = one.app[SERVICES].store._presence._reach
    await eventually(lambda: way._n_failures > 20)
    said = [(0, caption["text"]), await say(socket)]
    assert (await one.get("/readyz")).status == 200
    network.up = True
    await eventually(lambda: one.app[SERVICES].store.figures.waiting == 0)
    assert await stored(one, ready["session"]) == said
    await socket.close()


@pytest.mark.usefixtures("serve")
async def test_servers_whose_database_is_dead_keep_their_sessions_and_store_them_later(
    start_server: StartServer, cluster: Cluster
) -> None:
    store = StoreConfig(cluster.address("postgres"))
    one, other = await start_server(store=store), await start_server(store=store)
    await acquainted(one, other)
    socket, ready, caption = await begin(one)
    cluster.stop(signal.SIGQUIT)
    try:
        ways = [server.app[SERVICES].store._presence._reach for server in (one, other)]
        await eventually(lambda: all(way._n_failures > 20 for way in ways))
        said = [(0, caption["text"]), await say(socket)]
        assert [is_cut_off(server) for server in (one, other)] == [False, False]
        newcomer, of_newcomer, first = await begin(other)  # a stream that begins meanwhile is captioned too
    finally:
        cluster.start()
    await eventually(lambda: all(server.app[SERVICES].store.figures.waiting == 0 for server in (one, other)), 20)
    said.append(await say(socket))
    assert await stored(other, ready["session"]) == said
    assert await stored(one, of_newcomer["session"]) == [(0, first["text"])]
    await socket.close()
    await newcomer.close()


async def test_a_database_that_stands_still_costs_no_session_and_no_word(
    serve: Serve, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut_off, "ELSEWHERE_S", AT_ONCE_S)
    (one, _), (other, _) = await serve(), await serve()
    await acquainted(one, other)
    socket, ready, caption = await begin(one)
    with cluster.paused():
        await read_to_the_close(socket)
        assert socket.close_code == 1012
        again = await resume(one, ready, caption["seq"])
        assert (await read_event(again))["type"] == "ready"
        said = [(0, caption["text"]), await say(again)]
    await eventually(lambda: not is_cut_off(one) and not is_cut_off(other), 20)
    await eventually(lambda: one.app[SERVICES].store.figures.waiting == 0, 20)
    said.append(await say(again))
    assert await stored(other, ready["session"]) == said
    await again.close()


async def test_a_session_that_cannot_go_on_elsewhere_stays(serve: Serve) -> None:
    (one, network), (other, _) = await serve(), await serve()
    await acquainted(one, other)
    socket = await one.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "keep": False})
    ready = await read_event(socket)
    network.cut()
    await eventually(lambda: is_cut_off(one))
    assert (await say(socket))[0] == 0
    reader = await one.ws_connect(f"/v1/sessions/{ready['session']}/watch")
    assert (await read_event(reader))["type"] == "snapshot"
    await socket.send_json({"type": "stop"})
    assert (await read_to_the_close(socket))[-1]["type"] == "end"
    await reader.close()


async def test_a_server_that_is_cut_off_sends_readers_of_sessions_elsewhere_to_another_one(serve: Serve) -> None:
    (one, _), (other, network) = await serve(), await serve()
    await acquainted(one, other)
    socket, ready, _ = await begin(one)
    path = f"/v1/sessions/{ready['session']}/watch"
    reader = await other.ws_connect(path)
    assert (await read_event(reader))["type"] == "snapshot"
    network.cut()
    await read_to_the_close(reader)
    assert reader.close_code == 1012
    assert await refusal_before_the_upgrade(other, path) == (503, "cut_off")
    network.up = True
    await eventually(lambda: not is_cut_off(other))
    reader = await other.ws_connect(path)
    utterance, _ = await say(socket)
    event = {"type": "", "finals": []}
    while event.get("utterance") != utterance and len(event.get("finals", [])) <= utterance:
        event = await read_event(reader)  # it comes in a snapshot if the connection of notifications is not back yet
    await socket.close()
