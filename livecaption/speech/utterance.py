"""Turn frames into utterances with their audio.

This module joins the VAD, the endpointer and the audio. An utterance's window is its speech with a pre-roll and a
post-roll. Windows never overlap, because words would appear twice. When an utterance is split at the length limit, the
next window begins where this one ends, because words would be lost. The module keeps the open utterance's audio. In
silence it keeps only the pre-roll and the onset.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from livecaption.audio import SAMPLE_RATE_HZ, samples_of
from livecaption.audio.formats import Samples
from livecaption.audio.framing import EnergyMeter, Frames
from livecaption.events import EndReason
from livecaption.speech.endpointing import Endpointer, EndpointingConfig, SpeechEnded, SpeechEvent, SpeechStarted


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """A stretch of speech that has ended or still grows. Times are samples of stream time.

    Attributes:
        number: its number in the stream.
        start, end: the speech, from the first voiced sample to the end of the last voiced frame, or to the cut.
        window_start, window_end: the span of `samples`; at most 30 s.
        samples: float32 [window_end - window_start], mono, 16 kHz, -1..1. Never modified, so they may be kept.
    """

    number: int
    start: int
    end: int
    window_start: int
    window_end: int
    samples: Samples


@dataclass(frozen=True, slots=True)
class UtteranceStarted:
    """An utterance has begun. Exactly one UtteranceEnded follows before the next start.

    Attributes:
        number, at: the `number` and the `start` of the utterance.
        window_start: beginning of its audio, with the pre-roll.
    """

    number: int
    at: int
    window_start: int


@dataclass(frozen=True, slots=True)
class UtteranceEnded:
    """The utterance is complete."""

    utterance: Utterance
    reason: EndReason


UtteranceEvent = UtteranceStarted | UtteranceEnded


class UtteranceCutter:
    """Cutter of one stream into utterances.

    Args:
        config: when utterances begin and end.
        judge: takes float32 [n_frames, 320] and the energies of the frames, and returns for each whether it is voiced,
            as `VoiceActivityDetector.judge` does. It receives every frame once, in order.
        begin: stream time of the first frame.
        numbers: gives each utterance its number.
        begins_mid_phrase: see `Endpointer`.
    """

    def __init__(
        self,
        config: EndpointingConfig,
        judge: Callable[[Frames, Sequence[float]], list[bool]],
        begin: int = 0,
        numbers: Iterator[int] | None = None,
        *,
        begins_mid_phrase: bool = False,
    ) -> None:
        self._judge = judge
        self._meter = EnergyMeter()
        self._endpointer = Endpointer(config, begin, begins_mid_phrase=begins_mid_phrase)
        self._note_margins(config)
        self._audio = _AudioBuffer(begin)
        self._numbers = count() if numbers is None else numbers
        self._open: UtteranceStarted | None = None
        self._last_window_end = begin  # end of the newest complete window, or of the discarded audio
        self._final_end, self._final_window_end = -1, 0  # of a requested final, which holds if the speech ends there

    @property
    def now(self) -> int:
        """End of the newest frame, in samples of stream time."""
        return self._endpointer.now

    @property
    def last_voiced_at(self) -> int:
        """End of the newest voiced frame, in samples of stream time; the stream's beginning while there is none."""
        return self._endpointer.last_voiced_at

    @property
    def silence_left(self) -> float:
        """Silence after which the open utterance ends, in samples; infinite if silence never ends it."""
        return self._endpointer.silence_left

    @property
    def undecided_from(self) -> int:
        """Earliest start of the next utterance: voice that is shorter than the onset, and the pre-roll before it."""
        return self.now - self._onset - self._pre_roll

    def set_mid_phrase(self, *, mid_phrase: bool) -> None:
        """Set whether the words of the open utterance do not end a sentence: see `Endpointer.mid_phrase`."""
        self._endpointer.mid_phrase = mid_phrase

    def configure(self, config: EndpointingConfig, *, begins_mid_phrase: bool = False) -> None:
        """Replace the settings: see `Endpointer.configure`."""
        if self._open is None:
            # The audio before is forgotten, so a longer pre-roll cannot have it.
            self._last_window_end = self._needed_from()
        self._endpointer.configure(config, begins_mid_phrase=begins_mid_phrase)
        self._note_margins(config)

    def _note_margins(self, config: EndpointingConfig) -> None:
        self._onset = samples_of(config.onset_ms)
        self._pre_roll = samples_of(config.pre_roll_ms)
        self._post_roll = samples_of(config.post_roll_ms)

    def push(self, frames: Frames) -> list[UtteranceEvent]:
        """Return the events of these frames, in order.

        Args:
            frames: float32 [n_frames, 320], mono, 16 kHz, -1..1; must not be modified afterwards.
        """
        self._audio.append(frames.reshape(-1))
        energies = self._meter.measure(frames)
        judged = self._judge(frames, energies)
        events: list[UtteranceEvent] = []
        if self._endpointer.is_silent and True not in judged:
            self._endpointer.pass_silence(len(frames))  # as in most messages
        else:
            for voiced, energy in zip(judged, energies, strict=True):
                if speech_events := self._endpointer.push(voiced, energy):
                    events += self._handle(speech_events)
        self._audio.forget_before(self._needed_from())
        return events

    def recheck_endpoint(self, speech_end: int, window_end: int) -> list[UtteranceEvent]:
        """Apply `Endpointer.recheck_endpoint`. The first event, if there is any, is an UtteranceEnded."""
        started = self._open
        speech_events = self._endpointer.recheck_endpoint(speech_end, window_end)
        if started is None or not speech_events:
            return []
        ended, *restarted = speech_events
        self._final_end, self._final_window_end = ended.at, window_end
        events = self._handle([ended])
        if speech_end <= started.window_start:
            # There was no speech, not even in the pre-roll, so the next window may begin in this one.
            self._last_window_end = started.window_start
        return events + self._handle(restarted)

    def flush(self, reason: EndReason) -> list[UtteranceEvent]:
        """End the open utterance now, if there is one. The stream may go on."""
        return self._handle(self._endpointer.flush(reason))

    def discard(self) -> list[UtteranceEvent]:
        """End the open utterance, if there is one, and keep the audio up to here out of all later windows."""
        events = self.flush("discard")
        self._last_window_end = self.now
        self._audio.forget_before(self.now)
        return events

    def forget_audio(self) -> None:
        """Free the audio that a next utterance would begin with, because the stream is over. No utterance is open."""
        self._audio = _AudioBuffer(self.now)

    def so_far(self, started: UtteranceStarted) -> Utterance:
        """Cut out the open utterance, up to the newest frame.

        Args:
            started: the event that opened it.
        """
        return self._cut_out(started, self.last_voiced_at, self.now)

    def speculate(self, started: UtteranceStarted) -> Utterance:
        """Cut out the open utterance for a final that is requested at this pause.

        If the utterance ends here, this is its window. The audio after it then belongs to the next window only.
        """
        self._final_end, self._final_window_end = self.last_voiced_at, self.now
        return self.so_far(started)

    def _handle(self, speech_events: list[SpeechEvent]) -> list[UtteranceEvent]:
        events: list[UtteranceEvent] = []
        for speech_event in speech_events:
            match speech_event, self._open:
                case SpeechStarted(at), _:
                    window_start = max(at - self._pre_roll, self._last_window_end)
                    self._open = UtteranceStarted(next(self._numbers), at, window_start)
                    events.append(self._open)
                case SpeechEnded(at, reason), UtteranceStarted() as started:
                    self._open = None
                    events.append(self._close(started, at, reason))
        return events

    def _close(self, started: UtteranceStarted, end: int, reason: EndReason) -> UtteranceEnded:
        # If speech goes on after the end, the rest belongs to the next utterance.
        goes_on = reason == "max_length" and end < self.last_voiced_at
        given_until = self._final_window_end if end == self._final_end else self.now
        self._last_window_end = end if goes_on else min(end + self._post_roll, given_until)
        return UtteranceEnded(self._cut_out(started, end, self._last_window_end), reason)

    def _cut_out(self, started: UtteranceStarted, end: int, window_end: int) -> Utterance:
        samples = self._audio.between(started.window_start, window_end)
        return Utterance(started.number, started.at, end, started.window_start, window_end, samples)

    def _needed_from(self) -> int:
        if self._open is not None:
            return self._open.window_start
        return max(self._last_window_end, self.undecided_from)


class _AudioBuffer:
    """The newest audio of a stream, addressed by stream time.

    Samples that `between` has returned are never written again, so it copies nothing. A growing utterance is requested
    several times a second. Copying it each time cost more than everything else that a stream costs.
    """

    def __init__(self, begin: int) -> None:
        self._buffer = np.empty(0, np.float32)
        self._start = begin  # stream time of the buffer's first sample
        self._length = 0
        self._kept_from = begin

    def append(self, samples: Samples) -> None:
        end = self._length + samples.size
        if end > self._buffer.size:
            # A new buffer with the samples that are still needed, because others may keep views of the old one.
            kept = self._buffer[self._kept_from - self._start : self._length]
            self._buffer = np.empty(max(2 * (kept.size + samples.size), SAMPLE_RATE_HZ), np.float32)
            self._buffer[: kept.size] = kept
            self._start, self._length = self._kept_from, kept.size
            end = self._length + samples.size
        self._buffer[self._length : end] = samples
        self._length = end

    def between(self, start: int, end: int) -> Samples:
        """Return float32 [end - start], a view of samples that are not written again."""
        return self._buffer[start - self._start : end - self._start]

    def forget_before(self, at: int) -> None:
        self._kept_from = max(self._kept_from, min(at, self._start + self._length))
