"""The store over HTTP: lists, search, transcripts, deletion, and access to them."""

import asyncio
import html
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import srt
import webvtt
from aiohttp.test_utils import TestClient, TestServer

from livecaption.captions.labels import Names
from livecaption.captions.transcript import FORMATS
from livecaption.config import Config
from livecaption.events import Final, SpeakerNamed, Turn
from livecaption.ipc.config import EngineConfig
from livecaption.live.config import LiveConfig, RegistryLimits, SocketLimits
from livecaption.server import build_app, sending
from livecaption.server.exports import EXPORTS
from livecaption.server.growing import GROWING, GrowingTranscript
from livecaption.server.services import SERVICES
from livecaption.store import transcripts
from livecaption.store.config import StoreConfig
from livecaption.store.database import Database
from tests.support.eventually import eventually
from tests.support.peers import raw_connection
from tests.support.serving import PAUSE, SPEECH, Client, StartServer, read_event, read_until, start_stream
from tests.support.stored import bytes_of, fill, locked_by_another, new_session, opened, read_by_another
from tests.support.transcripts import final

ServeStore = Callable[..., Awaitable[Client]]

COUNCIL = [
    final("The tram & the bus are late.", 0, 2000, 0),
    final("", 3000, 3300, 1),
    final("Again!", 5000, 6000, 2),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "transcripts.db"


@pytest.fixture
def serve_store(start_server: StartServer, path: Path) -> ServeStore:
    """Start a server with a store. These tests do not need its model."""

    async def serve(**settings: Any) -> Client:
        return await start_server(store=StoreConfig(str(path)), wait=False, **settings)

    return serve


def fill_two(path: Path) -> None:
    """Write an older and a newer session into a store."""
    with opened(path) as database:
        fill(database, new_session("council", "City council"), COUNCIL)
        fill(database, new_session("lecture", language=None), [final("Über Straßenbahnen.", 0, 3000, language="de")])


@pytest.fixture
async def stored(serve_store: ServeStore, path: Path) -> Client:
    """Start a server whose store has an older and a newer session."""
    fill_two(path)
    return await serve_store()


@pytest.fixture(scope="module")
async def only_read(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """Serve the same to all tests that change nothing in the store."""
    path = tmp_path_factory.mktemp("store") / "transcripts.db"
    fill_two(path)
    config = Config(engine=EngineConfig(engine="scripted"), store=StoreConfig(str(path)))
    async with TestClient(TestServer(build_app(config))) as client:
        yield client


async def speak(client: Client, **options: Any) -> str:
    """Start a session, stream an utterance and receive its final. The session stays open."""
    await client.app[SERVICES].pool.wait_until_loaded()
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "partials": False, **options})
    session: str = (await read_event(socket))["session"]
    await socket.send_bytes(SPEECH + PAUSE)
    await read_until(socket, "final")
    return session


def overwrite(path: Path, content: bytes) -> None:
    path.write_bytes(content)


async def get(client: Client, path: str, status: int = 200, **headers: str) -> Any:
    response = await client.get(path, headers=headers)
    assert response.status == status, await response.text()
    return await response.json()


# List and search


async def test_sessions_are_listed_the_newest_first(only_read: Client) -> None:
    listed = await get(only_read, "/v1/sessions")
    council = {
        "id": "council",
        "title": "City council",
        "language": "en",
        "private": False,
        "state": "ended",
        "started_at": "2026-02-02T02:40:00.000Z",
        "duration_ms": 6000,
        "finals": 2,
        "speakers": 0,
        "names": {},
        "room": None,
        "room_title": None,
    }
    lecture = {**council, "id": "lecture", "title": "", "language": "de", "duration_ms": 3000, "finals": 1}
    assert listed == {"sessions": [lecture, council], "next": None}
    assert await get(only_read, "/v1/sessions/council") == council


async def test_a_long_list_comes_in_pages(serve_store: ServeStore, path: Path) -> None:
    with opened(path) as database:
        for n in range(5):
            fill(database, new_session(str(n)), [])
    client = await serve_store()
    ids: list[str] = []
    query = "?limit=2"
    while query:
        page = await get(client, f"/v1/sessions{query}")
        ids += [session["id"] for session in page["sessions"]]
        query = f"?limit=2&before={page['next']}" if page["next"] else ""
    assert ids == ["4", "3", "2", "1", "0"]


async def test_a_search_finds_sessions_and_shows_where_it_was_said(only_read: Client) -> None:
    found = await get(only_read, "/v1/sessions?q=tram+city")
    assert [session["id"] for session in found["sessions"]] == ["council"]
    assert found["sessions"][0]["excerpts"] == [{"start_ms": 0, "parts": ["The ", "tram", " & the bus are late."]}]
    assert [session["id"] for session in (await get(only_read, "/v1/sessions?q=strassen"))["sessions"]] == []
    assert [session["id"] for session in (await get(only_read, "/v1/sessions?q=straß"))["sessions"]] == ["lecture"]
    assert (await get(only_read, "/v1/sessions?q=!!!"))["sessions"] == []
    assert len((await get(only_read, "/v1/sessions?q=+"))["sessions"]) == 2


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=201", "limit=x", "limit=-1", "limit=1.5", "limit=", "limit=²"),
        *("before=0", "before=1-x", "before=" + 30 * "9", "q=" + 201 * "a", "q=" + "+".join(13 * "a")),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused(only_read: Client, query: str) -> None:
    assert (await get(only_read, f"/v1/sessions?{query}", 400))["code"] == "invalid_query"


@pytest.mark.parametrize("query", ["%00", "a%00b", "%ff", "%ed%a0%80", "%22", "a*%20OR%20(b", "NEAR(", "text:x"])
async def test_no_search_is_an_internal_error(only_read: Client, query: str) -> None:
    await get(only_read, f"/v1/sessions?q={query}")


# Transcripts


async def test_a_transcript_comes_in_every_format(only_read: Client) -> None:
    texts = {}
    types = {}
    for name in ("vtt", "srt", "txt", "json"):
        response = await only_read.get(f"/v1/sessions/council/transcript.{name}")
        assert (response.status, response.charset) == (200, "utf-8")
        texts[name], types[name] = await response.text(), response.content_type
    assert types == {
        "vtt": "text/vtt",
        "srt": "application/x-subrip",
        "txt": "text/plain",
        "json": "application/json",
    }
    assert texts["txt"] == "The tram & the bus are late.\nAgain!\n"
    expected = ["The tram & the bus are late.", "Again!"]
    assert [html.unescape(cue.text) for cue in webvtt.from_string(texts["vtt"])] == expected
    assert [cue.content for cue in srt.parse(texts["srt"])] == expected
    assert '"text": "Again!"' in texts["json"]


async def test_lines_are_as_long_as_asked_for(only_read: Client) -> None:
    async def lines(query: str) -> list[str]:
        response = await only_read.get(f"/v1/sessions/council/transcript.srt{query}")
        return next(iter(srt.parse(await response.text()))).content.split("\n")

    assert await lines("") == ["The tram & the bus are late."]
    for refused in ("20", "1000", "x", ""):
        query = f"/v1/sessions/council/transcript.srt?line_length={refused}"
        assert (await get(only_read, query, 400))["code"] == "invalid_query"
    for length in (32, 37, 42):
        assert max(map(len, await lines(f"?line_length={length}"))) <= length


async def test_a_session_that_is_not_there_is_unknown(only_read: Client) -> None:
    for path in ("/v1/sessions/nobody", "/v1/sessions/nobody/transcript.vtt", "/v1/sessions/%00/transcript.txt"):
        assert (await get(only_read, path, 404))["code"] == "unknown_session"
    assert (await only_read.get("/v1/sessions/council/transcript.exe")).status == 404


async def test_a_session_that_runs_is_listed_and_exported(serve_store: ServeStore) -> None:
    client = await serve_store()
    session = await speak(client, title="Now", language="de")
    (listed,) = (await get(client, "/v1/sessions"))["sessions"]
    assert (listed["id"], listed["title"], listed["language"]) == (session, "Now", "de")
    assert (listed["state"], listed["finals"]) == ("open", 1)
    text = await (await client.get(f"/v1/sessions/{session}/transcript.txt")).text()
    assert text.startswith("One two")


async def test_a_session_that_is_not_to_be_kept_is_exported_and_never_stored(
    serve_store: ServeStore,
) -> None:
    client = await serve_store()
    session = await speak(client, title="Secret", keep=False)
    await speak(client, title="Kept")
    text = await (await client.get(f"/v1/sessions/{session}/transcript.txt")).text()
    assert text.startswith("One two")
    assert [row["title"] for row in (await get(client, "/v1/sessions"))["sessions"]] == ["Kept"]
    client.app[SERVICES].sessions._sessions.clear()  # five minutes after its end
    await get(client, f"/v1/sessions/{session}/transcript.json", status=404)
    store = client.app[SERVICES].store
    assert store is not None
    assert await store.session(session) is None


async def test_the_webvtt_of_a_running_session_is_only_ever_appended_to(serve_store: ServeStore) -> None:
    client = await serve_store()
    await client.app[SERVICES].pool.wait_until_loaded()
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "partials": False})
    session = (await read_event(socket))["session"]
    path = f"/v1/sessions/{session}/transcript.vtt"
    seen = await (await client.get(path)).read()
    assert seen == b"WEBVTT\n\n"
    for n_said in range(1, 5):
        await socket.send_bytes(SPEECH + PAUSE)
        await read_until(socket, "final")
        # The client requests the part that it does not have.
        response = await client.get(path, headers={"Range": f"bytes={len(seen)}-"})
        new = await response.read()
        if n_said == 1:  # no cue is final before the next speech
            assert (response.status, new) == (416, b"")
            assert response.headers["Content-Range"] == f"bytes */{len(seen)}"
        else:
            assert response.status == 206
            assert (
                response.headers["Content-Range"] == f"bytes {len(seen)}-{len(seen) + len(new) - 1}/{len(seen + new)}"
            )
        seen += new
        assert await (await client.get(path)).read() == seen
    await socket.send_json({"type": "stop"})
    await read_until(socket, "end")
    assert (await get(client, f"/v1/sessions/{session}"))["state"] == "ended"
    whole = await (await client.get(path)).read()
    assert whole.startswith(seen)
    assert len(webvtt.from_string(whole.decode())) == 4


async def test_a_client_that_follows_webvtt_gets_all_of_it_again_once_a_speaker_has_a_name(client: Client) -> None:
    """The words that it has may be those of this speaker. A server that has started again has only the new name."""
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start"})
    session_id = (await read_event(socket))["session"]
    hub = client.app[SERVICES].sessions.find(session_id).hub
    path = f"/v1/sessions/{session_id}/transcript.vtt"

    async def following(seen: bytes) -> tuple[int, str, bytes]:
        response = await client.get(path, headers={"Range": f"bytes={len(seen)}-"})
        return response.status, response.headers["Accept-Ranges"], await response.read()

    for n in range(4):
        turn = Turn(1, "Hello.", 3000 * n, 3000 * n + 900)
        hub.publish(final(turn.text, turn.start_ms, turn.end_ms, n, turns=[turn]))
    seen = await (await client.get(path)).read()
    hub.publish(final("Yes.", 12_000, 12_900, 4))
    status, accepts, new = await following(seen)
    assert (status, accepts, new.count(b"-->")) == (206, "bytes", 1)
    hub.publish(SpeakerNamed(1, "Ada"))
    hub.publish(final("No.", 15_000, 15_900, 5))
    status, accepts, whole = await following(seen + new)
    assert (status, accepts) == (200, "none")
    assert whole.startswith(seen + new)
    await socket.send_json({"type": "stop"})
    await read_until(socket, "end")
    client.app[GROWING].forget(session_id)
    status, accepts, ended = await following(whole)
    assert (status, accepts, ended.count(b"<v Ada>"), ended.count(b"-->")) == (200, "none", 4, 6)


async def test_only_webvtt_is_given_in_parts_while_a_session_runs(client: Client) -> None:
    """The last cue of SubRip still changes, and so does the end of JSON."""
    session = await speak(client)
    for kind in ("srt", "txt", "json"):
        response = await client.get(f"/v1/sessions/{session}/transcript.{kind}", headers={"Range": "bytes=8-"})
        assert (response.status, response.headers["Accept-Ranges"]) == (200, "none")


class HeldLayout:
    """Add a format whose layouts wait for an event of the test."""

    def __init__(self) -> None:
        self.n_begun = 0
        self.n_done = 0
        self.may_go_on = threading.Event()

    def __call__(self, finals: Iterable[Final], line_length: int, names: Names) -> str:
        self.n_begun += 1
        assert self.may_go_on.wait(20)
        text = "".join(final.text for final in finals)
        self.n_done += 1
        return text


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldLayout]:
    held = HeldLayout()
    monkeypatch.setitem(FORMATS, "srt", held)
    yield held
    held.may_go_on.set()


async def test_lists_and_searches_do_not_wait_for_transcripts_that_are_laid_out(
    stored: Client, held: HeldLayout
) -> None:
    lengths = (32, 37, 42)
    asked = [
        asyncio.create_task(stored.get(f"/v1/sessions/council/transcript.srt?line_length={lengths[n % 3]}"))
        for n in range(60)
    ]
    await eventually(lambda: held.n_begun == 2)
    for query in ("", "?q=tram"):
        assert (await get(stored, f"/v1/sessions{query}"))["sessions"]
    held.may_go_on.set()
    assert {(await answer).status for answer in asked} == {200}
    assert held.n_done == 3


async def test_too_many_transcripts_at_a_time_are_refused(
    serve_store: ServeStore, path: Path, held: HeldLayout
) -> None:
    with opened(path) as database:
        for n in range(11):
            fill(database, new_session(str(n)), COUNCIL)
    client = await serve_store()
    asked = [asyncio.create_task(client.get(f"/v1/sessions/{n}/transcript.srt")) for n in range(10)]
    exports = client.app[EXPORTS]
    await eventually(lambda: exports._n_layouts == 10)
    refused = await client.get("/v1/sessions/10/transcript.srt")
    assert (refused.status, (await refused.json())["code"], refused.headers["Retry-After"]) == (503, "overloaded", "2")
    held.may_go_on.set()
    assert {(await answer).status for answer in asked} == {200}


async def test_a_transcript_whose_client_has_gone_is_not_laid_out(stored: Client, held: HeldLayout) -> None:
    _, writer = await asyncio.open_connection(stored.host, stored.port)
    writer.write(b"GET /v1/sessions/council/transcript.srt HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await eventually(lambda: held.n_begun == 1)
    (layout,) = stored.app[EXPORTS]._under_way.values()
    writer.close()
    await eventually(lambda: not layout.is_wanted())
    held.may_go_on.set()
    await eventually(lambda: not stored.app[EXPORTS]._under_way)
    assert held.n_done == 0


async def test_the_transcript_of_a_session_that_is_over_is_laid_out_once_and_gone_when_it_is_deleted(
    stored: Client, held: HeldLayout
) -> None:
    held.may_go_on.set()
    for _ in range(3):
        assert (await stored.get("/v1/sessions/council/transcript.srt")).status == 200
    assert held.n_done == 1
    await stored.delete("/v1/sessions/council")
    assert (await stored.get("/v1/sessions/council/transcript.srt")).status == 404
    assert not stored.app[EXPORTS]._kept


@pytest.mark.parametrize("stores", [True, False], ids=["store", "no store"])
async def test_the_transcript_of_a_session_that_runs_is_laid_out_with_each_final(
    start_server: StartServer, path: Path, stores: bool, held: HeldLayout
) -> None:
    held.may_go_on.set()
    client = await start_server(store=StoreConfig(str(path)) if stores else StoreConfig())
    socket = await start_stream(client, partials=False)
    (session,) = client.app[SERVICES].sessions._sessions
    texts = []
    for _ in range(2):
        await socket.send_bytes(SPEECH + PAUSE)
        await read_until(socket, "final")
        texts.append(await (await client.get(f"/v1/sessions/{session}/transcript.srt")).text())
    assert len(texts[0]) < len(texts[1])
    await socket.send_json({"type": "stop"})
    await read_until(socket, "end")
    for _ in range(3):
        assert await (await client.get(f"/v1/sessions/{session}/transcript.srt")).text() == texts[1]
    assert held.n_done == 3


async def test_a_transcript_that_is_not_read_waits_in_slices_and_its_client_is_cut_off(
    serve_store: ServeStore, path: Path
) -> None:
    with opened(path) as database:
        fill(database, new_session("long"), [final("x" * 100_000, n * 5000, n * 5000 + 4000, n) for n in range(120)])
    client = await serve_store(live=LiveConfig(socket=SocketLimits(send_timeout_s=0.5)))
    assert isinstance(client.server, TestServer)
    server = client.server.handler
    assert server is not None
    for asked in ("", "Range: bytes=1-\r\n"):
        async with raw_connection(str(client.make_url("/")), receive_buffer_bytes=4096) as connection:
            request = f"GET /v1/sessions/long/transcript.txt HTTP/1.1\r\nHost: localhost\r\n{asked}\r\n"
            await asyncio.get_running_loop().sock_sendall(connection, request.encode())
            await eventually(lambda: server.connections)
            (protocol,) = server.connections
            transport = protocol.transport
            assert transport is not None
            await eventually(transport.get_write_buffer_size)
            assert transport.get_write_buffer_size() <= 4 * sending.SLICE_BYTES
            unsent = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
            assert unsent == sending.MAX_UNSENT_BYTES
            await eventually(lambda: not server.connections)


async def test_head_gets_the_headers_of_a_transcript_alone(only_read: Client) -> None:
    path = "/v1/sessions/council/transcript.vtt"
    expected = await only_read.get(path)
    length = len(await expected.read())
    assert expected.headers["Content-Type"] == "text/vtt; charset=utf-8"
    assert expected.headers["X-Content-Type-Options"] == "nosniff"
    reader, writer = await asyncio.open_connection(only_read.host, only_read.port)
    writer.write(f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    head, end, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 200")
    assert f"Content-Length: {length}\r\n".encode() in head
    assert (end, body) == (b"\r\n\r\n", b"")


# New titles


async def test_a_session_gets_another_title_by_which_it_is_found(stored: Client) -> None:
    response = await stored.patch("/v1/sessions/council", json={"title": "Budget debate"})
    assert (response.status, (await response.json())["title"]) == (200, "Budget debate")
    (found,) = (await get(stored, "/v1/sessions?q=budget"))["sessions"]
    assert (found["id"], found["title"]) == ("council", "Budget debate")


async def test_a_body_in_a_charset_that_nobody_knows_is_refused(only_read: Client) -> None:
    headers = {"Content-Type": "application/json; charset=klingon"}
    response = await only_read.patch("/v1/sessions/council", data=b'{"title": "Budget"}', headers=headers)
    assert (response.status, (await response.json())["code"]) == (400, "invalid_message")


@pytest.mark.parametrize(
    "body", ["{}", "[]", "no JSON", '{"title": 5}', '{"names": {}}', '{"names": []}', json.dumps({"title": "x" * 201})]
)
async def test_a_title_that_is_none_is_refused(only_read: Client, body: str) -> None:
    response = await only_read.patch("/v1/sessions/council", data=body)
    assert (response.status, (await response.json())["code"]) == (400, "invalid_message")


async def test_only_those_who_may_delete_a_session_give_it_a_title(serve_store: ServeStore, path: Path) -> None:
    with opened(path) as database:
        fill(database, new_session("council"), COUNCIL)
    client = await serve_store(token="secret")
    operator = {"Authorization": "Bearer secret"}
    other_site = {**operator, "Origin": "https://evil.example"}
    for session, headers, status in (
        ("council", {}, 401),
        ("council", other_site, 403),
        ("nobody", operator, 404),
        ("council", operator, 200),
    ):
        response = await client.patch(f"/v1/sessions/{session}", json={"title": "Mine"}, headers=headers)
        assert response.status == status


# Deletion


async def snapshot_for_a_new_reader(client: Client, session: str) -> Any:
    reader = await client.ws_connect(f"/v1/sessions/{session}/watch")
    snapshot = await read_until(reader, "snapshot")
    await reader.close()
    return snapshot


async def test_a_deleted_session_is_gone(stored: Client) -> None:
    assert (await stored.delete("/v1/sessions/council")).status == 204
    for path in ("/v1/sessions/council", "/v1/sessions/council/transcript.txt"):
        assert (await get(stored, path, 404))["code"] == "unknown_session"
    assert [session["id"] for session in (await get(stored, "/v1/sessions"))["sessions"]] == ["lecture"]
    assert (await stored.delete("/v1/sessions/council")).status == 404


async def test_a_session_that_is_deleted_while_it_runs_goes_on_and_is_not_kept(serve_store: ServeStore) -> None:
    client = await serve_store()
    await client.app[SERVICES].pool.wait_until_loaded()
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start", "partials": False})
    session = (await read_event(socket))["session"]
    await socket.send_bytes(SPEECH + PAUSE)
    await read_until(socket, "final")
    assert (await client.delete(f"/v1/sessions/{session}")).status == 204
    await socket.send_bytes(SPEECH + PAUSE)
    assert (await read_until(socket, "final"))["text"]
    assert (await get(client, "/v1/sessions"))["sessions"] == []


async def test_a_deletion_while_another_program_reads_the_file_counts_for_readers_and_is_done_at_the_next_try(
    serve_store: ServeStore, path: Path
) -> None:
    client = await serve_store()
    session = await speak(client)
    assert (await snapshot_for_a_new_reader(client, session))["finals"]
    with read_by_another(path):
        for _ in range(2):
            answer = await client.delete(f"/v1/sessions/{session}")
            assert (answer.status, (await answer.json())["code"]) == (503, "store_failed")
            assert not (await snapshot_for_a_new_reader(client, session))["finals"]
    assert b"One two" in bytes_of(path.parent)
    assert (await client.delete(f"/v1/sessions/{session}")).status == 404
    assert b"One two" not in bytes_of(path.parent)


async def test_a_new_title_counts_for_readers_also_where_another_program_reads_the_file(
    serve_store: ServeStore, path: Path
) -> None:
    client = await serve_store()
    session = await speak(client, title="Wrong")
    with read_by_another(path):
        assert (await client.patch(f"/v1/sessions/{session}", json={"title": "Right"})).status == 503
        assert (await snapshot_for_a_new_reader(client, session))["title"] == "Right"


async def test_a_deletion_that_takes_too_long_counts_for_readers_at_the_next_try(
    serve_store: ServeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcripts, "CHORE_TIMEOUT_S", 0.0)
    client = await serve_store()
    session = await speak(client)
    assert (await client.delete(f"/v1/sessions/{session}")).status == 503
    monkeypatch.undo()
    assert (await client.delete(f"/v1/sessions/{session}")).status == 404
    assert not (await snapshot_for_a_new_reader(client, session))["finals"]


async def test_a_session_that_is_not_kept_and_a_room_are_no_sessions_to_delete(serve_store: ServeStore) -> None:
    client = await serve_store()
    room = {"name": "hall", "secret": "s" * 32}
    session = await speak(client, keep=False, room=room)
    for name in (session, "hall"):
        assert (await client.delete(f"/v1/sessions/{name}")).status == 404
    assert "One two" in await (await client.get(f"/v1/sessions/{session}/transcript.txt")).text()
    assert (await get(client, "/v1/rooms/hall"))["session"] == session


async def test_pages_of_other_sites_may_not_delete(stored: Client) -> None:
    response = await stored.delete("/v1/sessions/council", headers={"Origin": "https://evil.example"})
    assert (response.status, (await response.json())["code"]) == (403, "forbidden_origin")
    await get(stored, "/v1/sessions/council")


# Access


async def test_with_a_token_only_the_operator_lists_finds_and_deletes(serve_store: ServeStore, path: Path) -> None:
    with opened(path) as database:
        fill(database, new_session("council"), COUNCIL)
    client = await serve_store(token="secret")
    operator = {"Authorization": "Bearer secret"}
    for query in ("", "?q=tram"):
        assert (await get(client, f"/v1/sessions{query}", 401))["code"] == "unauthorized"
        assert len((await get(client, f"/v1/sessions{query}", **operator))["sessions"]) == 1
    assert (await client.delete("/v1/sessions/council")).status == 401
    # The id of a session cannot be guessed, and is enough to read it.
    await get(client, "/v1/sessions/council")
    assert (await client.get("/v1/sessions/council/transcript.vtt")).status == 200
    assert (await client.delete("/v1/sessions/council", headers=operator)).status == 204


async def test_a_private_session_is_read_with_a_token_only(serve_store: ServeStore, path: Path) -> None:
    with opened(path) as database:
        fill(database, new_session("council", private=True), COUNCIL)
    client = await serve_store(token="secret")
    for below in ("", "/transcript.vtt", "/transcript.json"):
        assert (await client.get(f"/v1/sessions/council{below}")).status == 401
        response = await client.get(f"/v1/sessions/council{below}", headers={"Authorization": "Bearer secret"})
        assert response.status == 200


async def test_without_a_token_nobody_gets_a_private_session_that_is_over(serve_store: ServeStore, path: Path) -> None:
    with opened(path) as database:
        fill(database, new_session("council", "City council", private=True), COUNCIL)
        fill(database, new_session("lecture", "Lecture of the city"), COUNCIL)
    client = await serve_store()
    for shown in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer guess"}):
        for below in ("", *(f"/transcript.{name}" for name in ("vtt", "srt", "txt", "json"))):
            answer = await get(client, f"/v1/sessions/council{below}?reader_token=", 401, **shown)
            assert answer["code"] == "unauthorized"
        refused = await client.delete("/v1/sessions/council", headers=shown)
        assert (refused.status, (await refused.json())["code"]) == (401, "unauthorized")
        for query in ("", "?q=city", "?q=tram"):
            listed = (await get(client, f"/v1/sessions{query}", **shown))["sessions"]
            assert [session["id"] for session in listed] == ["lecture"]
    assert (await client.delete("/v1/sessions/lecture")).status == 204
    with closing(Database(path)) as database:
        assert [session.id for session in database.sessions(10)] == ["council"]


FROM_ELSEWHERE = {"X-Forwarded-For": "192.0.2.7"}


async def test_without_a_token_other_machines_neither_list_nor_search_nor_delete(stored: Client) -> None:
    """They still read a transcript whose id they have: the link is what gives access."""
    for ask in (
        stored.get("/v1/sessions", headers=FROM_ELSEWHERE),
        stored.get("/v1/sessions?q=tram", headers=FROM_ELSEWHERE),
        stored.get("/v1/sessions", headers={"Host": "localhost", **FROM_ELSEWHERE, "Authorization": "Bearer guess"}),
        stored.delete("/v1/sessions/council", headers=FROM_ELSEWHERE),
    ):
        refused = await ask
        assert (refused.status, (await refused.json())["code"]) == (403, "local_only")
        assert "LIVECAPTION_TOKEN" in (await refused.json())["message"]
    await get(stored, "/v1/sessions/council", **FROM_ELSEWHERE)
    for name in FORMATS:
        assert (await stored.get(f"/v1/sessions/council/transcript.{name}", headers=FROM_ELSEWHERE)).status == 200
    assert (await stored.delete("/v1/sessions/council")).status == 204


async def test_with_a_token_the_operator_lists_and_deletes_from_anywhere(serve_store: ServeStore, path: Path) -> None:
    with opened(path) as database:
        fill(database, new_session("council"), COUNCIL)
    client = await serve_store(token="secret")
    operator = {"Authorization": "Bearer secret", **FROM_ELSEWHERE}
    assert len((await get(client, "/v1/sessions", **operator))["sessions"]) == 1
    assert (await get(client, "/v1/sessions", 401))["code"] == "unauthorized"  # also on the server's machine
    assert (await client.delete("/v1/sessions/council", headers=operator)).status == 204


async def test_the_operator_lists_finds_and_deletes_private_sessions(serve_store: ServeStore, path: Path) -> None:
    with opened(path) as database:
        fill(database, new_session("council", private=True), COUNCIL)
    client = await serve_store(token="secret")
    operator = {"Authorization": "Bearer secret"}
    for query in ("", "?q=tram"):
        (listed,) = (await get(client, f"/v1/sessions{query}", **operator))["sessions"]
        assert listed["private"]
    assert (await client.delete("/v1/sessions/council")).status == 401
    assert (await client.delete("/v1/sessions/council", headers=operator)).status == 204


@pytest.mark.parametrize("ended", [False, True], ids=["running", "just ended"])
@pytest.mark.parametrize("token", ["", "secret"])
@pytest.mark.parametrize("stores", [True, False], ids=["store", "no store"])
async def test_a_private_session_is_read_with_its_reader_token_whether_the_operator_has_set_one_or_not(
    start_server: StartServer, path: Path, stores: bool, token: str, ended: bool
) -> None:
    client = await start_server(store=StoreConfig(str(path)) if stores else StoreConfig(), token=token)
    operator = {"Authorization": f"Bearer {token}"}
    socket = await client.ws_connect("/v1/stream", headers=operator)
    await socket.send_json({"type": "start", "private": True})
    ready = await read_event(socket)
    if ended:
        await socket.send_json({"type": "stop"})
        await read_until(socket, "end")
    session = f"/v1/sessions/{ready['session']}"
    readable = [f"{session}/transcript.{name}" for name in ("vtt", "srt", "txt", "json")] + [session] * stores
    for below in readable:
        for wrong in ("", ready["resume_token"], token):
            refused = await get(client, f"{below}?reader_token={wrong}", 401)
            assert refused["code"] == "wrong_token"
        for right in ({"Authorization": f"Bearer {ready['reader_token']}"}, operator if token else {}):
            response = await client.get(below, headers=right)
            assert response.status == (200 if right else 401)
        assert (await client.get(below, params={"reader_token": ready["reader_token"]})).status == 200
    if stores:
        # Readers may read a session, but only the operator may delete it.
        reader = {"Authorization": f"Bearer {ready['reader_token']}"}
        assert (await client.delete(session, headers=reader)).status == 401
        if not token:
            assert (await get(client, "/v1/sessions"))["sessions"] == []


# Without a store


async def test_where_nothing_is_stored_a_session_that_runs_is_exported_as_far_as_it_goes(client: Client) -> None:
    session = await speak(client, words=True)
    path = f"/v1/sessions/{session}/transcript"
    assert (await (await client.get(f"{path}.txt")).text()).startswith("One two three")
    (caption,) = (await get(client, f"{path}.json"))["captions"]
    assert caption["words"][0]["word"] == "One"
    (subtitle,) = srt.parse(await (await client.get(f"{path}.srt")).text())
    assert subtitle.content.startswith("One two")
    # The end of a cue depends on the next one.
    assert await (await client.get(f"{path}.vtt")).text() == "WEBVTT\n\n"
    assert (await client.get(f"{path}.vtt", headers={"Range": "bytes=8-"})).status == 416
    for asked, status in (("bytes=-2", 206), ("bytes=-0", 416), ("bytes=0-", 206)):
        assert (await client.get(f"{path}.vtt", headers={"Range": asked})).status == status


async def test_where_nothing_is_stored_a_session_that_ended_is_exported_as_long_as_it_can_be_read_along(
    start_server: StartServer,
) -> None:
    client = await start_server(live=LiveConfig(registry=RegistryLimits(keep_ended_s=0.5)))
    socket = await client.ws_connect("/v1/stream")
    await socket.send_json({"type": "start"})
    path = f"/v1/sessions/{(await read_event(socket))['session']}/transcript.vtt"
    await socket.send_bytes(SPEECH + PAUSE)
    await socket.send_json({"type": "stop"})
    await read_until(socket, "end")
    (cue,) = webvtt.from_string(await (await client.get(path)).text())
    assert cue.text.startswith("One two")
    while (response := await client.get(path)).status == 200:
        pass
    assert (response.status, (await response.json())["code"]) == (404, "no_store")


async def test_where_nothing_is_stored_a_private_session_is_exported_with_a_token_only(
    start_server: StartServer,
) -> None:
    client = await start_server(token="secret")
    operator = {"Authorization": "Bearer secret"}
    socket = await client.ws_connect("/v1/stream", headers=operator)
    await socket.send_json({"type": "start", "private": True})
    ready = await read_event(socket)
    path = f"/v1/sessions/{ready['session']}/transcript.json"
    assert (await client.get(path)).status == 401
    assert (await client.get(path, params={"reader_token": ready["resume_token"]})).status == 401
    assert (await client.get(path, params={"reader_token": ready["reader_token"]})).status == 200
    assert (await client.get(path, headers=operator)).status == 200


# Faults


async def test_a_server_that_keeps_nothing_answers_with_an_error(start_server: StartServer) -> None:
    client = await start_server(wait=False)
    for path in ("/v1/sessions", "/v1/sessions/one", "/v1/sessions/one/transcript.vtt"):
        assert (await get(client, path, 404))["code"] == "no_store"
    assert (await client.delete("/v1/sessions/one")).status == 404
    assert (await get(client, "/v1/stats"))["store"] is None


async def test_captions_go_on_while_the_database_is_locked_and_the_stats_show_it(
    serve_store: ServeStore, path: Path
) -> None:
    client = await serve_store()
    at_rest = {"working": True, "behind": False, "waiting": 0, "failures": 0, "lost": 0, "early": 0, "cut_off": False}
    assert (await get(client, "/v1/stats"))["store"] == at_rest
    with locked_by_another(path):
        session = await speak(client)
        store = client.app[SERVICES].store
        assert store is not None
        await eventually(lambda: store.figures.failures > 0)
        counts = (await get(client, "/v1/stats"))["store"]
        assert (counts["working"], counts["lost"]) == (False, 0)
        assert counts["waiting"] >= 2
        metrics = await (await client.get("/metrics")).text()
        assert "livecaption_store_working 0.0" in metrics
        assert "livecaption_store_failures_total" in metrics
        assert (await client.delete(f"/v1/sessions/{session}")).status in (404, 503)
    await eventually(lambda: store.figures.working)
    assert (await (await client.get(f"/v1/sessions/{session}/transcript.txt")).text()).startswith("One two")


async def test_a_database_that_cannot_be_read_is_no_fault_of_the_client(stored: Client, path: Path) -> None:
    overwrite(path, b"rubbish " * 4096)
    overwrite(path.with_name("transcripts.db-wal"), b"")
    # The list may still work, because its pages were read when the server started and may be cached.
    for below in ("/v1/sessions?q=tram", "/v1/sessions/council/transcript.vtt"):
        assert (await get(stored, below, 503))["code"] == "store_failed"
    await speak(stored)


def test_a_final_that_another_channel_has_overtaken_is_in_the_growing_webvtt() -> None:
    growing = GrowingTranscript(37)
    late, overtaking = final("Late.", 0, 9000, 0, channel=0), final("First.", 1000, 2000, 1, channel=1)
    assert growing.news([overtaking]) == [overtaking]
    growing.text({}, [overtaking])
    assert growing.news([overtaking, late]) == [late]
    text = growing.text({}, [overtaking, late, final("Later.", 200_000, 201_000, 2, channel=0)])
    assert [text.count(word) for word in ("Late.", "First.", "Later.")] == [1, 1, 0]
