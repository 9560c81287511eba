"""A whole store is read as of one moment, and sessions of a file come into either kind of store as they were."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from livecaption.errors import StoreFailed
from livecaption.events import CaptionWord, Final, SpeakerNamed, Translation, Turn
from livecaption.recognition import SessionId
from livecaption.store import rows
from livecaption.store.archive import restored_into, transcripts_of
from livecaption.store.backup import RestoredSession, ShorterSession
from livecaption.store.config import StoreConfig
from livecaption.store.rows import Resumption, RoomRecord, SessionRecord, SessionState
from livecaption.store.store import now_ms, oldest_waiting_ms, written
from tests.support.postgresql import Cluster
from tests.support.stored import STARTED_AT_MS, fill, new_session, opened
from tests.support.stores import Place, keep, read_interrupted
from tests.support.transcripts import final

ROOM = RoomRecord("PyCon", "A fair", "hash of a secret", "hash of a token", STARTED_AT_MS, event=1)
RESUMPTION = Resumption("{}", "hash", None)
Content = list[tuple[SessionRecord, Sequence[Final], Sequence[str]]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A store of SQLite with a part of a room in full detail, one that was left open, and a session with odd texts."""
    path = tmp_path / "moved.db"
    words = [CaptionWord("Alte", 0, 300, 0.5), CaptionWord("Bäume.", 300, 900, 0.25)]
    turns = [Turn(2, "Alte Bäume.", 0, 900)]
    with opened(path) as database:
        database.write(rows.put_room(ROOM, 10, 0))
        part = replace(
            new_session("part", "A lecture", started_at_ms=STARTED_AT_MS, private=True, room="PyCon"), event=1
        )
        fill(database, part, [final("Alte Bäume.", 0, 900, words=words, turns=turns), final("Moss.", 950, 1900, 1)])
        database.write([rows.translate(SessionId("part"), Translation(1, "de", "Moos."), 9)])
        database.write([rows.name_speaker(SessionId("part"), SpeakerNamed(2, "Ada"))])
        later = new_session("open", started_at_ms=STARTED_AT_MS + 1000, room="PyCon", resumption=RESUMPTION)
        fill(database, replace(later, event=1), [final("Questions?", channel=1), final("", 900, 950, 1)], ended=False)
        fill(
            database,
            new_session("odd", "", None, STARTED_AT_MS + 2000),
            [final("O'Neill: ☃ \\ 'x'"), final("", 1, 2, 1)],
        )
    return path


async def restored(file: Path, place: Place) -> list[RestoredSession | ShorterSession]:
    return [each async for each in restored_into(StoreConfig(place.path), file)]


async def content(path: str) -> Content:
    """Return all sessions, the newest first, with their finals and tracks."""
    async with transcripts_of(StoreConfig(path)) as store:
        return [
            (replace(each, number=0), list(await store.finals(each)), await store.tracks(each))
            for each in await store.sessions()
        ]


async def test_sessions_come_into_a_store_as_they_were_and_once(file: Path, place: Place) -> None:
    async with place.opened():
        pass
    before = await content(str(file))
    assert [record.state for record, _, _ in before] == [
        SessionState.ENDED,
        SessionState.OPEN,
        SessionState.ENDED,
    ]
    assert len(await restored(file, place)) == 3
    open_one, finals, tracks = before[1]
    before[1] = (replace(open_one, state=SessionState.INTERRUPTED), finals, tracks)
    assert await content(place.path) == before
    assert await restored(file, place) == []
    assert await content(place.path) == before


async def test_they_are_found_by_their_words_and_in_their_room(file: Path, place: Place) -> None:
    await restored(file, place)
    async with place.opened() as store:
        for term, expected in (("baume", "part"), ("lecture", "part"), ("question", "open"), ("neill", "odd")):
            assert [each.id for each in await store.sessions(9, terms=[term])] == [expected]
        room = await store.room("pycon")
        assert room == ROOM
        assert [part.id for part in await store.parts(room)] == ["part", "open"]
        assert await read_interrupted(store) == []  # nobody goes on with what another store has
        assert await store.resumption("open") is None


async def test_they_have_ended_when_their_publishers_did_and_not_with_their_audio(file: Path, place: Place) -> None:
    """Pauses at the end are in no audio, and a session that is open ends where its server is dead."""
    with opened(file) as database:
        found = database.execute("UPDATE session SET ended_at_ms = ? WHERE id = 'part' RETURNING 1", (now_ms(),))
        assert found.fetchall() == [(1,)]
    ends_ms = [each.ended_at_ms for each in await restored(file, place) if isinstance(each, RestoredSession)]
    assert [abs(end_ms - now_ms()) < 60_000 for end_ms in ends_ms] == [True, True, False]
    async with place.opened(keep_days=1) as store:
        async with asyncio.timeout(10):
            while await store.session("odd"):  # noqa: ASYNC110 - no event can be awaited
                await asyncio.sleep(0.01)
        assert [session.id for session in await store.sessions(10)] == ["open", "part"]


async def test_servers_use_the_store_while_sessions_come_into_it(file: Path, place: Place) -> None:
    async with place.opened() as store:
        async with aclosing(restored_into(StoreConfig(place.path), file)) as restoring:
            await anext(restoring)
            await keep(store, new_session("mine", started_at_ms=STARTED_AT_MS + 9000), [final("Mine.")])
            rest = [each async for each in restoring]
        assert len(rest) == 2
        assert [each.id for each in await store.sessions(9)] == ["mine", "odd", "open", "part"]


async def test_a_restoration_that_was_cut_short_is_completed_by_the_next(file: Path, place: Place) -> None:
    async with aclosing(restored_into(StoreConfig(place.path), file)) as restoring:
        await anext(restoring)
    assert [record.id for record, _, _ in await content(place.path)] == ["part"]
    assert len(await restored(file, place)) == 2


async def test_a_session_is_kept_and_counted_if_the_file_has_more_of_it(file: Path, place: Place) -> None:
    async with place.opened() as store:
        await keep(store, new_session("part"), [final("Mine.")])
    found = await restored(file, place)
    assert [each for each in found if isinstance(each, ShorterSession)] == [ShorterSession("part")]
    assert [said[0].text for record, said, _ in await content(place.path) if record.id == "part"] == ["Mine."]


async def test_a_part_of_a_room_that_somebody_else_has_made_again_is_not_shown_to_its_readers(
    file: Path, place: Place
) -> None:
    other = replace(ROOM, name="pycon", publisher_token_hash="of somebody else")
    async with place.opened() as store:
        await written(lambda call: store.put_room(other, call))
        await restored(file, place)
        assert await store.room("PyCon") == other
        assert await store.parts(other) == []
        assert (await store.session("part")).room == "pycon"


async def test_a_room_that_waits_for_its_first_part_comes_along(place: Place, tmp_path: Path) -> None:
    waiting = RoomRecord("later", "", "hash", None, oldest_waiting_ms() + 60_000)
    with opened(tmp_path / "moved.db") as database:
        database.write(rows.put_room(waiting, 10, 0))
    assert await restored(tmp_path / "moved.db", place) == []
    async with place.opened() as store:
        assert await store.room("later") == waiting


async def test_transcripts_that_are_written_while_a_store_is_read_are_not_mixed_in(file: Path, place: Place) -> None:
    await restored(file, place)
    async with place.opened() as store, transcripts_of(StoreConfig(place.path)) as transcripts:
        assert len(await transcripts.sessions()) == 3
        await keep(store, new_session("later"), [final("Later.")])
        assert len(await transcripts.sessions()) == 3
        assert await transcripts.unfinished() == frozenset()
        assert await transcripts.room("pycon") == ROOM


async def test_a_database_that_cannot_be_read_is_refused_with_the_reason(cluster: Cluster, file: Path) -> None:
    address = cluster.empty_database()

    async def refusal(path: str) -> str:
        with pytest.raises(StoreFailed) as refused:
            await content(path)
        return refused.value.message

    assert (await refusal(address)).endswith("/postgres: there are no transcripts")
    assert "password authentication failed" in await refusal(cluster.address("postgres", "wrong-pass"))
    with pytest.raises(StoreFailed, match=r"cannot restore into .*password authentication failed"):
        await restored(file, Place(cluster.address("postgres", "wrong-pass"), None, None))
    await restored(file, Place(address, None, None))
    cluster.execute("UPDATE livecaption SET version = 0; SELECT 1")
    assert "it was written by an earlier version of livecaption" in await refusal(address)
    cluster.execute("UPDATE livecaption SET version = 99, oldest = 99; SELECT 1")
    assert "it was written by a later version of livecaption" in await refusal(address)
    with pytest.raises(StoreFailed, match="it was written by a later version of livecaption"):
        await restored(file, Place(address, None, None))
