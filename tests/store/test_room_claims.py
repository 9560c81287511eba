"""A room lives in one of several servers at a time, whichever store they share."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from livecaption.errors import LivecaptionError, Unavailable, WrongState
from livecaption.recognition import SessionId
from livecaption.store.config import Sharing, StoreConfig
from livecaption.store.keeper import Keeper
from livecaption.store.postgresql.store import PostgresqlStore
from livecaption.store.room_claims import Holder, Outcome, may_end, take
from livecaption.store.rows import Resumption, RoomRecord, SessionState
from livecaption.store.shared import SharedTranscripts
from livecaption.store.store import RoomWish, Store, written
from tests.support.cases import for_each
from tests.support.stored import new_session
from tests.support.stores import all_written, ignore
from tests.support.transcripts import final

ONE = SessionId("one")
ROOM = RoomRecord("pycon", "PyCon", "secret", None, 5)
WINDOW_MS = 60_000
WISH = RoomWish("pycon", window_ms=WINDOW_MS)
TAKING_OVER = RoomWish("pycon", take_over=True, window_ms=WINDOW_MS)
FORMER = RoomWish("pycon", former_hash="hash", window_ms=WINDOW_MS)
RESUMING = RoomWish("pycon", resumed=ONE, window_ms=WINDOW_MS)

Open = Callable[[str], Awaitable[Store]]


@pytest.fixture(params=["sqlite", "postgresql"])
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Open one more store for the same transcripts, as a further server or process does."""
    opened: list[Store] = []
    address = request.getfixturevalue("cluster").empty_database() if request.param == "postgresql" else ""
    keeper = Keeper(StoreConfig(str(tmp_path / "transcripts.db")))
    if not address:
        keeper.open([])

    async def open_one(name: str) -> Store:
        store: Store
        if address:
            store = PostgresqlStore(StoreConfig(address), max_hold_s=60)
        else:
            sharing = Sharing(name, str(tmp_path), expires=False)
            store = SharedTranscripts(StoreConfig(str(tmp_path / "transcripts.db")), sharing, max_hold_s=60)
        await store.open()
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        if store not in dead:
            await store.close()
    keeper.close()


dead: set[Store] = set()


async def die(store: Store) -> None:
    """End a server, without a word to its sessions."""
    dead.add(store)
    await store.close()


async def speak(store: Store, *, resumable: bool = True) -> None:
    """Take the room, and begin a part with one final in it."""
    assert await store.take_room(ROOM, WISH) == ROOM
    resumption = Resumption("{}", "hash", None) if resumable else None
    store.begin(new_session(ONE, resumption=resumption, room="pycon"), ignore)
    store.append(ONE, final("One.", 0, 900), 2, None, ignore)
    await all_written(store)


def answer(store: Store, reply: bool) -> list[RoomWish]:
    """Let a server give the room up, or not. Return what it is asked for."""
    asked: list[RoomWish] = []

    def give(wish: RoomWish) -> bool:
        asked.append(wish)
        return reply

    store.share_rooms(give, lambda _: None)
    return asked


def hang(store: Any) -> None:
    """Let a server answer nothing."""
    if isinstance(store, PostgresqlStore):
        store._presence._asked_for_room = lambda *_: None
    else:
        store._neighbours._asked_for_room = lambda *_: None


async def code_of(taking: Awaitable[Any]) -> str:
    with pytest.raises(LivecaptionError) as refusal:
        await taking
    return refusal.value.code


async def texts(store: Store) -> list[str]:
    return [each.text for each in await store.finals(ONE)]


async def test_a_room_that_nobody_has_is_taken_and_a_new_one_is_written(open_store: Open) -> None:
    a, b = await open_store("a"), await open_store("b")
    assert await a.take_room(ROOM, WISH) == ROOM
    assert await b.room("pycon") == ROOM
    assert await a.take_room(ROOM, WISH) == ROOM  # it has it already


async def test_a_room_whose_server_refuses_is_taken(open_store: Open) -> None:
    a, b = await open_store("a"), await open_store("b")
    await speak(a)
    asked = answer(a, False)
    for wish in (WISH, TAKING_OVER, FORMER):  # the server itself decides
        assert await code_of(b.take_room(ROOM, wish)) == "room_taken"
    assert [(wish.take_over, wish.former_hash) for wish in asked] == [(False, ""), (True, ""), (False, "hash")]


async def test_a_room_that_is_given_up_comes_as_it_was_changed_last_and_its_last_part_goes_on_there(
    open_store: Open,
) -> None:
    a, b = await open_store("a"), await open_store("b")
    await speak(a)
    changed = RoomRecord("pycon", "PyCon 2026", "secret", None, 5, event=1)

    def give(_: RoomWish) -> bool:
        a.put_room(changed, ignore)
        a.append(ONE, final("Two.", 2000, 2900, 1), 3, None, ignore)
        return True

    a.share_rooms(give, lambda _: None)
    assert await b.take_room(ROOM, TAKING_OVER) == changed
    a.append(ONE, final("Three.", 3000, 3900, 2), 4, None, ignore)  # its last words
    await written(lambda call: a.end(ONE, 4000, call))
    assert await texts(b) == ["One.", "Two.", "Three."]
    answer(b, False)
    assert await code_of(a.take_room(ROOM, WISH)) == "room_taken"


async def test_the_part_of_a_server_that_hangs_ends_for_a_publisher_who_takes_over_and_its_late_write_changes_no_row(
    open_store: Open,
) -> None:
    a, b = await open_store("a"), await open_store("b")
    lost: list[tuple[str, bool]] = []
    a.share(lambda _: None, lambda *session: lost.append(session), lambda _: None)
    await speak(a)
    hang(a)
    assert await code_of(b.take_room(ROOM, WISH)) == "room_taken"
    assert await b.take_room(ROOM, TAKING_OVER) == ROOM
    await written(lambda call: a.append(ONE, final("Two.", 2000, 2900, 1), 3, None, call))
    a.end(ONE, 9000, ignore)
    await all_written(a)
    await asyncio.sleep(0)  # which comes in the next turn of the loop
    assert set(lost) == {(ONE, True)}
    assert await texts(b) == ["One."]
    record = await b.session(ONE)
    assert record is not None
    assert (record.state, record.duration_ms) == (SessionState.ENDED, 900)
    assert await b.resumption(ONE) is None


async def test_a_publisher_takes_the_room_of_a_server_that_hangs_from_its_own_last_session(open_store: Open) -> None:
    a, b = await open_store("a"), await open_store("b")
    await speak(a)
    hang(a)
    other = RoomWish("pycon", former_hash="of somebody else", window_ms=WINDOW_MS)
    assert await code_of(b.take_room(ROOM, other)) == "room_taken"
    assert await b.take_room(ROOM, FORMER) == ROOM
    assert await b.resumption(ONE) is None


async def test_a_room_of_a_server_that_hangs_is_taken_also_where_no_part_of_it_is_stored(open_store: Open) -> None:
    a, b = await open_store("a"), await open_store("b")
    await a.take_room(ROOM, WISH)
    hang(a)
    assert await code_of(b.take_room(ROOM, WISH)) == "room_taken"
    assert await b.take_room(ROOM, TAKING_OVER) == ROOM


@pytest.mark.parametrize("wish", [TAKING_OVER, FORMER])
async def test_a_part_of_a_dead_server_waits_for_its_publisher_and_ends_for_one_who_takes_over(
    open_store: Open, wish: RoomWish
) -> None:
    a, b = await open_store("a"), await open_store("b")
    await speak(a)
    await die(a)
    assert await code_of(b.take_room(ROOM, WISH)) == "room_taken"
    assert await b.take_room(ROOM, wish) == ROOM
    assert await b.resumption(ONE) is None
    record = await b.session(ONE)
    assert record is not None
    assert record.state is SessionState.ENDED


async def test_a_part_of_a_dead_server_goes_on_where_its_publisher_comes(open_store: Open) -> None:
    a, b, c = await open_store("a"), await open_store("b"), await open_store("c")
    await speak(a)
    await die(a)
    assert await b.take_room(ROOM, RESUMING) == ROOM
    assert await b.take(ONE) is not None
    b.reopen(ONE)
    await all_written(b)
    answer(b, False)
    assert await code_of(c.take_room(ROOM, WISH)) == "room_taken"


async def test_a_part_of_a_dead_server_that_cannot_go_on_is_in_nobodys_way(open_store: Open) -> None:
    a, b = await open_store("a"), await open_store("b")
    assert await a.take_room(ROOM, WISH) == ROOM  # and what is said is not kept
    await die(a)
    assert await b.take_room(ROOM, WISH) == ROOM


async def test_a_part_that_has_waited_too_long_is_in_nobodys_way(open_store: Open) -> None:
    a, b = await open_store("a"), await open_store("b")
    await speak(a)
    a.release(ONE)  # as at the stop of a server
    await all_written(a)
    answer(a, True)
    assert await code_of(b.take_room(ROOM, WISH)) == "room_taken"
    await asyncio.sleep(0.01)
    assert await b.take_room(ROOM, RoomWish("pycon", window_ms=1)) == ROOM
    assert await b.resumption(ONE) is None  # and does not speak in it again, wherever its publisher has waited


async def test_of_two_servers_that_take_a_room_at_once_one_has_it(open_store: Open) -> None:
    stores = [await open_store("a"), await open_store("b")]
    for store in stores:
        answer(store, False)
    for n in range(5):
        room = RoomRecord(f"room{n}", "", "secret", None, 5)
        names = [room, RoomRecord(f"ROOM{n}", "", "another secret", None, 5)]  # case does not count
        wish = RoomWish(room.name, window_ms=WINDOW_MS)
        taking = (store.take_room(name, wish) for store, name in zip(stores, names, strict=True))
        found = await asyncio.gather(*taking, return_exceptions=True)
        assert [type(each) for each in found if not isinstance(each, RoomRecord)] == [WrongState]
    assert len(await rooms_of(stores[0])) == 5


async def rooms_of(store: Store) -> set[str]:
    found = [await store.room(f"room{n}") for n in range(5)]
    return {room.name.lower() for room in found if room is not None}


async def test_a_server_reads_again_which_rooms_others_have_changed(open_store: Open) -> None:
    """The processes of one server do that in another way: `server.elsewhere`."""
    a, b = await open_store("a"), await open_store("b")
    if not isinstance(a, PostgresqlStore):
        return
    changed: asyncio.Queue[str] = asyncio.Queue()
    own: list[str] = []
    a.share_rooms(lambda _: True, own.append)
    b.share_rooms(lambda _: True, changed.put_nowait)
    a.put_room(ROOM, ignore)
    async with asyncio.timeout(20):
        assert await changed.get() == "pycon"
        await speak(a)
        assert await changed.get() == "pycon"
        a.end(ONE, 1000, ignore)
        assert await changed.get() == "pycon"
    assert own == []


@for_each(
    ("wish", "parts", "outcome", "expected"),
    [
        (WISH, {}, None, True),
        (WISH, {}, Outcome.DEAD, True),
        (WISH, {}, Outcome.SILENT, False),
        (TAKING_OVER, {}, Outcome.SILENT, True),
        (WISH, {"one": "hash"}, Outcome.DEAD, False),
        (FORMER, {"one": "hash"}, Outcome.SILENT, True),
        (FORMER, {"one": "hash", "two": None}, Outcome.DEAD, False),
        (RESUMING, {"one": "hash"}, Outcome.SILENT, True),
        (RESUMING, {"one": "hash", "two": "hash"}, Outcome.DEAD, False),
    ],
)
def test_parts_end_for_those_who_take_over_and_for_their_own_publishers(
    wish: RoomWish, parts: dict[str, str | None], outcome: Outcome | None, expected: bool
) -> None:
    assert may_end(wish, parts, outcome) is expected


async def test_a_server_that_a_third_one_was_faster_than_may_try_again() -> None:
    async def claim(former: Holder[str] | None) -> RoomRecord | Holder[str] | None:
        return Holder("b", 1) if former is None else Holder("c", 2)

    async def ask(_: str) -> Outcome:
        return Outcome.DEAD

    with pytest.raises(Unavailable) as refusal:
        await take(claim, ask)
    assert refusal.value.retry_after_s == 1.0
