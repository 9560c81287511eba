"""Captions that are kept for players and polls only grow, have bounds, and go when nobody uses them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable

import pytest

from livecaption.captions.polling import Line, next_line
from livecaption.errors import Unavailable
from livecaption.events import Final
from livecaption.server.exports import MAX_AT_A_TIME, MAX_WAITING
from livecaption.server.followed import Followed, KeptTexts, KeptTimeline, Paced, PartFinals, PartState, Shelf
from tests.support.eventually import eventually

BEGAN_AT_MS = 1_800_000_000_000
AAA = Final(1, "aaa", 8_000, 10_000, "en", 0.9, 300, channel=0)
BBB = Final(0, "bbb", 5_000, 12_000, "en", 0.9, 300, channel=1)


def part(finals: Iterable[Final], open_since_ms: int | None = None, *, is_over: bool = False) -> PartFinals:
    finals = list(finals)
    return PartFinals("one", BEGAN_AT_MS, finals, PartState(len(finals), open_since_ms, is_over), {})


@pytest.fixture
async def followed() -> AsyncIterator[Followed]:
    made = Followed()
    yield made
    made.close()


def lines(kept: KeptTexts) -> list[str]:
    found: list[Line] = [Line("", 0, "")]
    while found[-1].content or len(found) == 1:
        found.append(next_line([(BEGAN_AT_MS, texts) for texts in kept.texts.values()], found[-1].position, 32))
    return [line.content for line in found[1:-1]]


def test_texts_come_by_their_ends_and_none_comes_again() -> None:
    kept = KeptTexts(None)
    kept.take([part([BBB], open_since_ms=8_000)])
    assert lines(kept) == []
    kept.take([part([BBB, AAA])])
    assert lines(kept) == ["aaa ", "bbb "]
    kept.take([part([AAA, BBB], is_over=True)])  # as the store has them
    assert lines(kept) == ["aaa ", "bbb "]
    assert kept.complete == {"one"}


def test_a_timeline_waits_for_what_is_held_back() -> None:
    kept = KeptTimeline(BEGAN_AT_MS, None, 37)
    kept.take([part([BBB], open_since_ms=8_000)], 8_000, iter)
    assert kept.timeline.until_ms == 5_000
    kept.take([], 7_000, iter)  # nothing has changed
    assert kept.timeline.until_ms == 5_000
    kept.take([part([BBB, AAA])], 20_000, iter)
    kept.take([part([AAA, BBB], is_over=True)], None, iter)
    assert [(cue.start_ms, cue.lines) for cue in kept.timeline.cues] == [(5_000, ("bbb",)), (8_000, ("aaa",))]


def test_a_timeline_is_not_over_before_each_of_its_parts_is() -> None:
    """The process that has the last part may store its last words after the room has ended."""
    kept = KeptTimeline(BEGAN_AT_MS, None, 37)
    kept.take([part([AAA], open_since_ms=10_000)], None, iter)
    assert not kept.is_over
    assert kept.timeline.until_ms <= 10_000
    kept.take([part([AAA, BBB], is_over=True)], None, iter)
    assert kept.is_over
    assert sorted(cue.lines for cue in kept.timeline.cues) == [("aaa",), ("bbb",)]


def test_work_that_stops_halfway_goes_on_where_it_stopped() -> None:
    kept = KeptTimeline(BEGAN_AT_MS, None, 37)

    def until_the_client_goes(finals: Iterable[Final]) -> Iterable[Final]:
        yield from list(finals)[:1]
        raise Unavailable("gone")

    with pytest.raises(Unavailable):
        kept.take([part([AAA, BBB], is_over=True)], None, until_the_client_goes)
    assert kept.complete == set()
    kept.take([part([AAA, BBB], is_over=True)], None, iter)
    assert [cue.lines for cue in kept.timeline.cues] == [("bbb",), ("aaa",)]


async def test_the_least_used_goes_when_there_are_too_many() -> None:
    shelf: Shelf[KeptTexts] = Shelf(2, 60)
    made = {room: KeptTexts(None) for room in ("a", "b", "c")}
    shelf.put(("a", 0, None, 0), made["a"])
    shelf.put(("b", 0, None, 0), made["b"])
    assert shelf.get(("a", 0, None, 0), set()) is made["a"]
    shelf.put(("c", 0, None, 0), made["c"])
    assert [shelf.get((room, 0, None, 0), set()) for room in "abc"] == [made["a"], None, made["c"]]
    shelf.close()


async def test_an_entry_that_nobody_uses_goes_after_a_while() -> None:
    shelf: Shelf[KeptTexts] = Shelf(2, 0.0)
    shelf.put(("a", 0, None, 0), KeptTexts(None))
    await eventually(lambda: shelf.get(("a", 0, None, 0), set()) is None)


async def test_nothing_is_kept_of_a_session_that_is_forgotten_even_before_it_was_taken(followed: Followed) -> None:
    kept = KeptTexts(None)
    kept.sessions.add("one")
    followed.polled.put(("a", 0, None, 0), kept)
    followed.forget("two")
    assert followed.polled.get(("a", 0, None, 0), {"one"}) is kept
    followed.forget("one")
    assert followed.polled.get(("a", 0, None, 0), {"one"}) is None


async def test_few_work_at_a_time_and_places_are_given_back(followed: Followed) -> None:
    may_go_on = threading.Event()
    n_begun = 0

    def take(paced: Paced) -> None:
        nonlocal n_begun
        n_begun += 1
        assert may_go_on.wait(20)

    async def work() -> None:
        with followed.place():
            await followed.work(take, lambda: True)

    working = [asyncio.create_task(work()) for _ in range(MAX_AT_A_TIME + MAX_WAITING)]
    await eventually(lambda: n_begun == MAX_AT_A_TIME)
    with pytest.raises(Unavailable):
        await work()
    may_go_on.set()
    await asyncio.gather(*working)
    await work()


async def test_work_stops_when_its_client_has_gone(followed: Followed) -> None:
    kept = KeptTimeline(BEGAN_AT_MS, None, 37)
    with pytest.raises(Unavailable):
        await followed.work(lambda paced: kept.take([part([AAA], is_over=True)], None, paced), lambda: False)
    assert kept.timeline.cues == []
