"""Events wait for the store before they are published, in order, and no longer."""

from collections.abc import Callable
from typing import cast

from livecaption.events import End, Event, Final, Partial, Ready, SpeechStart, Translation
from livecaption.live.hub import Hub
from livecaption.live.store_gate import StoreGate
from livecaption.pipeline.arrival import ArrivalClock
from livecaption.store.rows import NewSession
from livecaption.store.store import Store
from tests.support.stored import new_session
from tests.support.transcripts import final

READY = Ready("one", "token", 1, "scripted", "en", 0)
END = End(4000, 2, "stop")
STARTS = [SpeechStart(n, 0) for n in range(3)]
PARTIALS = [Partial(n, 0, "", "", 0, 100) for n in range(3)]
FINALS = [final("One.", utterance=0), final("Two.", utterance=1)]


class SlowStore:
    """Reports finals as written when the test calls `write`, or at once if it is behind."""

    def __init__(self, *, is_behind: bool = False) -> None:
        self._is_behind = is_behind
        self.log: list[object] = []
        self.seqs: list[int] = []
        self.shifts_ms: list[tuple[int, int]] = []
        self.unwritten: list[Callable[[], None]] = []

    def begin(self, session: NewSession, written: Callable[[], None]) -> None:
        self.log.append(session)
        self.unwritten.append(written)

    def append(
        self,
        session_id: str,
        appended: Final,
        seq: int,
        checkpoint_ms: int | None,
        written: Callable[[], None],
        *,
        shift_ms: int,
        checkpoint_shift_ms: int,
    ) -> None:
        self.log.append(appended)
        self.seqs.append(seq)
        self.shifts_ms.append((shift_ms, checkpoint_shift_ms))
        if self._is_behind:
            written()
        else:
            self.unwritten.append(written)

    def translate(self, session_id: str, translation: Translation, seq: int, written: Callable[[], None]) -> None:
        self.log.append(translation)
        self.seqs.append(seq)
        self.unwritten.append(written)

    def end(self, session_id: str, duration_ms: int, written: Callable[[], None]) -> None:
        self.log.append(duration_ms)
        self.unwritten.append(written)

    def checkpoint(self, session_id: str, checkpoint_ms: int, shift_ms: int) -> None:
        self.log.append((checkpoint_ms, shift_ms))

    def release(self, session_id: str) -> None:
        self.log.append(f"{session_id} is released")

    def write(self) -> None:
        self.unwritten.pop(0)()


class KeepingHub:
    """A hub that keeps all that is published."""

    def __init__(self) -> None:
        self.published: list[Event] = []

    @property
    def last_seq(self) -> int:
        return len(self.published)

    def publish(self, event: Event) -> None:
        self.published.append(event)


def gate(store: SlowStore | None, clock: ArrivalClock | None = None) -> tuple[StoreGate, list[Event]]:
    hub, clock = KeepingHub(), clock or ArrivalClock()
    return StoreGate(cast(Store | None, store), new_session(), cast(Hub, hub), clock), hub.published


def all_published(live: StoreGate) -> bool:
    calls: list[bool] = []
    live.when_all_published(lambda: calls.append(True))
    return calls == [True]


def test_without_a_store_everything_is_published_at_once() -> None:
    live, published = gate(None)
    events = [READY, STARTS[0], FINALS[0], STARTS[1], END]
    for event in events:
        live.publish(event)
    assert published == events
    assert all_published(live)


def test_a_final_and_what_comes_after_it_wait_until_it_is_stored() -> None:
    store = SlowStore()
    live, published = gate(store)
    for event in (STARTS[0], PARTIALS[0], FINALS[0], STARTS[1], PARTIALS[1], FINALS[1], STARTS[2]):
        live.publish(event)
    assert published == [STARTS[0], PARTIALS[0]]
    store.write()
    assert published[2:] == [FINALS[0], STARTS[1], PARTIALS[1]]
    store.write()
    assert published[5:] == [FINALS[1], STARTS[2]]
    live.publish(PARTIALS[2])
    assert published[-1] == PARTIALS[2]
    assert all_published(live)


def test_a_session_is_given_up_behind_all_that_is_held_and_that_is_still_published() -> None:
    store = SlowStore()
    live, published = gate(store)
    live.publish(FINALS[0])
    live.suspend(900)
    assert store.log == [FINALS[0], (900, 0), "one is released"]
    assert not all_published(live)
    store.write()
    assert published == [FINALS[0]]


def test_of_a_session_that_another_server_has_nothing_is_published_or_stored_any_more() -> None:
    store = SlowStore()
    live, published = gate(store)
    live.publish(FINALS[0])
    live.publish(STARTS[1])
    live.discard()
    live.suspend(900)
    store.write()
    assert (published, store.log) == ([], [FINALS[0]])
    assert all_published(live)


def test_a_translation_is_stored_before_it_is_published_with_the_number_that_it_will_have() -> None:
    store = SlowStore()
    live, published = gate(store)
    translation = Translation(0, "de", "Eins.")
    for event in (STARTS[0], FINALS[0], translation, STARTS[1]):
        live.publish(event)
    assert published == [STARTS[0]]
    assert (store.log, store.seqs) == ([FINALS[0], translation], [2, 3])
    store.write()
    assert published[1:] == [FINALS[0]]
    store.write()
    assert published[2:] == [translation, STARTS[1]]


def test_events_are_published_and_stored_with_their_time_on_the_wall() -> None:
    store = SlowStore()
    live, published = gate(store, ArrivalClock(shift_ms=60_000))
    live.publish(STARTS[0])
    live.publish(FINALS[0], checkpoint_ms=FINALS[0].end_ms)
    store.write()
    assert [(event.start_ms) for event in published] == [STARTS[0].start_ms + 60_000, FINALS[0].start_ms + 60_000]
    assert (store.log, store.shifts_ms) == ([published[1]], [(60_000, 60_000)])


def test_the_checkpoint_of_an_open_utterance_is_stored_with_the_time_of_the_utterance() -> None:
    store, clock = SlowStore(), ArrivalClock()
    live, _ = gate(store, clock)
    clock.receive(2000, 2.0)
    clock.pause(2000)
    clock.receive(3000, 603.0)
    live.publish(SpeechStart(0, 2040))
    live.checkpoint(1840)
    assert store.log == [(1840, 600_000)]


def test_a_session_and_its_end_are_published_only_once_the_store_has_them() -> None:
    store = SlowStore()
    live, published = gate(store)
    for event in (READY, FINALS[0], END):
        live.publish(event)
    assert (published, store.log) == ([], [new_session(), FINALS[0], 4000])
    for n in range(3):
        store.write()
        assert published == [READY, FINALS[0], END][: n + 1]


def test_a_final_is_stored_with_the_number_under_which_it_will_be_sent() -> None:
    store = SlowStore()
    live, published = gate(store)
    events = [READY, STARTS[0], PARTIALS[0], FINALS[0], STARTS[1], FINALS[1], STARTS[2]]
    for event in events[:4]:
        live.publish(event)
    store.write()
    for event in events[4:]:
        live.publish(event)
    for _ in range(2):
        store.write()
    assert published == events
    assert store.seqs == [published.index(each) + 1 for each in FINALS]


def test_the_callback_of_the_end_is_called_once_when_the_last_event_is_published() -> None:
    store = SlowStore()
    live, published = gate(store)
    calls: list[int] = []
    live.publish(END)
    live.publish(PARTIALS[0])
    live.when_all_published(lambda: calls.append(len(published)))
    assert calls == []
    store.write()
    assert calls == [2]


def test_a_store_that_need_not_be_waited_for_delays_nothing() -> None:
    live, published = gate(SlowStore(is_behind=True))
    for event in (FINALS[0], STARTS[1], FINALS[1]):
        live.publish(event)
    assert published == [FINALS[0], STARTS[1], FINALS[1]]
    assert all_published(live)
