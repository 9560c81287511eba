"""Readers: the events that they receive when they connect, fall behind or reconnect, and refusals."""

import asyncio
import gc
import io
import itertools
import json
import threading
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import segno
from aiohttp import ClientResponse

from livecaption.live.config import LiveConfig, SocketLimits
from livecaption.server import readers
from livecaption.server.config import HttpLimits
from livecaption.server.links import LISTENING
from livecaption.server.services import SERVICES
from tests.live.test_connection import start
from tests.live.test_event_log import final
from tests.support.eventually import eventually
from tests.support.peers import raw_connection
from tests.support.serving import PAUSE, SPEECH, Client, StartServer, read_event, read_to_the_close, read_until

CAPTIONS = ["speech_start", "speech_end", "final"]
SHORT = HttpLimits(heartbeat_s=0.05)


@asynccontextmanager
async def events_of(client: Client, session: str, **headers: str) -> AsyncIterator[ClientResponse]:
    async with client.get(f"/v1/sessions/{session}/events", headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-store"
        yield response


async def read(response: ClientResponse) -> dict[str, Any]:
    """Read the next server-sent event, and check its `id` and `event`."""
    fields = {}
    while (line := (await asyncio.wait_for(response.content.readline(), 20)).decode()) != "\n":
        name, _, value = line.rstrip("\n").partition(": ")
        fields[name] = value
    event: dict[str, Any] = json.loads(fields["data"])
    epoch, _, seq = fields["id"].partition("-")
    assert (int(seq), fields["event"]) == (event["seq"], event["type"])
    assert event.get("epoch", epoch) == epoch
    return event


async def read_to_the_end(response: ClientResponse) -> list[dict[str, Any]]:
    events = []
    while not events or events[-1]["type"] != "end":
        events.append(await read(response))
    assert await response.content.read() == b""
    return events


async def test_a_reader_gets_the_captions_as_they_come_up_to_the_end(client: Client) -> None:
    publisher, ready = await start(client, title="Talk", language="de")
    async with events_of(client, ready["session"]) as response:
        snapshot = await read(response)
        expected = {"type": "snapshot", "seq": 1, "title": "Talk", "language": "de", "finals": [], "partial": None}
        assert snapshot == {**expected, "epoch": snapshot["epoch"], "session": ready["session"]}
        await publisher.send_bytes(SPEECH + PAUSE)
        assert [(await read(response))["type"] for _ in CAPTIONS] == CAPTIONS
        await publisher.send_json({"type": "stop"})
        assert [event["type"] for event in await read_to_the_end(response)] == ["end"]


async def test_the_websocket_sends_the_same_and_closes_behind_the_end(client: Client) -> None:
    publisher, ready = await start(client)
    reader = await client.ws_connect(f"/v1/sessions/{ready['session']}/watch")
    assert (await read_event(reader))["type"] == "snapshot"
    await publisher.send_bytes(SPEECH + PAUSE)
    await publisher.send_json({"type": "stop"})
    assert [event["type"] for event in await read_to_the_close(reader)] == [*CAPTIONS, "end"]
    assert reader.close_code == 1000


async def test_a_reader_that_comes_late_gets_what_was_said_before(client: Client) -> None:
    publisher, ready = await start(client, words=True)
    await publisher.send_bytes(SPEECH + PAUSE)
    final = await read_until(publisher, "final")
    async with events_of(client, ready["session"]) as response:
        snapshot = await read(response)
    assert snapshot["finals"] == [{k: v for k, v in final.items() if k not in ("type", "seq", "words")}]


async def test_a_reader_who_comes_back_gets_exactly_what_came_meanwhile(client: Client) -> None:
    publisher, ready = await start(client)
    await publisher.send_bytes(SPEECH + PAUSE)
    async with events_of(client, ready["session"]) as response:
        snapshot = await read(response)
    seen, cursor = snapshot["seq"], f"{snapshot['epoch']}-{snapshot['seq']}"
    await publisher.send_bytes(SPEECH + PAUSE)
    await publisher.send_json({"type": "stop"})
    everything = {event["seq"]: event for event in await read_to_the_close(publisher)}
    captions = [
        event for seq, event in everything.items() if seq > seen and event["type"] not in ("ack", "error", "pong")
    ]
    async with events_of(client, ready["session"], **{"Last-Event-ID": cursor}) as response:
        assert await read_to_the_end(response) == captions
    async with client.get(f"/v1/sessions/{ready['session']}/events?last_event_id={cursor}") as response:
        assert await read_to_the_end(response) == captions
    reader = await client.ws_connect(f"/v1/sessions/{ready['session']}/watch?last_event_id={cursor}")
    assert await read_to_the_close(reader) == captions


@pytest.mark.parametrize(
    "cursor", ["1", "999999", "-1", "1.5", "zero", "", "9" * 400, "\u0663".encode().decode("latin-1")]
)
async def test_a_cursor_that_is_none_or_not_reached_yet_gets_a_snapshot(client: Client, cursor: str) -> None:
    _, ready = await start(client)
    async with events_of(client, ready["session"], **{"Last-Event-ID": cursor}) as response:
        assert (await read(response))["type"] == "snapshot"


async def test_a_cursor_in_another_session_is_recognized_although_its_number_is_in_range(client: Client) -> None:
    """A position from before a restart of the server is unknown too, because its generation differs."""
    _, ready = await start(client)
    async with events_of(client, ready["session"]) as response:
        here = await read(response)
    publisher, ready = await start(client)
    await publisher.send_bytes(SPEECH + PAUSE)
    await read_until(publisher, "final")
    cursor = f"{here['epoch']}-{here['seq']}"
    async with events_of(client, ready["session"], **{"Last-Event-ID": cursor}) as response:
        snapshot = await read(response)
    assert len(snapshot["finals"]) == 1
    assert snapshot["epoch"] != here["epoch"]
    reader = await client.ws_connect(f"/v1/sessions/{ready['session']}/watch", params={"last_event_id": cursor})
    assert (await read_event(reader))["type"] == "snapshot"


@pytest.mark.parametrize("what", ["events", "watch", "qr.svg"])
async def test_an_unknown_session_is_404_with_a_code(client: Client, what: str) -> None:
    answer = await client.get(f"/v1/sessions/nobody/{what}")
    assert (answer.status, (await answer.json())["code"]) == (404, "unknown_session")


async def test_a_session_that_is_over_can_be_read_for_a_while_and_then_ends_reconnecting(client: Client) -> None:
    publisher, ready = await start(client)
    await publisher.send_bytes(SPEECH)
    await publisher.send_json({"type": "stop"})
    await read_to_the_close(publisher)
    async with events_of(client, ready["session"]) as response:
        snapshot, end = await read_to_the_end(response)
    assert len(snapshot["finals"]) == 1
    url = f"/v1/sessions/{ready['session']}/events"
    again = await client.get(url, headers={"Last-Event-ID": f"{snapshot['epoch']}-{end['seq']}"})
    assert again.status == 204  # this response stops an EventSource from reconnecting


@pytest.mark.parametrize("operator", ["operator", ""])
async def test_a_private_session_is_read_with_its_token_alone(start_server: StartServer, operator: str) -> None:
    client = await start_server(token=operator)
    headers = {"Authorization": "Bearer operator"}
    publisher = await client.ws_connect("/v1/stream", headers=headers)
    await publisher.send_json({"type": "start", "private": True})
    ready = await read_event(publisher)
    url = f"/v1/sessions/{ready['session']}"
    for what in ("events", "watch", "qr.svg"):
        # An operator's token is a key with all roles. But it is not to be in a code on a screen.
        is_key = operator and what != "qr.svg"
        for shown in ({}, *([] if is_key else [headers]), {"Authorization": f"Bearer {ready['resume_token']}"}):
            answer = await client.get(f"{url}/{what}", headers=shown)
            assert (answer.status, (await answer.json())["code"]) == (401, "wrong_token")
    if operator:
        async with events_of(client, ready["session"], **headers) as response:
            assert (await read(response))["type"] == "snapshot"
    token = ready["reader_token"]
    async with events_of(client, ready["session"], Authorization=f"Bearer {token}") as response:
        assert (await read(response))["type"] == "snapshot"
    async with client.get(f"{url}/events", params={"reader_token": token}) as response:
        assert (await read(response))["type"] == "snapshot"
    reader = await client.ws_connect(f"{url}/watch", headers={"Authorization": f"Bearer {token}"})
    assert (await read_event(reader))["type"] == "snapshot"


async def test_a_public_session_is_read_by_anyone_who_knows_its_id_also_where_publishers_need_a_token(
    start_server: StartServer,
) -> None:
    client = await start_server(token="operator")
    publisher = await client.ws_connect("/v1/stream", headers={"Authorization": "Bearer operator"})
    await publisher.send_json({"type": "start"})
    ready = await read_event(publisher)
    async with events_of(client, ready["session"]) as response:
        assert (await read(response))["type"] == "snapshot"


async def test_a_page_of_another_site_may_not_read_along_over_a_websocket(client: Client) -> None:
    _, ready = await start(client)
    answer = await client.get(f"/v1/sessions/{ready['session']}/watch", headers={"Origin": "http://evil.example"})
    assert (answer.status, (await answer.json())["code"]) == (403, "forbidden_origin")


async def test_a_heartbeat_comes_while_nobody_speaks(start_server: StartServer) -> None:
    client = await start_server(http=SHORT)
    _, ready = await start(client)
    async with events_of(client, ready["session"]) as response:
        await read(response)
        assert await asyncio.wait_for(response.content.readline(), 20) == b":\n"


async def test_readers_who_leave_are_forgotten(start_server: StartServer) -> None:
    client = await start_server(http=SHORT)
    _, ready = await start(client)
    sessions = client.app[SERVICES].sessions
    reader = await client.ws_connect(f"/v1/sessions/{ready['session']}/watch")
    async with events_of(client, ready["session"]) as response:
        await read(response)
        await eventually(lambda: sessions.n_readers == 2)
    await eventually(lambda: sessions.n_readers == 1)
    await reader.close()
    await eventually(lambda: sessions.n_readers == 0)


@pytest.mark.parametrize("what", ["events", "watch"])
async def test_one_reader_more_than_may_be_here_is_refused_before_the_stream_begins(
    start_server: StartServer, what: str
) -> None:
    client = await start_server(max_readers=2, http=SHORT)
    _, ready = await start(client)
    _, other = await start(client)  # the limit is for all sessions together
    reader = await client.ws_connect(f"/v1/sessions/{other['session']}/watch")
    async with events_of(client, ready["session"]) as response:
        await read(response)
        refused = await client.get(f"/v1/sessions/{ready['session']}/{what}")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "10")
        assert (await refused.json())["code"] == "too_many_readers"
        figures = await (await client.get("/metrics")).text()
        for line in ("readers 2.0", "readers_limit 2.0", "readers_refused_total 1.0"):
            assert f"\nlivecaption_{line}\n" in figures
    await reader.close()
    await eventually(lambda: client.app[SERVICES].sessions.n_readers == 0)
    async with events_of(client, ready["session"]) as response:
        assert (await read(response))["type"] == "snapshot"


async def test_a_reader_that_is_refused_takes_no_slot(client: Client) -> None:
    _, ready = await start(client)
    assert (await client.get(f"/v1/sessions/{ready['session']}/watch")).status == 400  # not a WebSocket
    assert client.app[SERVICES].sessions.n_readers == 0


async def test_messages_of_a_reader_are_ignored(client: Client) -> None:
    publisher, ready = await start(client)
    reader = await client.ws_connect(f"/v1/sessions/{ready['session']}/watch")
    await reader.send_json({"type": "stop"})
    await reader.send_bytes(SPEECH[:1000])
    await publisher.send_json({"type": "stop"})
    assert [event["type"] for event in await read_to_the_close(reader)] == ["snapshot", "end"]


async def test_a_reader_that_does_not_read_is_cut_off_and_delays_neither_publisher_nor_readers(
    start_server: StartServer,
) -> None:
    client = await start_server(live=LiveConfig(socket=SocketLimits(send_timeout_s=0.3)))
    publisher, ready = await start(client)
    sessions = client.app[SERVICES].sessions
    hub = sessions.find(ready["session"]).hub
    other = await client.ws_connect(f"/v1/sessions/{ready['session']}/watch")
    async with raw_connection(str(client.make_url("/")), receive_buffer_bytes=4096) as connection:
        request = f"GET /v1/sessions/{ready['session']}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        await asyncio.get_running_loop().sock_sendall(connection, request.encode())
        await eventually(lambda: sessions.n_readers == 2)
        n = 0
        while sessions.n_readers == 2:
            hub.publish(final(n, "x" * 20_000))
            assert (await read_until(publisher, "final"))["utterance"] == n
            assert (await read_until(other, "final"))["utterance"] == n
            n += 1


def drawn(link: str) -> bytes:
    expected = io.BytesIO()
    segno.make(link, error="m", micro=False).save(expected, kind="svg", xmldecl=False, scale=8, light="#fff")
    return expected.getvalue()


async def test_the_code_leads_to_the_page_of_the_session(client: Client) -> None:
    """The link has the host name of the request. What anybody can send about its scheme does not count."""
    for scheme, private in itertools.product(("http", "https"), (False, True)):
        _, ready = await start(client, private=private)
        headers = {"Host": "localhost:1234", "X-Forwarded-Proto": scheme}
        if private:
            headers["Authorization"] = f"Bearer {ready['reader_token']}"
        answer = await client.get(f"/v1/sessions/{ready['session']}/qr.svg", headers=headers)
        assert answer.content_type == "image/svg+xml"
        link = f"http://localhost:1234/watch/{ready['session']}"
        link += f"#token={ready['reader_token']}" if private else ""
        assert await answer.read() == drawn(link)


async def test_the_code_has_the_address_that_the_page_has(client: Client) -> None:
    """A proxy may serve the page below another path, by https, and send no header about it."""
    _, ready = await start(client)
    url = f"/v1/sessions/{ready['session']}/qr.svg"
    for page in ("https://localhost:1234/hall/", "http://localhost:1234/", "http://localhost:1234"):
        answer = await client.get(url, params={"page": page}, headers={"Host": "localhost:1234"})
        assert await answer.read() == drawn(f"{page.rstrip('/')}/watch/{ready['session']}")
    for page in (
        "http://localhost:99/",
        "https://evil.example/",
        "javascript:alert(1)",
        "",
        "http://localhost:1234/#x",
    ):
        answer = await client.get(url, params={"page": page}, headers={"Host": "localhost:1234"})
        assert (answer.status, (await answer.json())["code"]) == (400, "invalid_query")


async def test_the_code_has_the_public_address_wherever_the_page_is_open(start_server: StartServer) -> None:
    client = await start_server(public_url="https://Captions.example.org/hall")
    _, ready = await start(client)
    for query in ({}, {"page": "http://localhost:1234/"}):
        answer = await client.get(f"/v1/sessions/{ready['session']}/qr.svg", params=query)
        assert await answer.read() == drawn(f"https://captions.example.org/hall/watch/{ready['session']}")
    assert (await (await client.get("/v1/info")).json())["public_url"] == "https://captions.example.org/hall/"


async def test_the_code_has_an_address_of_this_network_for_a_page_that_is_open_on_localhost(client: Client) -> None:
    listening = client.app[LISTENING]
    listening.endpoints = [("192.0.2.7", 8000)]  # as if the server was bound to it
    _, ready = await start(client)
    [address] = (await (await client.get("/v1/info")).json())["addresses"]
    assert address == "http://192.0.2.7:8000/"
    url = f"/v1/sessions/{ready['session']}/qr.svg"
    answer = await client.get(url, params={"page": address})
    assert await answer.read() == drawn(f"http://192.0.2.7:8000/watch/{ready['session']}")
    stranger = {"X-Forwarded-For": "192.0.2.99"}
    assert (await client.get(url, params={"page": address}, headers=stranger)).status == 400
    assert (await (await client.get("/v1/info", headers=stranger)).json())["addresses"] == []


async def test_the_code_for_a_client_without_a_host_header_has_the_address_of_the_socket(
    start_server: StartServer,
) -> None:
    client = await start_server(host="0.0.0.0", token="operator")  # with names that are checked, Host is necessary
    publisher = await client.ws_connect("/v1/stream", headers={"Authorization": "Bearer operator"})
    await publisher.send_json({"type": "start"})
    session = (await read_event(publisher))["session"]
    async with raw_connection(str(client.make_url("/"))) as connection:
        reader, writer = await asyncio.open_connection(sock=connection.dup())
        writer.write(f"GET /v1/sessions/{session}/qr.svg HTTP/1.0\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
    assert answer.endswith(drawn(f"http://{client.host}:{client.port}/watch/{session}"))


async def test_the_code_is_drawn_once_beside_the_loop(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn_in: list[threading.Thread] = []
    original = segno.make

    def make(*args: Any, **options: Any) -> segno.QRCode:
        drawn_in.append(threading.current_thread())
        return original(*args, **options)

    # Only a function in place of the library's shows which thread draws, and how often.
    monkeypatch.setattr(segno, "make", make)
    _, ready = await start(client)
    codes = [await (await client.get(f"/v1/sessions/{ready['session']}/qr.svg")).read() for _ in range(3)]
    assert len(set(codes)) == 1
    (thread,) = drawn_in
    assert thread is not threading.main_thread()


async def test_the_page_to_read_along_is_there_for_every_session(client: Client) -> None:
    answer = await client.get("/watch/whatever")
    assert answer.status == 200
    assert "<title>" in await answer.text()


@pytest.mark.parametrize("kind", ["events", "watch"])
async def test_a_reader_who_waits_keeps_nothing_of_what_it_was_sent(client: Client, kind: str) -> None:
    """A snapshot of a long session has megabytes, and there may be thousands of readers."""
    _, ready = await start(client)
    hub = client.app[SERVICES].sessions.find(ready["session"]).hub
    if kind == "events":
        response = await client.get(f"/v1/sessions/{ready['session']}/events")
        await read(response)
    else:
        assert (await read_event(await client.ws_connect(f"/v1/sessions/{ready['session']}/watch")))["finals"] == []
    snapshot = weakref.ref(hub.log._snapshot)
    hub.log._snapshot = None
    await eventually(lambda: gc.collect() is not None and snapshot() is None)


async def test_a_reader_that_sends_too_much_is_cut_off_and_delays_nobody_else(client: Client) -> None:
    publisher, ready = await start(client)
    talker, other = [await client.ws_connect(f"/v1/sessions/{ready['session']}/watch") for _ in range(2)]
    for number in range(readers.MAX_MESSAGES):
        assert not talker.closed, number
        await talker.send_str("hello")
    await read_to_the_close(talker)
    assert talker.close_code == 1008
    await publisher.send_json({"type": "stop"})
    assert (await read_to_the_close(other))[-1]["type"] == "end"
    assert other.close_code == 1000


async def test_a_message_of_a_reader_that_is_too_large_ends_its_connection(client: Client) -> None:
    _, ready = await start(client)
    reader = await client.ws_connect(f"/v1/sessions/{ready['session']}/watch")
    await reader.send_str("x" * (readers.MAX_READ_BYTES + 1))
    await read_to_the_close(reader)
    assert reader.close_code in (1006, 1009)  # the Close may be lost after messages that were not read
    await eventually(lambda: client.app[SERVICES].sessions.n_readers == 0)
