"""Captions for programs that fetch them: line by line, and as segments for HLS players."""

import json
import re
import sqlite3
import time
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import m3u8
import pytest
import webvtt
from aiohttp import hdrs

from livecaption.events import Final, SpeechStart, Translation
from livecaption.server import delivered
from livecaption.server.exports import MAX_AT_A_TIME, MAX_WAITING
from livecaption.server.followed import FOLLOWED, Shelf, T
from livecaption.server.services import SERVICES
from livecaption.store.config import StoreConfig
from tests.support.rooms import NAME, TALK, enter, put, said, spoken
from tests.support.serving import Client, StartServer, read_event, read_to_the_close

PLAYLIST = f"/v1/rooms/{NAME}/captions.m3u8"


@pytest.fixture
async def client(start_server: StartServer) -> Client:
    return await start_server()


@pytest.fixture
async def stored(start_server: StartServer, tmp_path: Path) -> Client:
    return await start_server(store=StoreConfig(str(tmp_path / "transcripts.db")))


async def fetched(client: Client, path: str, status: int = 200, **query: Any) -> tuple[str, dict[str, str]]:
    async with client.get(path, params=query) as response:
        text = await response.text()
        assert response.status == status, text
        return text, dict(response.headers)


async def polled(client: Client, path: str = "/captions", status: int = 200, **query: Any) -> dict[str, Any]:
    async with client.get(path, params={"event": NAME, **query}) as response:
        assert response.status == status, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer


async def all_lines(client: Client, last: int = 0, **query: Any) -> tuple[list[str], int]:
    lines = []
    while (answer := await polled(client, last=last, **query))["content"]:
        lines.append(answer["content"])
        last = answer["lastPosition"]
    return lines, last


async def test_a_program_that_polls_gets_the_words_of_all_parts_once(client: Client) -> None:
    texts = await spoken(client, 2)
    lines, last = await all_lines(client)
    assert "".join(lines).split() == " ".join(texts).split()
    assert (await polled(client, last=-1))["lastPosition"] == last
    later = await spoken(client)
    assert "".join((await all_lines(client, last))[0]).split() == later[0].split()


async def test_a_line_has_its_language_and_length(client: Client) -> None:
    await spoken(client)
    answer = await polled(client, length=8)
    assert answer.keys() == {"content", "lastPosition", "languageCode"}
    assert (answer["content"], answer["languageCode"]) == ("One two ", "en")
    assert (await fetched(client, f"/v1/rooms/{NAME}/captions"))[1][hdrs.CONTENT_LANGUAGE] == "en"


async def test_positions_stay_right_over_a_restart_of_the_server(start_server: StartServer, tmp_path: Path) -> None:
    store = StoreConfig(str(tmp_path / "transcripts.db"))
    first = await start_server(store=store)
    await spoken(first)
    _, last = await all_lines(first)
    await first.close()
    second = await start_server(store=store)
    assert await all_lines(second, last) == ([], last)
    texts = await spoken(second)
    assert "".join((await all_lines(second, last))[0]).split() == texts[0].split()


async def test_an_event_that_is_unknown_is_not_there_yet(client: Client) -> None:
    answer = await polled(client, status=404)
    assert answer.items() >= {"content": "", "lastPosition": -1, "languageCode": "", "code": "unknown_room"}.items()


@pytest.mark.parametrize(
    "wrong", [{"last": "-2"}, {"last": "x"}, {"length": "0"}, {"length": "201"}, {"language": "xx"}]
)
async def test_a_wrong_parameter_of_a_poll_is_refused(client: Client, wrong: dict[str, str]) -> None:
    await put(client)
    assert (await polled(client, status=400, **wrong))["code"] == "invalid_query"


async def test_a_line_is_not_repeated_once_a_part_with_separate_channels_is_stored(
    start_server: StartServer, tmp_path: Path
) -> None:
    store = StoreConfig(str(tmp_path / "transcripts.db"))
    first = await start_server(store=store)
    socket = await enter(first)
    session = first.app[SERVICES].sessions.find((await read_event(socket))["session"])
    aaa = Final(1, "aaa", 8_000, 10_000, "en", 0.9, 300, channel=0)
    bbb = Final(0, "bbb", 5_000, 12_000, "en", 0.9, 300, channel=1)
    session.hub.publish(SpeechStart(0, 5_000, channel=1))
    session.hub.publish(SpeechStart(1, 8_000, channel=0))
    session.hub.publish(bbb)
    assert await all_lines(first) == ([], 0)  # a final that ends earlier may come
    session.hub.publish(aaa)
    lines, last = await all_lines(first)
    assert lines == ["aaa ", "bbb "]
    for seq, final in enumerate((bbb, aaa), 2):
        first.app[SERVICES].store.append(session.id, final, seq, None, lambda: None)
    await socket.send_json({"type": "stop"})
    await read_to_the_close(socket)
    await first.close()
    second = await start_server(store=store)
    assert await all_lines(second) == (lines, last)
    assert await all_lines(second, last) == ([], last)


async def test_a_stored_part_is_read_once_for_all_polls(start_server: StartServer, tmp_path: Path) -> None:
    store = StoreConfig(str(tmp_path / "transcripts.db"))
    first = await start_server(store=store)
    await spoken(first)
    await first.close()
    second = await start_server(store=store)
    lines, last = await all_lines(second)
    with ExitStack() as taken:
        for _ in range(MAX_AT_A_TIME + MAX_WAITING):
            taken.enter_context(second.app[FOLLOWED].place())
        assert await all_lines(second) == (lines, last)
        await polled(second, status=503, language="en")  # this is another first read


@pytest.fixture
async def translating(start_server: StartServer) -> Client:
    return await start_server(tracks=("de",))


async def test_a_translation_is_waited_for(translating: Client) -> None:
    client = translating
    socket = await enter(client, translate=["de"])
    hub = client.app[SERVICES].sessions.find((await read_event(socket))["session"]).hub
    for utterance in range(3):
        end_ms = utterance * 2000 + 1000
        hub.publish(Final(utterance, f"Utterance {utterance}.", end_ms - 900, end_ms, "en", 0.9, 300))
    assert await all_lines(client, language="de") == ([], 0)
    hub.publish(Translation(1, "de", "Äußerung 1."))
    assert (await all_lines(client, language="de"))[0] == ["Utterance 0. ", "Äußerung 1. "]
    assert len((await all_lines(client))[0]) == 3


async def test_a_private_room_is_read_with_its_token_only(client: Client) -> None:
    token = (await put(client, private=True))["reader_token"]
    await spoken(client, end_room=True)
    for path in ("/captions", f"/v1/rooms/{NAME}/captions", PLAYLIST, f"/v1/rooms/{NAME}/captions/0.vtt"):
        query = {"event": NAME}
        assert '"wrong_token"' in (await fetched(client, path, 401, **query))[0]
        await fetched(client, path, **query, reader_token=token)
    [segment] = m3u8.loads((await fetched(client, PLAYLIST, reader_token=token))[0]).segments
    assert segment.uri == f"captions/0.vtt?reader_token={token}"


# HLS


async def test_an_event_that_is_over_is_a_playlist_with_all_its_words(client: Client) -> None:
    texts = await spoken(client, 2, end_room=True)
    text, headers = await fetched(client, PLAYLIST, duration=2, mpegts=126_000)
    assert headers[hdrs.CONTENT_TYPE] == "application/vnd.apple.mpegurl; charset=utf-8"
    playlist = m3u8.loads(text)
    assert playlist.is_endlist
    found = []
    for segment in playlist.segments:
        vtt, headers = await fetched(client, f"/v1/rooms/{NAME}/{segment.uri}")
        assert headers[hdrs.CONTENT_TYPE] == "text/vtt; charset=utf-8"
        assert vtt.startswith("WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:126000\n\n")
        found += [(cue.start, cue.text) for cue in webvtt.from_string(vtt)]
    assert " ".join(text.replace("\n", " ") for _, text in dict.fromkeys(found)) == " ".join(texts)
    assert "no such segment" in (await fetched(client, f"/v1/rooms/{NAME}/captions/99.vtt", 404))[0]
    await fetched(client, f"/v1/rooms/{NAME}/captions/x.vtt", 404)


async def test_a_part_that_was_sent_faster_than_it_lasts_is_followed_by_the_next_one(stored: Client) -> None:
    texts = [*await spoken(stored, 3), *await spoken(stored, 2, end_room=True)]
    stored.app[SERVICES].sessions._sessions.popitem()  # only the store has the second part
    captions = json.loads((await fetched(stored, f"/v1/rooms/{NAME}/transcript.json"))[0])["captions"]
    assert [caption["text"] for caption in captions] == texts
    assert all(before["end_ms"] <= after["start_ms"] for before, after in pairwise(captions))
    read = webvtt.from_string((await fetched(stored, f"/v1/rooms/{NAME}/transcript.vtt"))[0])
    segments = [
        webvtt.from_string((await fetched(stored, f"/v1/rooms/{NAME}/{segment.uri}"))[0])
        for segment in m3u8.loads((await fetched(stored, PLAYLIST, window=100))[0]).segments
    ]
    shown = dict.fromkeys((cue.start, cue.end, cue.text) for segment in segments for cue in segment)
    assert list(shown) == [(cue.start, cue.end, cue.text) for cue in read]


class Clock:
    """The clock of the handlers, which a test moves on."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def __call__(self) -> int:
        return round(time.time() * 1000) + self.ahead_ms


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(delivered, "_now_ms", made)
    return made


async def test_a_segment_is_listed_once_everything_in_it_is_final(client: Client, clock: Clock) -> None:
    socket = await enter(client)
    hub = client.app[SERVICES].sessions.find((await read_event(socket))["session"]).hub

    async def n_listed() -> int:
        playlist = m3u8.loads((await fetched(client, PLAYLIST, duration=2))[0])
        assert not playlist.is_endlist
        return len(playlist.segments)

    assert await n_listed() == 0
    clock.ahead_ms = 9_000  # nothing was said
    assert await n_listed() == 3
    hub.publish(SpeechStart(0, 7_000))
    clock.ahead_ms = 30_000
    assert await n_listed() == 3
    hub.publish(Final(0, "At last.", 7_000, 21_000, "en", 0.9, 300))
    assert await n_listed() == 10  # as many as are shown
    vtt, _ = await fetched(client, f"/v1/rooms/{NAME}/captions/4.vtt", duration=2)
    assert "At last." in vtt


async def test_nothing_is_listed_while_the_publisher_may_bring_audio_of_before(client: Client, clock: Clock) -> None:
    socket = await enter(client)
    hub = client.app[SERVICES].sessions.find((await read_event(socket))["session"]).hub
    clock.ahead_ms = 10_000
    before, _ = await fetched(client, PLAYLIST, duration=2)
    socket._writer.transport.abort()
    while hub.has_publisher:
        await hub.news.wait(1)
    clock.ahead_ms = 40_000
    assert (await fetched(client, PLAYLIST, duration=2))[0] == before


async def listed(client: Client, **query: Any) -> int:
    """Return the number behind that of the last segment that is listed."""
    playlist = m3u8.loads((await fetched(client, PLAYLIST, duration=2, **query))[0])
    sequence: int = playlist.media_sequence + len(playlist.segments)
    return sequence


async def test_a_playlist_that_is_new_does_not_go_back_while_the_publisher_is_away(client: Client) -> None:
    socket = await enter(client)
    hub = client.app[SERVICES].sessions.find((await read_event(socket))["session"]).hub
    room = await client.app[SERVICES].rooms.find(NAME)
    room.parts[0].started_at_ms -= 60_000
    before = await listed(client)
    assert before >= 28
    socket._writer.transport.abort()
    while hub.has_publisher:
        await hub.news.wait(1)
    client.app[FOLLOWED].timelines.close()
    assert before <= await listed(client) <= 30


async def test_a_playlist_does_not_go_back_at_a_restart_of_the_server(
    start_server: StartServer, tmp_path: Path
) -> None:
    path = tmp_path / "transcripts.db"
    first = await start_server(store=StoreConfig(str(path)))
    socket = await enter(first)
    session_id = (await read_event(socket))["session"]
    await said(socket, TALK)
    room = await first.app[SERVICES].rooms.find(NAME)
    room.parts[0].started_at_ms -= 60_000
    before = await listed(first)
    assert before >= 28
    await first.server.close()  # the client would end its part
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE session SET started_at_ms = started_at_ms - 60000")
    second = await start_server(store=StoreConfig(str(path)))
    assert second.app[SERVICES].sessions.find(session_id).parked
    assert await listed(second) >= before


async def test_the_video_may_have_begun_before_the_first_part(client: Client) -> None:
    await put(client)
    assert m3u8.loads((await fetched(client, PLAYLIST))[0]).segments == []
    start = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 20))
    playlist = m3u8.loads((await fetched(client, PLAYLIST, start=start, duration=2, window=5))[0])
    assert len(playlist.segments) == 5
    assert playlist.media_sequence >= 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"duration": "0"},
        {"duration": "61"},
        {"start": "yesterday"},
        {"start": "2027-01-15T08:00:00"},
        {"start": "1970-01-01T00:00:00Z"},
        {"start": "9999-12-31T23:59:59-14:00"},
        {"mpegts": "-1"},
        {"mpegts": str(2**33)},
        {"window": "0"},
        {"line_length": "36"},
        {"track": "xx"},
    ],
)
async def test_a_wrong_parameter_of_a_playlist_is_refused(client: Client, wrong: dict[str, str]) -> None:
    await put(client)
    assert "invalid_query" in (await fetched(client, PLAYLIST, 400, **wrong))[0]


async def test_a_part_that_was_deleted_is_in_no_segment(start_server: StartServer, tmp_path: Path) -> None:
    client = await start_server(store=StoreConfig(str(tmp_path / "transcripts.db")))
    await spoken(client)
    await spoken(client, end_room=True)
    first, _ = await fetched(client, f"/v1/rooms/{NAME}/captions/0.vtt", duration=60)
    assert len(webvtt.from_string(first)) == 2
    async with client.get(f"/v1/rooms/{NAME}") as response:
        session = (await response.json())["parts"][0]["session"]
    async with client.delete(f"/v1/sessions/{session}") as response:
        assert response.status == 204
    assert len(webvtt.from_string((await fetched(client, f"/v1/rooms/{NAME}/captions/0.vtt", duration=60))[0])) == 1


async def test_an_event_is_laid_out_in_its_language(translating: Client) -> None:
    client = translating
    socket = await enter(client, translate=["de"])
    hub = client.app[SERVICES].sessions.find((await read_event(socket))["session"]).hub
    hub.publish(Final(0, "One.", 0, 1_000, "en", 0.9, 300))
    hub.publish(Translation(0, "de", "Eins."))
    await socket.send_json({"type": "stop", "end_room": True})
    await read_to_the_close(socket)
    vtt, _ = await fetched(client, f"/v1/rooms/{NAME}/captions/0.vtt", track="de")
    assert re.findall(r"^(\w+\.)$", vtt, re.MULTILINE) == ["Eins."]


# What is kept


async def test_a_track_that_the_room_does_not_have_is_refused(start_server: StartServer, tmp_path: Path) -> None:
    store = StoreConfig(str(tmp_path / "transcripts.db"))
    client = await start_server(store=store, tracks=("de", "fr"))
    await spoken(client, translate=["de"], language="en", end_room=True)
    for is_stored in (False, True):
        if is_stored:
            await client.close()
            client = await start_server(store=store)
        assert (await polled(client, status=400, language="fr"))["code"] == "invalid_query"
        assert "no captions in fr" in (await fetched(client, PLAYLIST, 400, track="fr"))[0]
        for track in ("de", "en"):
            await polled(client, language=track)
            await fetched(client, PLAYLIST, track=track)


async def test_more_work_than_the_server_does_at_a_time_is_refused_and_what_is_there_is_served(client: Client) -> None:
    await spoken(client)
    lines = (await all_lines(client))[0]
    with ExitStack() as taken:
        for _ in range(MAX_AT_A_TIME + MAX_WAITING):
            taken.enter_context(client.app[FOLLOWED].place())
        text, headers = await fetched(client, PLAYLIST, 503)
        assert '"overloaded"' in text
        assert hdrs.RETRY_AFTER in headers
        assert (await all_lines(client))[0] == lines
    await fetched(client, PLAYLIST)


async def test_nothing_of_a_session_that_was_deleted_is_kept(start_server: StartServer, tmp_path: Path) -> None:
    client = await start_server(store=StoreConfig(str(tmp_path / "transcripts.db")))
    await spoken(client, end_room=True)
    await fetched(client, PLAYLIST)
    await polled(client)
    [timeline] = kept(client.app[FOLLOWED].timelines)
    [texts] = kept(client.app[FOLLOWED].polled)
    assert timeline.timeline.cues
    [session] = texts.sessions
    async with client.delete(f"/v1/sessions/{session}") as response:
        assert response.status == 204
    assert kept(client.app[FOLLOWED].timelines) == kept(client.app[FOLLOWED].polled) == []


def kept(shelf: Shelf[T]) -> list[T]:
    return [entry for entry, _ in shelf._kept.values()]
