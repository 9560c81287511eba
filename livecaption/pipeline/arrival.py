"""Compare the audio of a stream with the clock on the wall. Pure: time is an argument.

A client may send no audio for a while and no `stop`: a phone suspends a page, a button to talk is released, silence is
not sent. Then the open utterance ends, and later captions keep the time on the wall. A network may hold audio back and
deliver all of it later. Then nothing changes, because the audio catches up. The pipeline counts audio alone;
`ArrivalClock` adds the time without audio to the events, and takes it back if that audio comes after all. Figures:
docs/decisions/0037-pauses-of-sending.md.

    behind = time since the first audio - length of the audio - time without audio so far

A recording is sent faster than it lasts. So it is ahead of the clock, never behind it, and has no such pauses.
"""

from collections import deque
from dataclasses import dataclass, replace
from math import inf, isfinite

from livecaption.events import Event, Final, Gap, Partial, SpeechEnd, SpeechStart

MIN_SHIFT_MS = 500
"""Time without audio that changes the times of captions, in ms. Less is the network's delay, which varies."""


LAG_S = 2.0
"""Time in s over which the least lag is taken. Shorter: a delay of the network looks like lost audio."""
STEADY_MS = 100
"""Difference of two least lags in a row, in ms, up to which audio is lost and not late: late audio catches up."""


@dataclass(slots=True)
class _Stretch:
    """Audio between two pauses.

    Attributes:
        begin_ms: audio before it.
        shift_ms: time without audio before it; infinite while none of its audio has come.
    """

    begin_ms: int
    shift_ms: float


class ArrivalClock:
    """The arrival of one stream's audio.

    Args:
        begin_ms: audio before the first that comes.
        shift_ms: time without audio before it.
        counts_pauses: whether events are shifted at all. If not, their times are those of the audio alone.

    Attributes:
        has_lost_audio: True if audio comes in time again, but some before it never came, as after a reconnection. The
            next silence is the place for a new stretch.
    """

    def __init__(self, begin_ms: int = 0, shift_ms: int = 0, *, counts_pauses: bool = True) -> None:
        self._counts_pauses = counts_pauses
        self._begin_ms = self._until_ms = begin_ms
        self._begin_shift_ms = shift_ms
        self._began_s: float | None = None
        self._first_ms = 0  # length of the first message
        self._last_s = 0.0
        self._settled_shift_ms = shift_ms  # before the newest stretch
        self._stretches = deque([_Stretch(0, shift_ms)])
        self._is_settled = True
        self._is_paused = False
        self._has_speech = False  # in the newest stretch
        self._starts_ms: dict[int, int] = {}  # of the utterances whose finals are awaited
        self._open: set[int] = set()  # the utterances that have not ended
        self._ended_ms = 0  # the latest end of an utterance
        # The least lag of the newest audio, that of the `LAG_S` before it, and when it began to be taken.
        self._lag_ms = self._previous_lag_ms = -inf
        self._lag_since_s = 0.0
        self._lag_before_ms = 0.0  # that before the newest stretch
        self.has_lost_audio = False

    def receive(self, until_ms: int, now_s: float) -> None:
        """Note that the audio up to here has come."""
        if until_ms == self._until_ms:
            return
        if self._began_s is None:
            self._began_s = now_s
            self._first_ms = until_ms - self._begin_ms
        self._until_ms = until_ms
        self._last_s = now_s
        self._is_paused = False
        lag_ms = self._behind_ms(now_s) + self._first_ms
        if not self._is_settled:
            # The most punctual audio since the pause has the least delay of the network.
            without_ms = lag_ms - self._lag_before_ms
            shift_ms = self._settled_shift_ms + (round(without_ms) if without_ms >= MIN_SHIFT_MS else 0)
            self._stretches[-1].shift_ms = min(self._stretches[-1].shift_ms, shift_ms)
            self._lag_since_s, self._lag_ms, self._previous_lag_ms = now_s, inf, -inf
        elif now_s - self._lag_since_s < LAG_S:
            self._lag_ms = min(self._lag_ms, lag_ms)
        else:
            is_steady = abs(self._lag_ms - self._previous_lag_ms) < STEADY_MS
            self.has_lost_audio = is_steady and self._lag_ms >= MIN_SHIFT_MS
            self._lag_since_s, self._lag_ms, self._previous_lag_ms = now_s, lag_ms, self._lag_ms

    def skip_to(self, at_ms: int) -> None:
        """Note that the audio before `at_ms` is lost. At the beginning, nothing is ahead of the clock by it."""
        if self._began_s is None:
            self._begin_ms = at_ms
        self._until_ms = at_ms

    def excuse(self, now_s: float) -> None:
        """Note that audio could not come until now, for a reason that is not the client's."""
        self._last_s = now_s

    def is_overdue(self, patience_s: float, now_s: float) -> bool:
        """Return True if audio should have come for so long. That begins a pause: see `pause`.

        A client may send long messages, so the stream counts from the beginning of the first.
        """
        if self._began_s is None or self._is_paused:
            return False
        return now_s - self._last_s >= patience_s and self._behind_ms(now_s) >= patience_s * 1000

    def pause(self, begin_ms: int) -> None:
        """Begin a new stretch: all later utterances begin at `begin_ms` of audio or later, all others end before."""
        self._settle()
        recent_lag_ms = min(self._lag_ms, self._previous_lag_ms)
        if self.has_lost_audio:
            self._lag_before_ms = 0.0
        elif isfinite(recent_lag_ms):
            # A network that is too slow for the stream has delayed it already. That is no time without audio.
            self._lag_before_ms = max(0.0, recent_lag_ms)
        if not self._has_speech and len(self._stretches) > 1:
            self._stretches.pop()  # no event is about it
        self._is_paused = True
        self._is_settled = self._has_speech = self.has_lost_audio = False
        self._stretches.append(_Stretch(begin_ms, inf))

    def shift_ms(self, at_ms: int) -> int:
        """Return the time without audio before this point of the audio."""
        if not self._counts_pauses:
            return 0
        stretches = (stretch for stretch in reversed(self._stretches) if stretch.begin_ms <= at_ms)
        shift_ms = next(stretches, self._stretches[0]).shift_ms
        return self._settled_shift_ms if shift_ms == inf else int(shift_ms)

    def shift_for_resume_ms(self, checkpoint_ms: int) -> int:
        """Return the time without audio that a server needs which goes on from this checkpoint.

        Where an utterance is awaited, the checkpoint lies before its start, and maybe before a pause or a silence in
        between. The time of the utterance counts.
        """
        return self.shift_ms(min(self._starts_ms.values(), default=checkpoint_ms))

    def on_the_wall(self, event: Event) -> Event:
        """Return the event with times by the clock on the wall. The finals of a stretch have the same shift.

        Events must come in order.
        """
        if isinstance(event, SpeechStart):
            self._note_start(event)
        match event:
            case (
                SpeechStart(start_ms=start_ms)
                | Partial(start_ms=start_ms)
                | Final(start_ms=start_ms)
                | Gap(start_ms=start_ms)
            ):
                shift_ms = self.shift_ms(start_ms)
            case SpeechEnd(end_ms=end_ms):
                shift_ms = self.shift_ms(end_ms - 1)  # it may end where the next stretch begins
            case _:
                return event
        if isinstance(event, SpeechEnd):
            self._open.discard(event.utterance)
            self._ended_ms = max(self._ended_ms, event.end_ms)
        elif isinstance(event, Final):
            self._note_final(event)
        return _shifted(event, shift_ms) if shift_ms else event

    def _note_start(self, start: SpeechStart) -> None:
        if self._is_settled and not self._open and start.start_ms >= self._ended_ms:
            self._take_back(start.start_ms)
        self._has_speech = True
        self._starts_ms[start.utterance] = start.start_ms
        self._open.add(start.utterance)

    def _take_back(self, begin_ms: int) -> None:
        """Begin a new stretch if audio is ahead of the clock, because some that was not expected any more has come.

        It takes back no more than the silence before `begin_ms`, without its last ms. So the utterances before and
        after it neither overlap nor touch on the wall. The stretch has this silence too: the speech of another channel
        may have begun in it, although its event comes later.
        """
        punctual_ms = self._settled_shift_ms + min(self._lag_ms, 0.0)
        behind_last_ms = self._ended_ms + self.shift_ms(self._ended_ms - 1) - begin_ms + 1
        shift_ms = round(max(punctual_ms, behind_last_ms, self._begin_shift_ms))
        if (taken_back_ms := self._settled_shift_ms - shift_ms) > 0:
            self._stretches.append(_Stretch(max(self._ended_ms, self._stretches[-1].begin_ms), shift_ms))
            self._settled_shift_ms = shift_ms
            self._lag_ms += taken_back_ms
            self._previous_lag_ms += taken_back_ms

    def _note_final(self, final: Final) -> None:
        self._starts_ms.pop(final.utterance, None)
        # The final of another channel may come later, although its utterance was earlier.
        earliest_ms = min([final.start_ms, *self._starts_ms.values()])
        while len(self._stretches) > 1 and self._stretches[1].begin_ms <= earliest_ms:
            self._stretches.popleft()  # no later event is about it
        if len(self._stretches) == 1:
            self._settle()

    def _settle(self) -> None:
        self._is_settled = True
        newest = self._stretches[-1]
        if newest.shift_ms == inf:
            newest.shift_ms = self._settled_shift_ms
        self._settled_shift_ms = int(newest.shift_ms)

    def _behind_ms(self, now_s: float) -> float:
        assert self._began_s is not None
        audio_ms = self._until_ms - self._begin_ms
        return (now_s - self._began_s) * 1000 - audio_ms - (self._settled_shift_ms - self._begin_shift_ms)


def _shifted(event: Event, by_ms: int) -> Event:
    match event:
        case SpeechStart(start_ms=start_ms):
            return replace(event, start_ms=start_ms + by_ms)
        case SpeechEnd(end_ms=end_ms):
            return replace(event, end_ms=end_ms + by_ms)
        case Final():
            return event.later(by_ms)
        case Partial() | Gap():
            return replace(event, start_ms=event.start_ms + by_ms, end_ms=event.end_ms + by_ms)
    return event
