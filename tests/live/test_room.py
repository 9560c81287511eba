"""The feed of one room: its parts one after the other, from any cursor."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest

from livecaption.errors import StoreFailed
from livecaption.events import End, Snapshot
from livecaption.events import Room as RoomEvent
from livecaption.live.event_log import Message, SnapshotMessage
from livecaption.live.hub import Hub
from livecaption.live.published import News
from livecaption.live.room import Room
from livecaption.live.room_parts import Part
from livecaption.live.room_state import ENDED_AFTER_MS, RoomState
from livecaption.store.rows import NewSession, RoomRecord, SessionState
from tests.support.eventually import eventually
from tests.support.stored import new_session
from tests.support.transcripts import final

END = End(5000, 1, "stop")
NOW_MS = 1_790_000_000_000


@dataclass
class Session:
    """A live session, as far as a room needs it."""

    about: NewSession
    hub: Hub
    takes_audio: bool = True
    received_ms: int = 0

    def say(self, text: str) -> None:
        self.hub.publish(final(text, utterance=len(self.hub.finals)))

    def end(self) -> None:
        self.takes_audio = False
        self.hub.publish(END)


@dataclass
class Event:
    """A room whose sessions and store the test has in its hands."""

    sessions: dict[str, Session] = field(default_factory=dict)
    kept: dict[str, list[str]] = field(default_factory=dict)
    n_loads: int = 0
    store_fails: bool = False

    def __post_init__(self) -> None:
        self.news = News()
        about = RoomRecord("pycon", "PyCon", "hash", None, NOW_MS)
        self.room = Room(about, [], self.news, self.sessions.get, self.look_for, self.load)

    async def look_for(self, _: str) -> None:
        """There are no other servers."""

    async def load(self, part: Part) -> Message | None:
        self.n_loads += 1
        await asyncio.sleep(0)
        if self.store_fails:
            raise StoreFailed("no disk")
        finals = tuple(final(text) for text in self.kept.get(part.id, []))
        snapshot = Snapshot(part.title, None, finals, None, part.epoch, session=part.id)
        return SnapshotMessage(part.end_seq, snapshot, part.epoch) if finals else None

    def begin(self, name: str) -> Session:
        about = new_session(name, name.upper(), started_at_ms=NOW_MS)
        session = self.sessions[name] = Session(about, Hub(about.title, session=name, news=self.news))
        session.hub.attach(lambda message: None)
        self.room.add(session)
        return session

    def forget(self, name: str) -> None:
        session = self.sessions.pop(name)
        self.kept[name] = [final.text for final in session.hub.finals]


@pytest.fixture
def event(monkeypatch: pytest.MonkeyPatch) -> Event:
    monkeypatch.setattr("time.time", lambda: NOW_MS / 1000)
    return Event()


class Reading:
    """A reader, and what it has got so far."""

    def __init__(self, event: Event, cursor: str = "") -> None:
        self.got: list[str] = []
        self.cursor = cursor
        self._task = asyncio.ensure_future(self._read(event.room, cursor))

    async def _read(self, room: Room, cursor: str) -> None:
        with room.used():
            async with aclosing(room.subscribe(cursor, 0.02)) as feed:
                async for messages in feed:
                    for message in messages:
                        self._take(message)

    def _take(self, message: Message) -> None:
        event = message.event
        if isinstance(event, RoomEvent):
            self.got.append(event.state + " away" * event.away)
            return
        texts = [each.text for each in event.finals] if isinstance(event, Snapshot) else [getattr(event, "text", "")]
        self.got.append(f"{event.type} {' '.join(texts)}".strip())
        self.cursor = f"{message.epoch}-{message.seq}"

    async def comes_to(self, *expected: str) -> None:
        await eventually(lambda: len(self.got) >= len(expected))
        assert self.got == list(expected)

    async def ends_with(self, *expected: str) -> None:
        await asyncio.wait_for(self._task, 5)
        assert self.got == list(expected)

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})


async def test_a_reader_gets_the_parts_in_order_and_the_room_at_each_change(event: Event) -> None:
    reading = Reading(event)
    await reading.comes_to("waiting")
    one = event.begin("one")
    await reading.comes_to("waiting", "live", "snapshot")
    one.say("Hello.")
    one.end()
    await reading.comes_to("waiting", "live", "snapshot", "final Hello.", "end", "break")
    two = event.begin("two")
    two.say("Again.")
    two.hub.detach()
    got = ("waiting", "live", "snapshot", "final Hello.", "end", "break", "live away", "snapshot Again.")
    await reading.comes_to(*got)
    two.end()
    event.room.change(ended_at_ms=NOW_MS)
    await reading.ends_with(*got, "end", "ended")


async def test_the_next_part_comes_behind_the_rest_of_the_one_that_it_replaces(event: Event) -> None:
    one = event.begin("one")
    reading = Reading(event)
    await reading.comes_to("live", "snapshot")
    one.takes_audio = False
    event.begin("two").say("Mine.")
    one.say("Yours.")
    one.end()
    await eventually(lambda: "snapshot Mine." in reading.got)
    assert [part.state for part in event.room.announcement().parts] == ["ended", "open"]
    words = [each for each in reading.got if each != "live"]
    assert words == ["snapshot", "final Yours.", "end", "snapshot Mine."]
    await reading.leave()


@pytest.mark.parametrize("forgotten", [False, True])
async def test_a_reader_goes_on_behind_its_cursor_whether_the_part_is_forgotten_or_not(
    event: Event, forgotten: bool
) -> None:
    one = event.begin("one")
    one.say("First.")
    reading = Reading(event)
    await reading.comes_to("live", "snapshot First.")
    one.say("Second.")
    one.end()
    await reading.comes_to("live", "snapshot First.", "final Second.", "end", "break")
    await reading.leave()
    if forgotten:
        event.forget("one")
    event.begin("two").say("Third.")
    again = Reading(event, reading.cursor)
    await again.comes_to("live", "snapshot Third.")
    await again.leave()
    for cursor in ("", "0-0", "nonsense"):
        stranger = Reading(event, cursor)
        whole = ["snapshot First. Second."] if forgotten else ["snapshot First. Second.", "end"]
        await stranger.comes_to("live", *whole, "snapshot Third.")
        await stranger.leave()


async def test_all_readers_of_a_part_that_is_forgotten_read_it_once_until_the_last_one_leaves(event: Event) -> None:
    event.begin("one").say("First.")
    event.sessions["one"].end()
    event.forget("one")
    readers = [Reading(event) for _ in range(20)]
    for reading in readers:
        await reading.comes_to("break", "snapshot First.")
    assert event.n_loads == 1
    for reading in readers:
        await reading.leave()
    assert event.room.parts[0].snapshot is None


async def test_a_feed_waits_for_a_store_that_fails(event: Event) -> None:
    event.begin("one").say("First.")
    event.sessions["one"].end()
    event.forget("one")
    event.room.change(ended_at_ms=NOW_MS)
    event.store_fails = True
    reading = Reading(event)
    await eventually(lambda: event.n_loads >= 3)
    assert reading.got == ["ended"]
    event.store_fails = False
    await reading.ends_with("ended", "snapshot First.")


async def test_a_room_ends_for_its_readers_when_no_part_follows_for_hours(
    event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = event.begin("one")
    reading = Reading(event)
    await reading.comes_to("live", "snapshot")
    one.end()
    await reading.comes_to("live", "snapshot", "end", "break")
    monkeypatch.setattr("time.time", lambda: (NOW_MS + 2 * ENDED_AFTER_MS) / 1000)
    await reading.ends_with("live", "snapshot", "end", "break", "ended")
    assert await event.room.is_over_for(reading.cursor)
    assert not await event.room.is_over_for("0-0")
    assert not await event.room.is_over_for("")
    event.begin("two")
    assert event.room.state is RoomState.LIVE
    assert not await event.room.is_over_for(reading.cursor)


async def test_a_server_that_stops_ends_the_feeds_behind_what_was_published(event: Event) -> None:
    one = event.begin("one")
    reading, other = Reading(event), Reading(event)
    await reading.comes_to("live", "snapshot")
    await other.comes_to("live", "snapshot")
    one.say("Last.")
    one.hub.close()
    await reading.comes_to("live", "snapshot", "final Last.")
    event.room.close()
    await reading.ends_with("live", "snapshot", "final Last.")
    await other.ends_with("live", "snapshot", "final Last.")


async def test_a_room_that_goes_on_elsewhere_ends_the_feeds_behind_the_last_words_here_until_a_part_begins(
    event: Event,
) -> None:
    one = event.begin("one")
    reading = Reading(event)
    await reading.comes_to("live", "snapshot")
    event.room.move_on()
    one.say("Last.")
    one.end()
    await reading.ends_with("live", "snapshot", "final Last.", "end", "break")
    two = event.begin("two")
    reading = Reading(event, reading.cursor)
    await reading.comes_to("live", "snapshot")
    two.end()
    await reading.comes_to("live", "snapshot", "end", "break")
    event.begin("three")
    await reading.comes_to("live", "snapshot", "end", "break", "live", "snapshot")
    await reading.leave()


async def test_a_deleted_part_is_listed_no_more_and_readers_follow_it_as_long_as_it_runs(event: Event) -> None:
    event.begin("one").say("Gone.")
    event.sessions["one"].end()
    two = event.begin("two")
    for name in ("one", "two"):
        event.room.remove(name)
    del event.sessions["one"]  # as the registry does
    assert event.room.description().parts == ()
    reading = Reading(event)
    await reading.comes_to("live", "snapshot")
    two.say("Heard.")
    two.end()
    del event.sessions["two"]
    await reading.comes_to("live", "snapshot", "final Heard.", "end", "waiting")
    assert (event.room.parts, event.n_loads) == ([], 0)
    await reading.leave()


async def test_readers_see_the_parts_of_the_present_event_alone(event: Event) -> None:
    event.begin("one").say("Then.")
    event.sessions["one"].end()
    early = Reading(event)
    await early.comes_to("break", "snapshot Then.", "end")
    assert event.room.goes_on
    event.room.change(ended_at_ms=NOW_MS)
    assert not event.room.goes_on
    await early.ends_with("break", "snapshot Then.", "end", "ended")
    event.room.begin_event()
    event.begin("two").say("Now.")
    assert [part.session for part in event.room.announcement().parts] == ["two"]
    assert event.room.goes_on
    for cursor in ("", early.cursor):  # who has read the event before gets this one
        reading = Reading(event, cursor)
        await reading.comes_to("live", "snapshot Now.")
        await reading.leave()


def test_a_room_without_a_title_has_that_of_the_first_part_of_its_event() -> None:
    event = Event()
    event.room.change(title="")
    event.begin("one")
    event.begin("two")
    assert event.room.announcement().title == "ONE"
    event.room.begin_event()
    event.begin("three")
    assert event.room.announcement().title == "THREE"
    event.room.change(title="PyCon")
    assert event.room.announcement().title == "PyCon"


def test_a_part_that_the_store_has_left_open_has_ended_for_readers() -> None:
    event = Event()
    event.room.parts = [Part(0, "one", "", None, 0, 100), Part(1, "two", "", None, 0, 5, SessionState.INTERRUPTED)]
    assert [part.state for part in event.room.description().parts] == ["ended", "interrupted"]


async def test_the_length_of_a_part_that_runs_is_described_and_not_announced(event: Event) -> None:
    one = event.begin("one")
    announced = event.room.announcement()
    one.say("Hello.")
    assert event.room.announcement() is announced
    assert [part.duration_ms for part in event.room.description().parts] == [4000]


def test_an_announcement_is_the_same_object_until_something_changes() -> None:
    event = Event()
    first = event.room.announcement()
    assert event.room.announcement() is first
    changes: list[Callable[[], Any]] = [
        lambda: event.room.change(title="Other"),
        lambda: event.begin("one"),
        lambda: event.sessions["one"].hub.detach(),
        lambda: event.sessions["one"].end(),
    ]
    for change in changes:
        change()
        second = event.room.announcement()
        assert second is not first
        first = second
