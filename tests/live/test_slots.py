"""Which slots are taken from publishers that are away."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

import pytest

from livecaption.errors import LivecaptionError
from livecaption.live.slots import Slots
from livecaption.scheduling.config import AdmissionConfig
from tests.support.load import FRESH

pytestmark = pytest.mark.pure


class Pool:
    """The part of a pool that slots read."""

    load = FRESH


@pytest.fixture
def make() -> Callable[..., Slots]:
    def slots(max_streams: int | None, take_after_s: float = 1000.0) -> Slots:
        made: Slots = Slots(
            Pool(),
            max_streams,
            AdmissionConfig(),
            take_after_s,
            on_taken=lambda name: made.free(name),
            on_freed=lambda: None,
        )
        return made

    return slots


def hold(slots: Slots, name: str, n: int = 1) -> None:
    with ExitStack() as slot:
        for _ in range(n):
            slot.enter_context(slots.hold())
        slots.keep(name, slot.pop_all(), n)


def test_nothing_is_taken_while_there_is_room(make: Callable[..., Slots]) -> None:
    slots = make(2, take_after_s=0)
    hold(slots, "a")
    slots.note_away("a")
    assert slots.to_take() == []


def test_the_one_that_is_away_the_longest_is_the_first_and_who_has_left_for_good_comes_before(
    make: Callable[..., Slots],
) -> None:
    slots = make(4, take_after_s=0)
    for name in "abcd":
        hold(slots, name)
    for name in "bac":
        slots.note_away(name)
    assert slots.to_take(3) == ["b", "a", "c"]
    slots.note_back("a")
    slots.note_away("d", for_good=True)
    assert slots.to_take(2) == ["d", "b"]
    assert slots.to_take(4) is None


def test_a_short_loss_costs_nobody_a_slot_unless_nobody_is_there(make: Callable[..., Slots]) -> None:
    slots = make(2)
    hold(slots, "a")
    hold(slots, "b")
    slots.note_away("a")
    assert slots.to_take() is None
    slots.note_away("b")
    assert slots.to_take() == ["a"]


def test_all_channels_of_a_session_are_taken_together(make: Callable[..., Slots]) -> None:
    slots = make(3, take_after_s=0)
    hold(slots, "two", 2)
    hold(slots, "one")
    slots.note_away("two")
    assert slots.to_take() == ["two"]
    assert slots.take(2)
    assert (len(slots), slots.holds("two"), slots.holds("one")) == (1, False, True)
    slots.note_away("two")  # which has none left
    assert slots.to_take(3) is None


def test_no_slot_is_taken_while_finals_are_late(make: Callable[..., Slots], monkeypatch: pytest.MonkeyPatch) -> None:
    slots = make(None, take_after_s=0)
    for name in "ab":
        hold(slots, name)
    slots.note_away("a")
    monkeypatch.setattr(Pool, "load", replace(FRESH, partials_paused=True))
    assert (slots.limit.n, slots.limit.reason) == (2, "late")
    assert slots.to_take() is None
    slots.note_away("b")  # nobody is left, and a single stream hurts nobody
    assert slots.to_take() == ["a", "b"]


def test_a_stream_gets_the_slots_of_the_one_that_it_replaces_and_takes_no_others(make: Callable[..., Slots]) -> None:
    slots = make(3, take_after_s=0)
    hold(slots, "former", 2)
    hold(slots, "other")
    slots.note_away("former")
    for n_channels in (3, 4):
        with ExitStack() as slot, pytest.raises(LivecaptionError):
            slots.add_channels(n_channels, slot, n_held=0, former="former")
        assert (len(slots), slots.holds("former")) == (3, True)
    with ExitStack() as slot:
        slots.add_channels(2, slot, n_held=0, former="former")
        assert (len(slots), slots.holds("former"), slots.holds("other")) == (3, False, True)
    assert len(slots) == 1
    slots.note_away("other")
    hold(slots, "former", 2)
    with ExitStack() as slot:
        slots.add_channels(3, slot, n_held=0, former="former")  # one of them is that of the other
        assert (len(slots), slots.holds("former"), slots.holds("other")) == (3, False, False)


def test_a_replacement_is_no_new_load_also_while_finals_are_late(
    make: Callable[..., Slots], monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = make(None)
    for name in "ab":
        hold(slots, name)
    monkeypatch.setattr(Pool, "load", replace(FRESH, partials_paused=True))
    assert slots.to_take() is None
    with ExitStack() as slot:
        slots.add_channels(1, slot, n_held=0, former="a")
        assert (len(slots), slots.holds("a")) == (2, False)
