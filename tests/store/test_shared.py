"""One file of SQLite that processes of one server share."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from livecaption.errors import StoreUnusable, WrongState
from livecaption.events import Final
from livecaption.ipc import datagrams
from livecaption.recognition import SessionId
from livecaption.store import shared, writer
from livecaption.store.config import Sharing, StoreConfig
from livecaption.store.database import Database
from livecaption.store.keeper import Keeper
from livecaption.store.rows import Resumption, RoomRecord, SessionState
from livecaption.store.shared import SharedTranscripts
from livecaption.store.store import RoomWish
from tests.support.datagrams import fill
from tests.support.eventually import eventually
from tests.support.stored import new_session
from tests.support.stores import all_written, ignore, read_interrupted

ONE, TWO = SessionId("one"), SessionId("two")
RESUMPTION = Resumption("{}", "hash", None)
ROOM, WISH = RoomRecord("pycon", "PyCon", "secret", None, 5), RoomWish("pycon", window_ms=60_000)
FINALS = [Final(n, f"text {n}", n * 1000, n * 1000 + 900, "en", 0.9, 500) for n in range(3)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "transcripts.db"


@pytest.fixture
def keeper(path: Path) -> Iterator[Keeper]:
    keeper = Keeper(StoreConfig(str(path)))
    keeper.open(["a", "b"])
    yield keeper
    keeper.close()


@asynccontextmanager
async def sharing(path: Path, *owners: str) -> AsyncIterator[list[SharedTranscripts]]:
    async with AsyncExitStack() as stack:
        stores = []
        for owner in owners:
            config = StoreConfig(str(path))
            store = SharedTranscripts(config, Sharing(owner, str(path.parent), expires=False), max_hold_s=60)
            await store.open()
            stack.push_async_callback(store.close)
            stores.append(store)
        yield stores


def begin(store: SharedTranscripts) -> None:
    store.begin(new_session(ONE, resumption=RESUMPTION), ignore)
    store.append(ONE, FINALS[0], 2, 900, ignore)


async def texts(store: SharedTranscripts) -> list[str]:
    return [final.text for final in await store.finals(ONE)]


@pytest.mark.usefixtures("keeper")
async def test_all_processes_read_what_one_has_written(path: Path) -> None:
    async with sharing(path, "a", "b") as (a, b):
        begin(a)
        await all_written(a)
        assert await texts(b) == ["text 0"]
        assert await b.resumption(ONE) == RESUMPTION
        assert await read_interrupted(b) == []


@pytest.mark.usefixtures("keeper")
async def test_a_process_has_a_session_that_it_begins_also_where_not_all_of_it_goes_into_one_transaction(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_BATCH", 1)
    async with sharing(path, "a") as (a,):
        lost: list[SessionId] = []
        a.share(ignore_asked, lambda session_id, _: lost.append(session_id), ignore_asked)
        begin(a)
        await all_written(a)
        assert (lost, await texts(a), await a.resumption(ONE)) == ([], ["text 0"], RESUMPTION)


@pytest.mark.usefixtures("keeper")
async def test_another_server_is_refused(path: Path) -> None:
    with pytest.raises(StoreUnusable, match="another server keeps its transcripts there"):
        Keeper(StoreConfig(str(path))).open(["c"])


def test_a_file_below_an_unknown_home_is_refused() -> None:
    with pytest.raises(StoreUnusable, match=r"in ~no-such-user/transcripts\.db: the home directory is unknown"):
        Keeper(StoreConfig("~no-such-user/transcripts.db")).open(["a"])


@pytest.mark.usefixtures("keeper")
async def test_a_session_is_asked_for_and_comes_with_all_that_was_written(path: Path) -> None:
    async with sharing(path, "a", "b") as (a, b):
        given: list[SessionId] = []

        def give(session_id: SessionId) -> None:
            given.append(session_id)
            a.append(ONE, FINALS[1], 3, 1900, ignore)
            a.release(session_id)

        a.share(give, lambda *_: None, ignore_asked)
        begin(a)
        await all_written(a)
        taken = await b.take(ONE)
        assert taken is not None
        assert given == [ONE]
        assert [final.text for final in taken.finals] == ["text 0", "text 1"]
        assert (taken.generation, taken.checkpoint_ms, taken.record.state) == (2, 1900, SessionState.INTERRUPTED)


@pytest.mark.usefixtures("keeper")
async def test_a_process_that_is_asked_by_more_than_its_socket_holds_is_not_taken_for_dead(path: Path) -> None:
    """It has a room in which somebody speaks whose session is not stored."""
    async with sharing(path, "a", "b") as (a, b):
        a.share_rooms(lambda _: False, lambda _: None)
        assert await a.take_room(ROOM, WISH) == ROOM
        asyncio.get_running_loop().remove_reader(a._neighbours._socket)
        await fill(path.parent / "a", b"wanted one b")
        with pytest.raises(WrongState, match="somebody else speaks"):
            await b.take_room(ROOM, WISH)


@pytest.mark.usefixtures("keeper")
async def test_a_process_is_not_asked_before_it_can_answer(path: Path) -> None:
    store = SharedTranscripts(StoreConfig(str(path)), Sharing("a", str(path.parent), expires=False))
    may_open = threading.Event()
    store._take = may_open.wait
    opening = asyncio.ensure_future(store.open())
    await asyncio.sleep(0)
    with pytest.raises(FileNotFoundError):
        await datagrams.send(path.parent / "a", b"wanted one b", 60)
    may_open.set()
    await opening
    await datagrams.send(path.parent / "a", b"wanted one b", 60)
    await store.close()


@pytest.mark.usefixtures("keeper")
async def test_a_process_without_a_place_for_its_socket_is_refused(path: Path) -> None:
    store = SharedTranscripts(StoreConfig(str(path)), Sharing("a", str(path.parent / "missing"), expires=False))
    with pytest.raises(StoreUnusable, match="no socket for the other processes"):
        await store.open()


@pytest.mark.usefixtures("keeper")
async def test_a_process_that_was_not_asked_for_a_session_finds_out_that_it_has_moved_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one came before this one listened."""
    monkeypatch.setattr(shared, "WATCH_INTERVAL_S", 0.02)
    async with sharing(path, "a", "b") as (a, b):
        lost: list[tuple[SessionId, bool]] = []
        a.share(ignore_asked, lambda *session: lost.append(session), ignore_asked)
        for session_id in (ONE, TWO):
            a.begin(new_session(session_id, resumption=RESUMPTION), ignore)
        await all_written(a)
        (path.parent / "a").unlink()
        assert await b.take(ONE)
        await eventually(lambda: lost)
        assert (lost, a._here, b._here) == ([(ONE, True)], {TWO}, {ONE})


@pytest.mark.usefixtures("keeper")
async def test_of_several_sessions_that_wait_for_their_publishers_the_one_that_is_wanted_is_taken(path: Path) -> None:
    async with sharing(path, "a", "b") as (a, b):
        a.share(a.release, lambda *_: None, ignore_asked)
        for session_id in (ONE, TWO):
            a.begin(new_session(session_id, resumption=RESUMPTION), ignore)
        await all_written(a)
        for session_id in (TWO, ONE):
            taken = await b.take(session_id)
            assert taken is not None
            assert taken.record.id == session_id


@pytest.mark.usefixtures("keeper")
@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_session_stays_where_it_is_if_nobody_waits_any_more_for_its_takeover(
    path: Path, has_begun: bool
) -> None:
    async with sharing(path, "a", "b") as (a, b):
        begin(a)
        a.release(ONE)
        await all_written(a)
        may_go_on, is_held = threading.Event(), threading.Event()

        def hold(_: Database) -> Iterator[bool]:
            is_held.set()
            may_go_on.wait()
            yield True

        holding = asyncio.ensure_future(b._do(hold))
        await asyncio.to_thread(is_held.wait)
        taking = asyncio.ensure_future(b.take(ONE))
        await eventually(lambda: b._writer._chores)
        if has_begun:
            b._read = silence
            may_go_on.set()
            await eventually(lambda: owner_of(path) == "b")
        taking.cancel()
        await asyncio.wait({taking})
        may_go_on.set()
        await holding
        await all_written(b)
        assert owner_of(path) is None
        assert await a.take(ONE) is not None


async def silence(_: Callable[[Database], Any]) -> Any:
    """A disk that does not answer."""
    await asyncio.Future()


def owner_of(path: Path) -> str | None:
    with closing(Database(path)) as database:
        return database.owner(ONE)


@pytest.mark.usefixtures("keeper")
async def test_the_late_write_of_a_process_that_has_lost_a_session_changes_nothing(path: Path) -> None:
    async with sharing(path, "a", "b") as (a, b):
        lost: list[tuple[SessionId, bool]] = []
        a.share(ignore_asked, lambda *one: lost.append(one), ignore_asked)
        begin(a)
        await all_written(a)
        assert await b.take(ONE) is not None
        told: list[list[tuple[SessionId, bool]]] = []
        a.append(ONE, FINALS[1], 3, 1900, lambda: told.append(list(lost)))
        a.end(ONE, 5000, ignore)
        await all_written(a)
        assert told == [[(ONE, True)]]  # it is known before anybody would be sent the final
        assert await texts(b) == ["text 0"]
        record = await b.session(ONE)
        assert record is not None
        assert record.state is SessionState.INTERRUPTED
        b.reopen(ONE)
        b.append(ONE, FINALS[2], 4, 2900, ignore)
        b.end(ONE, 3000, ignore)
        await all_written(b)
        assert await texts(a) == ["text 0", "text 2"]


def ignore_asked(_: SessionId) -> None:
    """A process that hangs."""


async def test_the_sessions_of_a_dead_process_pass_to_its_successor(path: Path, keeper: Keeper) -> None:
    async with sharing(path, "a") as (a,):
        begin(a)
        await all_written(a)
    await asyncio.to_thread(keeper.pass_on, "a", "c")
    async with sharing(path, "b", "c") as (b, c):
        assert await read_interrupted(b) == []
        (session,) = await read_interrupted(c)
        assert (session.record.id, session.generation) == (ONE, 1)


async def test_the_sessions_of_an_earlier_server_are_dealt_out(path: Path, keeper: Keeper) -> None:
    ids = [SessionId(f"s{n}") for n in range(5)]
    async with sharing(path, "a") as (a,):
        for session_id in ids:
            a.begin(new_session(session_id, resumption=RESUMPTION), ignore)
        await all_written(a)
    keeper.close()
    next_keeper = Keeper(StoreConfig(str(path)))
    next_keeper.open(["c", "d"])
    async with sharing(path, "c", "d") as (c, d):
        found = [[each.record.id for each in await read_interrupted(store)] for store in (c, d)]
        assert sorted(found[0] + found[1]) == ids
        assert min(map(len, found)) == 2
    next_keeper.close()
