"""Audio and the clock on the wall: what is a pause, what is a delay, and what time a caption has."""

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from itertools import cycle, pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from livecaption.events import Ack, CaptionWord, Event, Final, Gap, Partial, SpeechEnd, SpeechStart, Turn
from livecaption.pipeline.arrival import MIN_SHIFT_MS, ArrivalClock
from tests.support.cases import for_each

PATIENCE_S = 3.0
CHUNK_MS = 100
LOOK_MS = 250
ENDPOINT_MS = 300

Arrival = tuple[int, int]
"""The time on the wall in ms, and the length of the audio that has come by then."""


def live(n_ms: int, begins_ms: int = 0, audio_ms: int = 0) -> list[Arrival]:
    """Return the arrivals of audio that is sent as it is recorded, from this time on."""
    return [(begins_ms + at, audio_ms + at) for at in range(CHUNK_MS, n_ms + 1, CHUNK_MS)]


def pauses_in(arrivals: Iterable[Arrival], clock: ArrivalClock, patience_s: float = PATIENCE_S) -> list[int]:
    """Play arrivals to the clock, and look at it as a server does. Return the lengths of audio before its pauses."""
    pauses: list[int] = []
    look_ms = audio_ms = 0
    for at_ms, until_ms in arrivals:
        while look_ms < at_ms:
            if clock.is_overdue(patience_s, look_ms / 1000):
                clock.pause(audio_ms)
                pauses.append(audio_ms)
            look_ms += LOOK_MS
        clock.receive(until_ms, at_ms / 1000)
        audio_ms = until_ms
    return pauses


def final(start_ms: int, end_ms: int) -> Final:
    words = (CaptionWord("word", start_ms, end_ms, 1.0),)
    return Final(0, "word", start_ms, end_ms, "en", 1.0, 0, words)


class Talk:
    """A stream of utterances, each with silence before it. An utterance whose audio stops is cut there, as by a server.

    Args:
        clock: gets the arrivals and the events.
        utterances: the silence before each, and its speech, in ms.

    Attributes:
        audio_ms: the length of all audio.
        finals: the beginning of each in the audio, and the final with its time on the wall.
    """

    def __init__(self, clock: ArrivalClock, utterances: Iterable[tuple[int, int]]) -> None:
        self._clock = clock
        self._coming: deque[tuple[int, int]] = deque()  # utterances that have not ended: begin and end in the audio
        end_ms = 0
        for silence_ms, speech_ms in utterances:
            self._coming.append((end_ms + silence_ms, end_ms + silence_ms + speech_ms))
            end_ms += silence_ms + speech_ms
        self.audio_ms = end_ms + ENDPOINT_MS
        self._has_begun = False  # the first of them
        self._until_ms = self._look_ms = 0
        self._awaited: deque[tuple[int, Final]] = deque()
        self.finals: list[tuple[int, Final]] = []

    def hear(self, at_ms: int, until_ms: int) -> None:
        """Look at the talk until this time, at which the audio up to `until_ms` comes."""
        while self._look_ms < at_ms:
            self._look()
            self._look_ms += LOOK_MS
        self._clock.receive(until_ms, at_ms / 1000)
        self._until_ms = until_ms
        while self._coming and self._coming[0][0] < until_ms:
            begin_ms, end_ms = self._coming[0]
            if not self._has_begun:
                self._has_begun = True
                self._clock.on_the_wall(SpeechStart(self._n_utterances, begin_ms))
            if end_ms + ENDPOINT_MS > until_ms:
                break
            self._end(end_ms, at_ms)

    @property
    def _n_utterances(self) -> int:
        return len(self.finals) + len(self._awaited)

    def _look(self) -> None:
        while self._awaited and self._awaited[0][0] <= self._look_ms:
            _, event = self._awaited.popleft()
            on_the_wall = self._clock.on_the_wall(event)
            assert isinstance(on_the_wall, Final)
            self.finals.append((event.start_ms, on_the_wall))
        is_overdue = self._clock.is_overdue(PATIENCE_S, self._look_ms / 1000)
        if is_overdue or (self._clock.has_lost_audio and not self._has_begun):
            if self._has_begun:
                self._end(min(self._until_ms, self._coming[0][1]), self._look_ms)
            self._clock.pause(self._until_ms)

    def _end(self, end_ms: int, at_ms: int) -> None:
        self._clock.on_the_wall(SpeechEnd(self._n_utterances, end_ms, "silence"))
        begin_ms, whole_ms = self._coming.popleft()
        self._awaited.append((at_ms + 400, replace(final(begin_ms, end_ms), utterance=self._n_utterances)))
        self._has_begun = False
        if end_ms < whole_ms:
            self._coming.appendleft((end_ms, whole_ms))  # the rest is an utterance of its own


def test_audio_that_stops_is_overdue_once_patience_is_over() -> None:
    clock = ArrivalClock()
    assert not clock.is_overdue(PATIENCE_S, 100.0)  # none has come yet
    pauses_in(live(5000), clock)
    assert not clock.is_overdue(PATIENCE_S, 7.9)
    assert clock.is_overdue(PATIENCE_S, 8.1)
    clock.pause(5000)
    assert not clock.is_overdue(PATIENCE_S, 60.0)  # that is one pause


def test_audio_that_is_lost_has_not_come_and_that_after_it_is_overdue_like_any_other() -> None:
    clock = ArrivalClock()
    clock.skip_to(600_000)
    pauses_in(live(5000, audio_ms=600_000), clock)
    assert not clock.is_overdue(PATIENCE_S, 7.9)
    assert clock.is_overdue(PATIENCE_S, 8.1)
    assert clock.on_the_wall(final(601_000, 605_000)) == final(601_000, 605_000)


def test_audio_that_is_lost_within_a_stream_has_taken_its_time() -> None:
    clock = ArrivalClock()
    pauses_in(live(5000), clock)
    clock.excuse(30.0)
    clock.skip_to(30_000)
    assert pauses_in(live(10_000, begins_ms=30_000, audio_ms=30_000), clock) == []
    assert not clock.has_lost_audio
    assert clock.on_the_wall(final(31_000, 35_000)) == final(31_000, 35_000)


def test_captions_after_a_pause_have_the_time_on_the_wall() -> None:
    clock = ArrivalClock()
    assert pauses_in(live(5000) + live(5000, begins_ms=605_000, audio_ms=5000), clock) == [5000]
    assert clock.on_the_wall(SpeechEnd(0, 5000, "silence")) == SpeechEnd(0, 5000, "silence")
    assert clock.on_the_wall(final(1000, 5000)) == final(1000, 5000)
    assert clock.on_the_wall(SpeechStart(1, 5200)) == SpeechStart(1, 605_200)
    assert clock.on_the_wall(Partial(1, 0, "a", "", 5200, 5900)) == Partial(1, 0, "a", "", 605_200, 605_900)
    assert clock.on_the_wall(SpeechEnd(1, 6000, "stop")) == SpeechEnd(1, 606_000, "stop")
    assert clock.on_the_wall(final(5200, 6000)) == final(605_200, 606_000)
    said = replace(final(5200, 6000), turns=(Turn(1, "a ", 5200, 5500), Turn(2, "b", 5600, 6000)))
    assert clock.on_the_wall(said) == replace(
        final(605_200, 606_000), turns=(Turn(1, "a ", 605_200, 605_500), Turn(2, "b", 605_600, 606_000))
    )
    assert clock.on_the_wall(Gap(6000, 7000)) == Gap(606_000, 607_000)
    assert clock.on_the_wall(Ack(7000)) == Ack(7000)  # the publisher counts what it has sent


def test_audio_that_was_held_back_for_longer_than_patience_catches_up() -> None:
    """It was taken for a pause. The time of its first event is preliminary, those of finals are not."""
    clock = ArrivalClock()
    stalled = [(at + max(0, 9000 - at), at) for at in range(CHUNK_MS, 12_001, CHUNK_MS) if at > 4000]
    assert pauses_in(live(4000) + stalled, clock) == [4000]
    assert clock.on_the_wall(final(4100, 6000)) == final(4100, 6000)


def test_audio_that_was_dropped_in_a_pause_is_not_waited_for() -> None:
    clock = ArrivalClock()
    late = [(9000 + at, 4000 + 2000 + at) for at in range(0, 3000, CHUNK_MS)]  # only 2 of 5 s were kept
    pauses_in(live(4000) + late, clock)
    assert clock.on_the_wall(final(4100, 6000)) == final(7100, 9000)


def test_audio_that_was_lost_without_a_pause_is_noticed_once_audio_comes_in_time_again() -> None:
    """So it is after a reconnection, within an utterance that goes on."""
    clock = ArrivalClock()
    pauses_in(live(4000), clock)
    clock.excuse(30.0)
    assert pauses_in(live(10_000, begins_ms=30_000, audio_ms=4000), clock, patience_s=60) == []
    assert clock.has_lost_audio
    assert clock.on_the_wall(final(4100, 12_000)) == final(4100, 12_000)  # it had begun before
    clock.pause(14_000)
    assert not clock.has_lost_audio
    pauses_in(live(10_000, begins_ms=40_000, audio_ms=14_000), clock, patience_s=60)
    assert clock.on_the_wall(final(15_000, 16_000)) == final(41_000, 42_000)
    assert not clock.has_lost_audio


@for_each("speed", [0.5, 0.9, 1.2, 3.0])
def test_audio_that_is_late_and_catches_up_or_falls_behind_is_not_lost(speed: float) -> None:
    clock = ArrivalClock()
    pauses_in(live(4000), clock)
    late = [(round(14_000 + at / speed), 4000 + at) for at in range(CHUNK_MS, 10_001, CHUNK_MS)]
    assert pauses_in(late, clock, patience_s=60) == []
    assert not clock.has_lost_audio


def test_the_delay_of_a_network_that_is_too_slow_is_no_part_of_a_pause() -> None:
    clock = ArrivalClock()
    slow = [(2 * at, at) for at in range(CHUNK_MS, 60_001, CHUNK_MS)]  # 60 s late at the end
    after = [(5000 + 2 * at, at) for at in range(60_000 + CHUNK_MS, 62_001, CHUNK_MS)]
    assert pauses_in(slow + after, clock) == [60_000]
    assert clock.on_the_wall(final(60_500, 61_000)).start_ms < 60_500 + 10_000


def test_the_most_punctual_audio_after_a_pause_gives_the_time() -> None:
    clock = ArrivalClock()
    pauses_in(live(5000) + live(500, begins_ms=15_000, audio_ms=5000), clock)
    clock.receive(5600, 17.0)  # 1.4 s late
    assert clock.on_the_wall(final(5200, 5600)) == final(15_200, 15_600)


def test_a_stretch_keeps_the_time_of_its_first_final() -> None:
    clock = ArrivalClock()
    pauses_in(live(5000) + live(2000, begins_ms=15_000, audio_ms=5000), clock)
    assert clock.on_the_wall(final(5200, 6000)) == final(15_200, 16_000)
    clock.receive(17_000, 17.0)  # 10 s at once
    assert clock.on_the_wall(final(7000, 8000)) == final(17_000, 18_000)


def test_a_server_that_could_not_receive_is_no_pause() -> None:
    clock = ArrivalClock()
    pauses_in(live(5000), clock)
    clock.excuse(10.0)
    assert not clock.is_overdue(PATIENCE_S, 10.1)
    assert clock.is_overdue(PATIENCE_S, 13.1)


def test_a_session_that_goes_on_has_the_pauses_of_its_past() -> None:
    clock = ArrivalClock(begin_ms=5000, shift_ms=60_000)
    assert pauses_in([(at, 5000 + until) for at, until in live(2000)], clock) == []
    assert clock.on_the_wall(final(5200, 6000)) == final(65_200, 66_000)


@for_each("speed", [1.0, 1.5, 20.0])
def test_a_recording_that_is_sent_with_interruptions_has_no_pauses(speed: float) -> None:
    """It is ahead of the clock once it was faster than real time."""
    clock = ArrivalClock()
    at_ms, arrivals = 0.0, []
    for until_ms in range(CHUNK_MS, 60_001, CHUNK_MS):
        at_ms += CHUNK_MS / speed
        if until_ms % 20_000 == 0:
            at_ms += 20_000 * (1 - 1 / speed)  # as long as it is ahead
        arrivals.append((round(at_ms), until_ms))
    assert pauses_in(arrivals, clock) == []
    assert clock.on_the_wall(final(50_000, 51_000)) == final(50_000, 51_000)


@given(
    st.lists(st.tuples(st.integers(100, 8000), st.integers(0, 2500)), min_size=1, max_size=10),
    st.integers(20, 2000),
)
def test_delays_below_patience_change_nothing(stalls: list[tuple[int, int]], chunk_ms: int) -> None:
    """A stall is a time without one, then its length. All audio of it comes at its end."""
    clock = ArrivalClock()
    arrivals: list[Arrival] = []
    at_ms = until_ms = 0
    for steady_ms, stall_ms in stalls:
        begins_ms, ends_ms = at_ms + steady_ms, at_ms + steady_ms + stall_ms
        while until_ms + chunk_ms <= ends_ms:
            until_ms += chunk_ms
            arrivals.append((until_ms if until_ms <= begins_ms else ends_ms, until_ms))
        at_ms = ends_ms
    patience_s = PATIENCE_S + chunk_ms / 1000
    assert pauses_in(arrivals, clock, patience_s) == []
    assert clock.shift_ms(until_ms) == 0


@given(st.lists(st.tuples(st.integers(1, 80), st.integers(4000, 900_000)), min_size=1, max_size=10), st.booleans())
def test_each_pause_shifts_all_that_follows_by_its_length(pauses: list[tuple[int, int]], has_finals: bool) -> None:
    clock = ArrivalClock()
    arrivals, at_ms, audio_ms, expected = live(5000), 5000, 5000, [(100, 0)]
    events: list[Event] = []
    for n_chunks, pause_ms in pauses:
        at_ms += pause_ms
        expected.append((audio_ms, at_ms - audio_ms))
        arrivals += live(n_chunks * CHUNK_MS, at_ms, audio_ms)
        at_ms, audio_ms = at_ms + n_chunks * CHUNK_MS, audio_ms + n_chunks * CHUNK_MS
    begun = iter(expected)
    next(begun)
    look_ms = taken_ms = 0
    for arrived_ms, until_ms in arrivals:
        while look_ms < arrived_ms:
            if clock.is_overdue(PATIENCE_S, look_ms / 1000):
                clock.pause(taken_ms)
            look_ms += LOOK_MS
        clock.receive(until_ms, arrived_ms / 1000)
        if has_finals:
            events.append(clock.on_the_wall(final(taken_ms, until_ms)))
        taken_ms = until_ms
    if has_finals:
        ends = [event.end_ms for event in events if isinstance(event, Final)]
        assert ends == sorted(ends)
        for event, (arrived_ms, _) in zip(events, arrivals, strict=True):
            assert isinstance(event, Final)
            assert abs(event.end_ms - arrived_ms) < MIN_SHIFT_MS
    assert abs(clock.shift_ms(audio_ms) - expected[-1][1]) < MIN_SHIFT_MS


def test_a_final_that_another_channel_has_overtaken_keeps_the_time_of_its_own_stretch() -> None:
    """Its transcription took longer than the pause and the other channel's utterance after the pause."""
    clock = ArrivalClock()
    clock.on_the_wall(SpeechStart(0, 1000, channel=0))
    pauses_in(live(5000) + live(5000, begins_ms=605_000, audio_ms=5000), clock)
    clock.on_the_wall(SpeechStart(1, 5200, channel=1))
    later = Final(1, "word", 5200, 6000, "en", 1.0, 0, channel=1)
    assert clock.on_the_wall(later) == replace(later, start_ms=605_200, end_ms=606_000)
    assert clock.on_the_wall(final(1000, 4000)) == final(1000, 4000)


def test_pauses_are_not_counted_where_captions_have_the_time_of_the_audio() -> None:
    clock = ArrivalClock(counts_pauses=False)
    assert pauses_in(live(5000) + live(5000, begins_ms=605_000, audio_ms=5000), clock) == [5000]
    assert clock.on_the_wall(final(6000, 7000)) == final(6000, 7000)


Utterances = list[tuple[int, int]]
UTTERANCES = st.lists(st.tuples(st.integers(ENDPOINT_MS, 5000), st.integers(200, 8000)), min_size=3, max_size=12)


@given(
    UTTERANCES, st.integers(CHUNK_MS, 20_000), st.integers(0, 20_000), st.floats(1.2, 1000), st.integers(4000, 900_000)
)
@example([(4000, 3000), (3000, 8000), (5000, 8000)], 3000, 8000, 2.0, 4000)
def test_a_network_that_holds_audio_back_costs_no_time_once_all_of_it_has_come(
    utterances: Utterances, stall_begins_ms: int, stall_ms: int, speed: float, pause_ms: int
) -> None:
    """Each silence takes back as much as it lasts. The last utterance comes after a true pause, which counts."""
    caught_up_ms = stall_begins_ms + stall_ms * speed / (speed - 1)
    talk: Utterances = []
    begin_ms = silence_ms = 0
    for utterance in cycle(utterances):
        silence_ms += utterance[0] * (begin_ms > caught_up_ms)
        begin_ms += sum(utterance)
        talk.append(utterance)
        if silence_ms > stall_ms:
            break
    clock = ArrivalClock()
    simulation = Talk(clock, [*talk, (3000, 3000)])
    for until_ms in range(CHUNK_MS, simulation.audio_ms + CHUNK_MS, CHUNK_MS):
        late_ms = stall_ms - (until_ms - stall_begins_ms) * (1 - 1 / speed) if until_ms > stall_begins_ms else 0
        paused_ms = pause_ms if until_ms > begin_ms + 2000 else 0
        simulation.hear(until_ms + round(max(0, late_ms)) + paused_ms, until_ms)
    simulation.hear(simulation.audio_ms + pause_ms + 1000, simulation.audio_ms + CHUNK_MS)
    *_, (before_ms, before), (after_ms, after) = simulation.finals
    assert abs(before.start_ms - before_ms) < MIN_SHIFT_MS
    assert abs(after.start_ms - after_ms - pause_ms) < MIN_SHIFT_MS
    for (earlier_ms, earlier), (later_ms, later) in pairwise(simulation.finals):
        is_cut = later_ms - earlier_ms == earlier.end_ms - earlier.start_ms
        assert later.start_ms - earlier.end_ms >= (0 if is_cut else 1)


def caught_up() -> ArrivalClock:
    """Return a clock that adds 5 s which a network took, and has taken nothing back. The last speech ends at 11.5 s."""
    clock = ArrivalClock()
    delayed = [(at + 5000, at) for at in range(10_100, 12_001, CHUNK_MS)]
    assert pauses_in(live(10_000) + delayed, clock) == [10_000]
    clock.on_the_wall(SpeechStart(0, 10_200))
    clock.on_the_wall(SpeechEnd(0, 11_500, "silence"))
    assert clock.on_the_wall(final(10_200, 11_500)) == final(15_200, 16_500)
    for until_ms in range(12_100, 20_001, CHUNK_MS):
        clock.receive(until_ms, max(until_ms, 14_000 + until_ms / 4) / 1000)
    return clock


def test_speech_that_began_in_the_silence_that_is_taken_back_keeps_its_time_until_its_end() -> None:
    """Its event comes second if both are in one message, because it is in the second channel."""
    clock = caught_up()
    assert clock.on_the_wall(SpeechStart(1, 18_600, channel=0)) == SpeechStart(1, 18_600, channel=0)
    assert clock.on_the_wall(SpeechStart(2, 18_500, channel=1)) == SpeechStart(2, 18_500, channel=1)
    assert clock.on_the_wall(SpeechEnd(2, 19_500, "silence")) == SpeechEnd(2, 19_500, "silence")
    said = replace(final(18_500, 19_500), utterance=2, channel=1)
    assert clock.on_the_wall(said) == said


def test_a_session_that_goes_on_from_before_an_awaited_utterance_has_the_time_of_that_utterance() -> None:
    """The checkpoint lies before the pause in which the button to talk was released."""
    clock = ArrivalClock()
    pauses_in(live(2000) + live(1000, begins_ms=602_000, audio_ms=2000), clock)
    assert clock.shift_for_resume_ms(1800) == 0
    clock.on_the_wall(SpeechStart(0, 2040))
    clock.on_the_wall(SpeechStart(1, 2200))
    assert clock.shift_for_resume_ms(1840) == 600_000
    clock.on_the_wall(SpeechEnd(0, 2800, "silence"))
    assert clock.shift_for_resume_ms(1840) == 600_000
    clock.on_the_wall(final(2040, 2800))
    clock.on_the_wall(replace(final(2200, 2800), utterance=1))
    assert clock.shift_for_resume_ms(2800) == 600_000


def test_a_session_that_goes_on_from_before_the_utterance_that_took_time_back_has_its_time() -> None:
    clock = caught_up()
    assert clock.shift_for_resume_ms(11_500) == 5000
    clock.on_the_wall(SpeechStart(1, 18_600))
    assert clock.shift_for_resume_ms(11_400) == 0


def test_two_utterances_do_not_touch_once_the_silence_between_them_is_taken_back() -> None:
    """Captions join utterances that touch, because the length limit has cut them."""
    assert caught_up().on_the_wall(SpeechStart(1, 15_000)) == SpeechStart(1, 16_501)
