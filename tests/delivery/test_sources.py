"""A sink of one session: it goes on while the publisher is away, and goes itself once everything is sent."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse

from livecaption.delivery import outgoing
from livecaption.delivery.destination import Destination
from livecaption.delivery.outgoing import SinkState
from livecaption.delivery.sinks import Sinks
from livecaption.delivery.sources import SessionSource, room_key, session_key
from livecaption.errors import UnknownSession
from livecaption.server.services import SERVICES
from tests.support.eventually import eventually
from tests.support.receivers import LOST, CaptionReceiver
from tests.support.rooms import NAME, TALK, enter, said
from tests.support.serving import Client, StartServer, read_event, read_to_the_close


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once, because the delays are for receivers far away."""
    monkeypatch.setattr(outgoing, "DELAYS_S", (0.01, 0.02))


@pytest.fixture
async def client(start_server: StartServer) -> Client:
    return await start_server()


async def begun(client: Client, **options: Any) -> tuple[ClientWebSocketResponse, dict[str, Any]]:
    """Begin a session without a room. Return its socket and its `ready`."""
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", **options})
    return socket, await read_event(socket)


async def attached(client: Client, receiver: CaptionReceiver, session_id: str, service: str = "youtube") -> Sinks:
    services = client.app[SERVICES]
    source = SessionSource(services.sessions.find(session_id), services.rooms)
    await services.sinks.attach(source, service, Destination(service, receiver.url))
    return services.sinks


def words(receiver: CaptionReceiver) -> list[str]:
    return [body.partition("\n")[2].strip().replace("<br>", " ") for body in receiver.texts]


async def end(socket: ClientWebSocketResponse) -> None:
    await socket.send_json({"type": "stop"})
    await read_to_the_close(socket)


async def test_captions_of_a_session_arrive_once_and_in_order(client: Client, receiver: CaptionReceiver) -> None:
    receiver.outcomes.extend([503, 200, 503, LOST, 200, 503, 400, 200])
    socket, ready = await begun(client)
    await attached(client, receiver, ready["session"])
    texts = [(await said(socket, TALK))["text"] for _ in range(3)]
    await receiver.took(3)
    assert words(receiver) == texts
    assert sorted(receiver.accepted) == [1, 2, 3]
    await end(socket)


async def test_the_texts_have_the_time_of_the_speech(client: Client, receiver: CaptionReceiver) -> None:
    socket, ready = await begun(client)
    await attached(client, receiver, ready["session"])
    await said(socket, TALK)
    await receiver.took(1)
    spoken_at = datetime.fromisoformat(receiver.texts[0].partition(" ")[0]).replace(tzinfo=UTC)
    assert abs(spoken_at - datetime.now(UTC)) < timedelta(minutes=1)
    await end(socket)


async def test_a_sink_is_gone_once_all_captions_of_its_session_are_sent(
    client: Client, receiver: CaptionReceiver
) -> None:
    receiver.always = 503
    socket, ready = await begun(client)
    all_sinks = await attached(client, receiver, ready["session"])
    sink = all_sinks.find(session_key(ready["session"]), "youtube")
    text = (await said(socket, TALK))["text"]
    await end(socket)
    await eventually(lambda: sink.outgoing.state is SinkState.FAILING)
    assert all_sinks.all == [sink]
    receiver.always = 200
    await eventually(lambda: all_sinks.all == [])
    assert words(receiver) == [text]
    assert all_sinks.texts == {"sent": 1, "dropped": 0}


async def test_a_sink_whose_receiver_never_answers_goes_when_its_texts_are_too_old(
    client: Client, receiver: CaptionReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.always = 503
    socket, ready = await begun(client)
    all_sinks = await attached(client, receiver, ready["session"], "zoom")
    await said(socket, TALK)
    await end(socket)
    await eventually(lambda: receiver.n_asked > 1)
    monkeypatch.setattr(outgoing, "MAX_AGE_S", 0.0)
    await eventually(lambda: all_sinks.all == [])
    assert all_sinks.texts == {"sent": 0, "dropped": 1}


async def test_a_sink_goes_on_with_its_numbers_when_the_publisher_comes_back(
    client: Client, receiver: CaptionReceiver
) -> None:
    socket, ready = await begun(client)
    all_sinks = await attached(client, receiver, ready["session"])
    texts = [(await said(socket, TALK))["text"]]
    await receiver.took(1)
    session = client.app[SERVICES].sessions.find(ready["session"])
    socket._writer.transport.abort()
    await eventually(lambda: session.parked)
    assert len(all_sinks.all) == 1
    back = await client.ws_connect("/v1/stream")
    token, last_seq = ready["resume_token"], session.hub.last_seq
    await back.send_json(
        {"type": "start", "resume": {"session": ready["session"], "token": token, "last_seq": last_seq}}
    )
    assert (await read_event(back))["type"] == "ready"
    texts.append((await said(back, TALK))["text"])
    await receiver.took(2)
    assert words(receiver) == texts
    assert sorted(receiver.accepted) == [1, 2]
    await end(back)


async def test_a_part_of_a_room_has_sinks_of_its_own(client: Client, receiver: CaptionReceiver) -> None:
    socket = await enter(client)
    session_id = (await read_event(socket))["session"]
    all_sinks = await attached(client, receiver, session_id)
    assert all_sinks.of(room_key(NAME)) == []
    text = (await said(socket, TALK))["text"]
    await end(socket)
    await eventually(lambda: all_sinks.all == [])
    next_part = await enter(client)
    await said(next_part, TALK)
    await end(next_part)
    assert words(receiver) == [text]


async def test_all_sinks_of_a_session_end_also_while_somebody_detaches_one(
    client: Client, receiver: CaptionReceiver
) -> None:
    socket, ready = await begun(client)
    key = session_key(ready["session"])
    await attached(client, receiver, ready["session"], "youtube")
    all_sinks = await attached(client, receiver, ready["session"], "zoom")
    ended, late = await asyncio.gather(all_sinks.detach_all(key), all_sinks.detach(key, "zoom"), return_exceptions=True)
    assert ended is None
    assert isinstance(late, UnknownSession)
    assert all_sinks.all == []
    await end(socket)


async def test_nothing_is_attached_to_a_session_that_is_over(client: Client, receiver: CaptionReceiver) -> None:
    socket, ready = await begun(client)
    await end(socket)
    with pytest.raises(UnknownSession) as refused:
        await attached(client, receiver, ready["session"])
    assert refused.value.code == "session_ended"
