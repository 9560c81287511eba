"""Sessions are put together of their parts."""

from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
import pytest_asyncio

from livecaption.audio.formats import AudioFormat
from livecaption.decoding.pool import DecoderPool
from livecaption.errors import InvalidMessage, Unauthorized, WrongState
from livecaption.events import Ready
from livecaption.live.config import SessionLimits
from livecaption.live.dialects.commands import Finish, Open, Ping, Reattach
from livecaption.live.opener import RoomOfSession, SessionOpener
from livecaption.live.published import News
from livecaption.live.session import LiveSession
from livecaption.live.state import Ending
from livecaption.pipeline.options import StreamOptions
from livecaption.recognition import TranscriptionOptions
from livecaption.store.rows import NewSession
from livecaption.store.store import Store
from livecaption.workers.pool import WorkerPool
from tests.support.session_parts import IdleWorkers, KeptPeer

START = '{"type":"start"}'


class KeepingStore:
    """Keeps the sessions that begin."""

    def __init__(self, *, is_shared: bool = False) -> None:
        self.is_shared = is_shared
        self.begun: list[NewSession] = []
        self.end_is_held = False
        self.release_end: Callable[[], None] = lambda: None

    def begin(self, session: NewSession, written: Any) -> None:
        self.begun.append(session)
        written()

    def end(self, session_id: str, duration_ms: int, written: Any) -> None:
        if self.end_is_held:
            self.release_end = written
        else:
            written()


def ignore(_: Any) -> None:
    pass


OpenerOf = Callable[..., SessionOpener]
Started = Callable[..., tuple[Ready, NewSession]]


@pytest_asyncio.fixture
async def opener_of() -> AsyncIterator[OpenerOf]:
    """Make openers. The decoder that a session of a container has begun ends with the test."""
    decoders = DecoderPool()

    def make(workers: WorkerPool, store: Store | None, resume_window_s: float = 1.0) -> SessionOpener:
        return SessionOpener(
            workers,
            decoders,
            store,
            resume_window_s=resume_window_s,
            limits=SessionLimits(),
            on_latency=ignore,
        )

    yield make
    await decoders.close()


@pytest.fixture
def started(opener_of: OpenerOf) -> Started:
    """Start sessions; return the `ready` of each, and what the store has of it."""

    def start(*, resumable: bool = True, resume_window_s: float = 60.0, **options: Any) -> tuple[Ready, NewSession]:
        store = KeepingStore()
        workers = cast(WorkerPool, IdleWorkers())
        opener = opener_of(workers, cast(Store, store), resume_window_s)
        session: LiveSession = opener.new(Open(StreamOptions(**options), START), ignore, ignore, resumable=resumable)
        peer = KeptPeer()
        session.start(peer)
        session.fail(InvalidMessage("enough"))
        (ready,) = [event for event in peer.sent if isinstance(event, Ready)]
        return ready, store.begun[0]

    return start


async def test_a_session_that_can_be_resumed_is_stored_with_what_its_dialect_needs(started: Started) -> None:
    ready, known = started()
    assert ready.resume_window_ms == 60_000
    assert known.resumption is not None
    assert known.resumption.start == START
    assert ready.resume_token not in str(known)


@pytest.mark.parametrize(
    "circumstances",
    [{"resumable": False}, {"resume_window_s": 0.0}, {"audio": AudioFormat("auto")}],
    ids=["the protocol", "the settings", "a container"],
)
async def test_a_session_that_cannot_be_resumed_has_no_resume_window_and_is_not_stored_for_a_restart(
    started: Started, circumstances: dict[str, Any]
) -> None:
    ready, known = started(**circumstances)
    assert ready.resume_window_ms == 0
    assert known.resumption is None


async def test_the_language_is_that_of_the_options_or_the_only_one_of_the_model(started: Started) -> None:
    assert started()[0].language == "en"
    assert started(transcription=TranscriptionOptions(language="en"))[1].language == "en"
    with pytest.raises(InvalidMessage, match="does not support this language"):
        started(transcription=TranscriptionOptions(language="de"))


async def test_the_tokens_of_a_private_session_are_its_own(started: Started) -> None:
    (one, _), (other, _) = started(private=True), started(private=True)
    assert len({one.session, one.resume_token, one.reader_token, other.session, other.resume_token}) == 5
    assert started()[0].reader_token is None


async def test_a_wrong_token_opens_nothing(opener_of: OpenerOf) -> None:
    workers = cast(WorkerPool, IdleWorkers())
    opener = opener_of(workers, None)
    session = opener.new(Open(StreamOptions(private=True)), ignore, ignore, resumable=True)
    for check in (session.tokens.check_publisher, session.tokens.check_reader):
        with pytest.raises(Unauthorized):
            check("wrong")


async def test_a_part_of_a_room_outlives_its_server_if_it_is_stored_and_can_be_resumed(opener_of: OpenerOf) -> None:
    workers = cast(WorkerPool, IdleWorkers())
    store = cast(Store, KeepingStore())
    room = RoomOfSession("pycon", "reader", News(), lambda: 1)

    def outlives(audio: str = "pcm_s16le", room: RoomOfSession | None = room, store: Store | None = store) -> bool:
        options = StreamOptions(audio=AudioFormat(audio))
        return opener_of(workers, store).new(Open(options), ignore, ignore, resumable=True, room=room).outlives_server

    assert outlives()
    assert not outlives(room=None)
    assert not outlives(store=None)
    assert not outlives(audio="auto")
    shared = cast(Store, KeepingStore(is_shared=True))
    assert outlives(room=None, store=shared)  # another server may go on with it at once
    assert not outlives(audio="auto", store=shared)


async def test_the_readers_token_of_a_private_part_is_that_of_its_room(opener_of: OpenerOf) -> None:
    workers = cast(WorkerPool, IdleWorkers())
    room = RoomOfSession("pycon", "the token of its readers", News(), lambda: 1)
    command = Open(StreamOptions(private=True))
    session = opener_of(workers, None).new(command, ignore, ignore, resumable=True, room=room)
    session.tokens.check_reader(room.reader_token)
    assert session.tokens.reader == room.reader_token
    assert (session.hub.news, session.about.room) == (room.news, "pycon")


async def test_nothing_follows_end_also_where_the_store_is_slow(opener_of: OpenerOf) -> None:
    store = KeepingStore()
    opener = opener_of(cast(WorkerPool, IdleWorkers()), cast(Store, store))
    session = opener.new(Open(StreamOptions()), ignore, ignore, resumable=True)
    peer = KeptPeer()
    session.start(peer)
    session.execute(Ping(1))
    store.end_is_held = True
    session.execute(Finish())
    session.execute(Ping(2))
    session.report(WrongState("audio after stop", fatal=False))
    store.release_end()
    assert [event.type for event in peer.sent] == ["ready", "pong", "ack", "end"]
    assert peer.ending == Ending("stop")


async def test_a_session_ends_once(opener_of: OpenerOf) -> None:
    ended: list[LiveSession] = []
    workers = cast(WorkerPool, IdleWorkers())
    opener = opener_of(workers, None)
    session = opener.new(Open(StreamOptions()), ignore, ended.append, resumable=True)
    first, second = KeptPeer(), KeptPeer()
    session.start(first)
    session.resume(second, Reattach(session.id, session.tokens.resume, 1))
    assert first.ending == Ending("replaced")
    session.connection_closed(first)
    session.execute(Finish())
    assert ended == []
    session.connection_closed(second)
    third = KeptPeer()
    session.resume(third, Reattach(session.id, session.tokens.resume, 1))
    assert third.ending == Ending("stop")
    session.connection_closed(third)
    assert ended == [session]
