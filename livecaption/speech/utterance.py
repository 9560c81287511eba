"""Frames -> utterances with their audio.

Joins the VAD, the endpointer and the audio that they speak of. An utterance's window is its speech with a pre-roll and
a post-roll. Windows never overlap (else words were said twice), and at a cut for length one begins where the other ends
(else words were lost). Keeps the open utterance's audio, and in silence no more than the pre-roll and the onset.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from livecaption.audio import SAMPLE_RATE_HZ, samples_of
from livecaption.audio.formats import Samples
from livecaption.audio.framing import Frames
from livecaption.events import EndReason
from livecaption.speech.endpointing import Endpointer, EndpointingConfig, SpeechEvent, SpeechStarted


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """A stretch of speech, ended or still growing. Times are samples of stream time.

    Attributes:
        number: 0, 1, 2 ... in the stream.
        start, end: the speech: from the first voiced sample to the end of the last voiced frame, or to the cut.
        window_start, window_end: what `samples` spans; at most 30 s.
        samples: float32 [window_end - window_start], mono, 16 kHz, -1..1; not modified, may be kept.
    """

    number: int
    start: int
    end: int
    window_start: int
    window_end: int
    samples: Samples


@dataclass(frozen=True, slots=True)
class UtteranceStarted:
    """Utterance `number` begins at stream time `at`. Exactly one UtteranceEnded follows before the next start."""

    number: int
    at: int


@dataclass(frozen=True, slots=True)
class UtteranceEnded:
    """The utterance is complete."""

    utterance: Utterance
    reason: EndReason


UtteranceEvent = UtteranceStarted | UtteranceEnded


class UtteranceCutter:
    """Cuts one stream into utterances.

    Args:
        config: when utterances begin and end.
        judge: float32 [n_frames, 320] and their energies -> for each frame, whether it is voiced; such as
            `VoiceActivityDetector.judge`.
            Sees every frame once, in order.
    """

    def __init__(self, config: EndpointingConfig, judge: Callable[[Frames, Sequence[float]], list[bool]]) -> None:
        self._judge = judge
        self._endpointer = Endpointer(config)
        self._onset = samples_of(config.onset_ms)
        self._pre_roll = samples_of(config.pre_roll_ms)
        self._post_roll = samples_of(config.post_roll_ms)
        self._audio = _AudioBuffer()
        self._n_utterances = 0
        self._start: int | None = None  # of the open utterance's speech
        self._window_start = 0  # of the open utterance, if any
        self._last_window_end = 0  # end of the newest complete window
        self._final_end, self._final_window_end = -1, 0  # of a final that is on its way, if the speech ends there

    @property
    def last_voiced_at(self) -> int:
        """End of the newest voiced frame, in samples of stream time; 0: there was none."""
        return self._endpointer.last_voiced_at

    def set_mid_phrase(self, *, mid_phrase: bool) -> None:
        """What the words of the open utterance say about its end: see `Endpointer.mid_phrase`."""
        self._endpointer.mid_phrase = mid_phrase

    def push(self, frames: Frames) -> list[UtteranceEvent]:
        """What these frames began and ended, in order.

        Args:
            frames: float32 [n_frames, 320], mono, 16 kHz, -1..1; must not be modified afterwards.
        """
        self._audio.append(frames.reshape(-1))
        energies: list[float] = np.einsum("fs,fs->f", frames, frames).tolist()
        events: list[UtteranceEvent] = []
        for voiced, energy in zip(self._judge(frames, energies), energies, strict=True):
            if speech_events := self._endpointer.push(voiced, energy):
                events += self._handle(speech_events)
        self._audio.forget_before(self._needed_from())
        return events

    def recheck_endpoint(self, speech_end: int, window_end: int) -> list[UtteranceEvent]:
        """See `Endpointer.recheck_endpoint`. Where nobody spoke at all, the next window may begin in this one."""
        events = self._endpointer.recheck_endpoint(speech_end, window_end)
        if not events:
            return []
        ended, *started = events
        nothing_said = self._start is not None and speech_end <= self._window_start  # not in the pre-roll either
        self._final_end, self._final_window_end = ended.at, window_end
        closed = self._handle([ended])
        if nothing_said:
            self._last_window_end = self._window_start
        return closed + self._handle(started)

    def flush(self, reason: EndReason) -> list[UtteranceEvent]:
        """End the open utterance now, if there is one. The stream may go on."""
        return self._handle(self._endpointer.flush(reason))

    def forget_audio(self) -> None:
        """The stream is over, with no utterance open: let go of the audio that a next one would have begun with."""
        self._audio = _AudioBuffer()

    def open_utterance(self) -> Utterance | None:
        """The utterance that has not ended, up to the newest frame; for partials."""
        if self._start is None:
            return None
        return self._cut_out(self._start, self.last_voiced_at, self._endpointer.now)

    def speculate(self) -> Utterance | None:
        """The open utterance, for a final that is asked at this pause. If it ends here, that is its window, and what
        comes behind is the next one's: else nobody would hear it."""
        self._final_end, self._final_window_end = self.last_voiced_at, self._endpointer.now
        return self.open_utterance()

    def _handle(self, speech_events: list[SpeechEvent]) -> list[UtteranceEvent]:
        return [
            self._open(event.at) if isinstance(event, SpeechStarted) else self._close(event.at, event.reason)
            for event in speech_events
        ]

    def _open(self, start: int) -> UtteranceStarted:
        self._start = start
        self._window_start = max(start - self._pre_roll, self._last_window_end)
        return UtteranceStarted(self._n_utterances, start)

    def _close(self, end: int, reason: EndReason) -> UtteranceEnded:
        assert self._start is not None, "the endpointer ends only what it started"
        # Where speech goes on after the end, the rest is the next utterance's.
        goes_on = reason == "max_length" and end < self.last_voiced_at
        given_until = self._final_window_end if end == self._final_end else self._endpointer.now
        window_end = end if goes_on else min(end + self._post_roll, given_until)
        utterance = self._cut_out(self._start, end, window_end)
        self._n_utterances += 1
        self._start = None
        self._last_window_end = window_end
        return UtteranceEnded(utterance, reason)

    def _cut_out(self, start: int, end: int, window_end: int) -> Utterance:
        samples = self._audio.between(self._window_start, window_end)
        return Utterance(self._n_utterances, start, end, self._window_start, window_end, samples)

    def _needed_from(self) -> int:
        if self._start is not None:
            return self._window_start
        return max(self._last_window_end, self._endpointer.now - self._onset - self._pre_roll)


class _AudioBuffer:
    """The newest audio of a stream, addressed by stream time.

    A buffer is only ever written behind what was handed out of it, so `between` copies nothing: an utterance that grows
    is asked for several times a second, and copying it each time cost more than all else that a stream costs.
    """

    def __init__(self) -> None:
        self._buffer = np.empty(0, np.float32)
        self._start = 0  # stream time of the buffer's first sample
        self._length = 0
        self._kept_from = 0

    def append(self, samples: Samples) -> None:
        end = self._length + samples.size
        if end > self._buffer.size:
            # A new one with what is still needed: views of the old one may be kept by others.
            kept = self._buffer[self._kept_from - self._start : self._length]
            self._buffer = np.empty(max(2 * (kept.size + samples.size), SAMPLE_RATE_HZ), np.float32)
            self._buffer[: kept.size] = kept
            self._start, self._length = self._kept_from, kept.size
            end = self._length + samples.size
        self._buffer[self._length : end] = samples
        self._length = end

    def between(self, start: int, end: int) -> Samples:
        """float32 [end - start]; a view of what is not written again."""
        return self._buffer[start - self._start : end - self._start]

    def forget_before(self, at: int) -> None:
        self._kept_from = max(self._kept_from, min(at, self._start + self._length))
