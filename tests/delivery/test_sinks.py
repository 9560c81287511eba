"""Captions of a room arrive at services in order and once, even if these fail, and nobody else notices."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from livecaption.delivery import http_sink, outgoing, sinks
from livecaption.delivery.destination import MAX_SINKS, Destination
from livecaption.delivery.outgoing import SinkState
from livecaption.delivery.sinks import Sinks
from livecaption.delivery.sources import RoomSource, room_key
from livecaption.errors import StoreFailed, Unavailable, UnknownSession
from livecaption.events import Final, Partial
from livecaption.server.services import SERVICES
from livecaption.store.config import StoreConfig
from tests.support.eventually import eventually
from tests.support.receivers import LOST, STUCK, CaptionReceiver, Obs
from tests.support.rooms import NAME, TALK, RoomReader, enter, put, said, spoken
from tests.support.serving import SPEECH, Client, StartServer, read_event, read_to_the_close, read_until

ROOM = room_key(NAME)
SERVICES_BY_HTTP = ["zoom", "youtube", "streamtext"]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once, because the delays are for receivers far away."""
    monkeypatch.setattr(outgoing, "DELAYS_S", (0.01, 0.02))


@pytest.fixture
async def client(start_server: StartServer) -> Client:
    return await start_server()


async def attached(client: Client, receiver: Any, service: str = "zoom", name: str = NAME, **more: Any) -> Sinks:
    all_sinks: Sinks = client.app[SERVICES].sinks
    room = RoomSource(name, client.app[SERVICES].rooms)
    await all_sinks.attach(room, service, Destination(service, receiver.url, **more))
    return all_sinks


def unwrapped(body: str, service: str) -> str:
    """Return the words of a body."""
    return body.partition("\n")[2].strip().replace("<br>", " ") if service == "youtube" else body.replace("\n", " ")


@pytest.mark.parametrize("service", SERVICES_BY_HTTP)
async def test_numbers_grow_by_one_for_each_text_and_not_for_attempts(
    client: Client, receiver: CaptionReceiver, service: str
) -> None:
    receiver.outcomes.extend([503, 200, 503, LOST, 200, 503, 400, 200, 503])
    all_sinks = await attached(client, receiver, service)
    texts = await spoken(client, 4)
    await receiver.took(4)
    assert [unwrapped(body, service) for body in receiver.texts] == texts
    assert sorted(receiver.accepted) == [1, 2, 3, 4]
    await eventually(lambda: all_sinks.find(ROOM, service).outgoing.n_sent == 4)
    assert all_sinks.find(ROOM, service).outgoing.n_dropped == 0


async def test_zoom_goes_on_behind_the_newest_number_that_it_has(client: Client, receiver: CaptionReceiver) -> None:
    receiver.newest_seq = 17
    receiver.outcomes.append(503)  # the answer to the question
    await attached(client, receiver)
    await spoken(client, 2)
    await receiver.took(2)
    assert sorted(receiver.accepted) == [18, 19]
    assert receiver.n_asked == 2


async def test_a_sink_goes_on_over_parts_breaks_and_events(client: Client, receiver: CaptionReceiver) -> None:
    await attached(client, receiver, name="PyCon")
    texts = await spoken(client)
    texts += await spoken(client, end_room=True)
    texts += await spoken(client)
    await receiver.took(3)
    assert receiver.texts == texts


async def test_a_sink_goes_on_over_a_take_over(client: Client, receiver: CaptionReceiver) -> None:
    await attached(client, receiver)
    first = await enter(client)
    texts = [(await said(first, TALK))["text"]]
    texts += await spoken(client, take_over=True)
    await read_to_the_close(first)
    await receiver.took(2)
    assert receiver.texts == texts


async def test_captions_from_before_a_sink_was_attached_are_not_sent(client: Client, receiver: CaptionReceiver) -> None:
    socket = await enter(client)
    await said(socket, TALK)
    await attached(client, receiver)
    await asyncio.sleep(0)  # the sink finds its room
    later = (await said(socket, TALK))["text"]
    await receiver.took(1)
    assert receiver.texts == [later]


async def test_long_speech_is_sent_while_it_goes_on(client: Client, receiver: CaptionReceiver) -> None:
    await attached(client, receiver)
    socket = await enter(client)
    ready = await read_event(socket)
    hub = client.app[SERVICES].sessions.find(ready["session"]).hub
    said_so_far = "And so my fellow Americans ask not what your country"
    hub.publish(Partial(0, 0, said_so_far, said_so_far, 0, 4000))
    await receiver.took(1)
    hub.publish(Final(0, f"{said_so_far} can do for you.", 0, 6000, "en", 0.9, 300))
    await receiver.took(2)
    assert receiver.texts == ["And so my fellow Americans ask not", "what your country can do for you."]


async def test_a_sink_that_is_attached_in_mid_utterance_gets_what_is_said_from_then_on(
    client: Client, receiver: CaptionReceiver
) -> None:
    socket = await enter(client)
    hub = client.app[SERVICES].sessions.find((await read_event(socket))["session"]).hub
    said_so_far = "And so my fellow Americans ask not what your country"
    hub.publish(Partial(0, 0, said_so_far, said_so_far, 0, 4000))
    await attached(client, receiver)
    await asyncio.sleep(0)  # the sink finds its room
    hub.publish(Partial(0, 1, f"{said_so_far} can do", f"{said_so_far} can do", 0, 5000))
    hub.publish(Final(0, f"{said_so_far} can do for you.", 0, 6000, "en", 0.9, 300))
    await receiver.took(1)
    assert receiver.texts == ["what your country can do for you."]


async def test_a_sink_that_is_attached_in_a_pause_gets_all_of_the_next_utterance(
    client: Client, receiver: CaptionReceiver
) -> None:
    socket = await enter(client)
    hub = client.app[SERVICES].sessions.find((await read_event(socket))["session"]).hub
    hub.publish(Final(0, "Good morning.", 0, 1000, "en", 0.9, 300))
    await attached(client, receiver)
    await asyncio.sleep(0)  # the sink finds its room
    said_so_far = "And so my fellow Americans ask not what your country"
    hub.publish(Partial(1, 0, said_so_far, said_so_far, 2000, 6000))
    await receiver.took(1)
    assert receiver.texts == ["And so my fellow Americans ask not"]


async def test_a_sink_whose_settings_change_sends_nothing_twice_and_goes_on_with_its_numbers(
    client: Client, receiver: CaptionReceiver
) -> None:
    all_sinks = await attached(client, receiver, "streamtext")
    socket = await enter(client)
    hub = client.app[SERVICES].sessions.find((await read_event(socket))["session"]).hub
    said_so_far = "And so my fellow Americans ask not what your country"
    hub.publish(Partial(0, 0, said_so_far, said_so_far, 0, 4000))
    await receiver.took(1)
    await attached(client, receiver, "streamtext", line_length=32)
    hub.publish(Final(0, f"{said_so_far} can do for you.", 0, 6000, "en", 0.9, 300))
    await receiver.took(2)
    hub.publish(Partial(1, 1, said_so_far, said_so_far, 7000, 10_000))
    await receiver.took(3)
    assert list(receiver.accepted.items()) == [
        (1, "And so my fellow Americans ask not"),
        (2, "what your country can do for you."),
        (3, "And so my fellow Americans ask"),
    ]
    await eventually(lambda: all_sinks.texts == {"sent": 3, "dropped": 0})


async def test_a_sink_whose_settings_change_keeps_what_waits_and_sends_it_at_once(
    client: Client, receiver: CaptionReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "DELAYS_S", (60.0,))
    receiver.always = 403
    all_sinks = await attached(client, receiver)
    receiver.outcomes.append(200)  # the answer to the question
    texts = await spoken(client, 2)
    await eventually(lambda: all_sinks.find(ROOM, "zoom").outgoing.state is SinkState.FAILING)
    receiver.always = 200
    await attached(client, receiver, language="de-DE")
    await receiver.took(2)
    assert receiver.texts == texts
    assert [query["lang"] for query, _ in receiver.posts] == ["en-US", "de-DE", "de-DE"]


async def test_a_new_password_ends_the_connection_with_the_old_one(client: Client) -> None:
    obs = await Obs("the password of an OBS").start()
    all_sinks = await attached(client, obs, "obs", password="another password")
    texts = await spoken(client)
    await eventually(lambda: all_sinks.find(ROOM, "obs").outgoing.state is SinkState.FAILING)
    await attached(client, obs, "obs", password="the password of an OBS")
    await obs.took(1)
    await attached(client, obs, "obs", password="another password")
    await eventually(lambda: all_sinks.find(ROOM, "obs").outgoing.n_sent == 1)
    await spoken(client)
    await eventually(lambda: all_sinks.find(ROOM, "obs").status.problem == "the password of OBS is wrong")
    assert [caption.replace("\n", " ") for caption in obs.captions] == texts
    await obs.close()


async def test_a_sink_at_another_address_begins_its_numbers_again(client: Client, receiver: CaptionReceiver) -> None:
    other = await CaptionReceiver().start()
    all_sinks = await attached(client, other, "youtube")
    await spoken(client)
    await other.took(1)
    await attached(client, receiver, "youtube")
    await spoken(client)
    await receiver.took(1)
    assert (list(other.accepted), list(receiver.accepted)) == ([1], [1])
    await eventually(lambda: all_sinks.texts == {"sent": 2, "dropped": 0})
    await other.close()


async def test_two_sinks_of_a_room_do_not_wait_for_each_other(
    client: Client, receiver: CaptionReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_sink, "TIMEOUT_S", 0.5)
    stuck = await CaptionReceiver().start()
    stuck.always = STUCK
    all_sinks = await attached(client, stuck, "youtube")
    await attached(client, receiver, "streamtext")
    texts = await spoken(client, 2)
    await receiver.took(2)
    assert receiver.texts == texts
    await eventually(lambda: all_sinks.find(ROOM, "youtube").outgoing.state is SinkState.FAILING)
    assert all_sinks.find(ROOM, "youtube").status.problem.startswith("no answer within")
    await all_sinks.detach(ROOM, "youtube")
    await stuck.close()


async def down(receiver: CaptionReceiver) -> None:
    await receiver.close()


async def refuses(receiver: CaptionReceiver) -> None:
    receiver.always = 403


async def redirects(receiver: CaptionReceiver) -> None:
    receiver.always = 307


@pytest.mark.parametrize("misbehave", [down, refuses, redirects])
async def test_a_receiver_that_never_takes_anything_affects_nobody_else(
    client: Client, misbehave: Callable[[CaptionReceiver], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "MAX_WAITING", 2)
    receiver = await CaptionReceiver().start()
    all_sinks = await attached(client, receiver)
    await misbehave(receiver)
    reader = await RoomReader(client).connect() if await put(client) else None
    texts = await spoken(client, 4, end_room=True)
    await reader.until("room", state="ended")
    assert [text for part in reader.texts.values() for text in part] == texts
    sink = all_sinks.find(ROOM, "zoom")
    await eventually(lambda: sink.outgoing.state is SinkState.FAILING and sink.outgoing.n_dropped == 2)
    assert (sink.outgoing.n_waiting, sink.outgoing.n_sent, receiver.n_elsewhere) == (2, 0, 0)
    if misbehave is not down:
        await receiver.close()


async def test_the_log_names_a_failure_once_and_has_no_secret(
    client: Client, receiver: CaptionReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "livecaption")
    receiver.outcomes.extend([200, 503, 503, 503, 200, 200])
    await attached(client, receiver)
    texts = await spoken(client, 2)
    await receiver.took(2)
    lines = [record.getMessage() for record in caplog.records if record.name == "livecaption.delivery.sinks"]
    await eventually(lambda: len(caplog.records) > 1)
    assert "the sink zoom fails: HTTP 503" in lines
    assert not any(secret in caplog.text for secret in ("signature", "closedcaption", "127.0.0.1:", *texts))


async def test_captions_go_to_obs(client: Client) -> None:
    obs = await Obs("the password of an OBS").start()
    await attached(client, obs, "obs", password="the password of an OBS")
    texts = await spoken(client, 2)
    await obs.took(2)
    await obs.disconnect()
    texts += await spoken(client)
    await obs.took(3)
    assert [caption.replace("\n", " ") for caption in obs.captions] == texts
    await obs.close()


async def test_the_last_captions_are_sent_when_the_server_stops(client: Client, receiver: CaptionReceiver) -> None:
    await attached(client, receiver)
    socket = await enter(client)
    await read_event(socket)
    await socket.send_bytes(SPEECH)
    await read_until(socket, "partial")
    await client.server.close()
    assert len(receiver.accepted) == 1


async def test_a_server_with_a_receiver_that_is_stuck_stops_in_order(
    client: Client, receiver: CaptionReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "FAREWELL_S", 0.1)
    receiver.always = STUCK
    all_sinks = await attached(client, receiver, "youtube")
    await spoken(client)
    await eventually(lambda: receiver.posts)
    await client.server.close()
    assert all_sinks.find(ROOM, "youtube").outgoing.state is SinkState.STOPPED
    with pytest.raises(Unavailable):
        await attached(client, receiver)


async def test_a_sink_that_is_detached_sends_nothing_more(client: Client, receiver: CaptionReceiver) -> None:
    all_sinks = await attached(client, receiver)
    await spoken(client)
    await receiver.took(1)
    sink = all_sinks.find(ROOM, "zoom")
    await all_sinks.detach(ROOM, "zoom")
    await spoken(client)
    assert sink.outgoing.state is SinkState.STOPPED
    assert len(receiver.accepted) == 1
    with pytest.raises(UnknownSession):
        all_sinks.find(ROOM, "zoom")


async def test_a_server_takes_a_limited_number_of_sinks(client: Client, receiver: CaptionReceiver) -> None:
    for n in range(MAX_SINKS):
        await attached(client, receiver, name=f"room-{n}")
    with pytest.raises(Unavailable):
        await attached(client, receiver)
    await attached(client, receiver, name="room-0")  # replaces


async def test_a_bug_in_a_sink_ends_that_sink_only(
    client: Client, receiver: CaptionReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    all_sinks = await attached(client, receiver)
    sink = all_sinks.find(ROOM, "zoom")

    async def fail() -> float:
        raise ValueError("signature")

    monkeypatch.setattr(sink, "_attempt", fail)
    await spoken(client)
    await eventually(lambda: sink.outgoing.state is SinkState.STOPPED)
    assert "the sink zoom has failed: ValueError" in caplog.text
    assert "signature" not in caplog.text


async def test_a_room_that_is_stored_is_found_again_after_a_restart(
    start_server: StartServer, tmp_path: Path, receiver: CaptionReceiver
) -> None:
    """Only what is said from then on is sent."""
    store = StoreConfig(str(tmp_path / "transcripts.db"))
    first = await start_server(store=store)
    await spoken(first)
    await first.close()
    second = await start_server(store=store)
    await attached(second, receiver)
    texts = await spoken(second)
    await receiver.took(1)
    assert receiver.texts == texts


async def test_a_store_that_cannot_be_read_when_a_sink_is_attached_lets_it_send_nothing_of_the_past(
    start_server: StartServer, tmp_path: Path, receiver: CaptionReceiver
) -> None:
    path, away = tmp_path / "transcripts.db", tmp_path / "away.db"
    client = await start_server(store=StoreConfig(str(path)))
    socket = await enter(client)
    await said(socket, TALK)
    rooms = client.app[SERVICES].rooms
    path.rename(away)
    # The name has another case, so the store is read: that may be another room.
    await attached(client, receiver, name="PyCon")
    for _ in range(2):  # the second question is asked after that of the sink
        with pytest.raises(StoreFailed):
            await rooms.find("PyCon")
    away.rename(path)
    rooms.news.notify()
    for _ in range(2):
        await rooms.find("PyCon")
    later = (await said(socket, TALK))["text"]
    await receiver.took(1)
    assert receiver.texts == [later]


async def test_the_figures_count_texts_also_of_sinks_that_are_gone(client: Client, receiver: CaptionReceiver) -> None:
    all_sinks = await attached(client, receiver)
    await spoken(client, 2)
    await eventually(lambda: all_sinks.texts["sent"] == 2)
    receiver.always = 503
    await spoken(client)
    await eventually(lambda: all_sinks.n_failing == 1)
    async with client.get("/v1/stats") as response:
        assert (await response.json())["sinks"] == {
            "attached": 1,
            "failing": 1,
            "texts": {"sent": 2, "dropped": 0},
        }
    await all_sinks.detach(ROOM, "zoom")
    async with client.get("/metrics") as response:
        text = await response.text()
    assert 'livecaption_sink_texts_total{outcome="sent"} 2.0' in text
    assert 'livecaption_sink_texts_total{outcome="dropped"} 1.0' in text
    assert "livecaption_sinks 0.0" in text
