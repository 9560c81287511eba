"""Turn voiced and unvoiced frames into SpeechStarted and SpeechEnded.

This module decides where utterances begin and end. It does not depend on samples (the VAD has judged them), text or the
clock: time is the number of samples pushed. It runs in the server process and never blocks.

    state      voiced     unvoiced    by elapsed time
    silence    onset      silence
    onset      onset      silence     after onset_ms of voice: speech, SpeechStarted(at=first voiced sample)
    speech     speech     hangover    towards max_utterance_ms: speech, SpeechEnded(at=cut), SpeechStarted(at=cut)
    hangover   speech     hangover    after hangover_ms (mid_phrase_hangover_ms): silence,
                                      SpeechEnded(at=end of last voiced frame)
                                      at max_utterance_ms: the same, because a pause is the best place to cut

`Endpointer.recheck_endpoint` ends an utterance that noise keeps open. With `EndpointingConfig.manual` silence never
ends an utterance.

An utterance near its maximum length is cut at the first moment that is quiet enough. The closer the maximum, the less
quiet the moment must be. So the cut is near the newest audio, and no committed word lies after it.
"""

from collections import deque
from dataclasses import dataclass
from math import inf
from typing import Literal

from livecaption.audio import FRAME_MS, FRAME_SAMPLES, samples_of
from livecaption.errors import ConfigError
from livecaption.events import EndReason

CUT_SEARCH_MS = 4_000
"""Time before the maximum length, in ms, in which the cut waits for a quiet moment; at most half of an utterance, so
that both halves are worth having. Longer: utterances are cut earlier than necessary. Shorter: more cuts in loud places.
See docs/decisions/0018-length-cuts.md."""
CUT_DB = 30.0
"""Level of a moment below the utterance's level, in dB, that allows a cut when the search begins. It falls to 0 at the
end of the search."""
LOOK_BACK_MS = 1_000
"""Largest distance of a cut from the newest audio, in ms, if no moment was quiet enough. The cut must not lie before
committed words, and a committed word has been in hypotheses for `captions.stabilizer.AGREEMENT_MS`."""
QUIET_MS = 100
"""Length of the quiet moment, in ms. Shorter finds the closure of a p or t; longer misses short pauses."""
N_QUIET = QUIET_MS // FRAME_MS
UNSETTLED_MS = 300
"""Newest audio, in ms, that a recheck without speech leaves undecided. A word may begin in it, so the next utterance
contains it too."""


@dataclass(frozen=True, slots=True)
class EndpointingConfig:
    """Settings for the beginning and the end of an utterance, and for the audio around it that the engine receives.

    Raises:
        ConfigError: a value out of range; the message names it.
    """

    onset_ms: int = 60
    """Voice in ms that opens an utterance. Shorter: clicks and coughs open utterances.
    Longer: a curt "no" is missed, and captions begin later."""

    hangover_ms: int = 500
    """Unvoiced time in ms that an utterance survives. Shorter: sentences are cut at commas, and the engine has less
    context. Longer: every final comes later by as much. OpenAI's realtime API also uses 500 ms."""

    mid_phrase_hangover_ms: int = 700
    """The same, in ms, if the words so far do not end a sentence, because people also pause within phrases. Shorter:
    more phrases are cut in two, and those are transcribed worse. Longer: the finals of phrases come later. It is never
    below `hangover_ms`. Figures: docs/decisions/0014-pauses.md."""

    max_utterance_ms: int = 15_000
    """Length in ms at which an utterance is cut though speech goes on. Shorter: more cuts between words that belong
    together. Longer: finals of people who never pause come later, and each partial costs more."""

    pre_roll_ms: int = 400
    """Audio in ms before the first voiced frame that the engine also receives. Shorter: soft first sounds are lost.
    Longer: more silence to compute, and more noise in which the engine may find words."""

    post_roll_ms: int = 400
    """Audio in ms after the last voiced frame that the engine also receives; at most `hangover_ms`, so that it is
    already there. Shorter: soft last sounds are lost. Longer: as with the pre-roll. Figures:
    docs/decisions/0011-voice-activity.md."""

    manual: bool = False
    """True: silence never ends an utterance. Only a flush, a discard, the end of the stream and the length limit do.
    This is for clients that decide themselves when a turn is over."""

    def __post_init__(self) -> None:
        # The largest pre-roll, utterance and post-roll together are the 30 s that Whisper's encoder takes.
        ranges_ms = {
            "onset_ms": (FRAME_MS, 1_000),
            "hangover_ms": (FRAME_MS, 10_000),
            "mid_phrase_hangover_ms": (FRAME_MS, 10_000),
            "max_utterance_ms": (2_000, 28_000),
            "pre_roll_ms": (0, 1_000),
            "post_roll_ms": (0, 1_000),
        }
        for name, (low, high) in ranges_ms.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise ConfigError(f"{name} must be an integer from {low} to {high}")


PRESETS = {
    "fast": EndpointingConfig(hangover_ms=300, mid_phrase_hangover_ms=450, max_utterance_ms=8_000, post_roll_ms=300),
    "balanced": EndpointingConfig(),
    "accurate": EndpointingConfig(hangover_ms=800, mid_phrase_hangover_ms=1_200, max_utterance_ms=25_000),
}
"""Presets for a dialogue, for most uses, and for a lecture that will be read as text."""

RECORDINGS = EndpointingConfig(hangover_ms=750, mid_phrase_hangover_ms=750, max_utterance_ms=20_000)
"""Endpoints in recordings: long utterances, because latency does not matter and they are transcribed better. Figures:
docs/decisions/0042-recordings.md."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Speech began at `at`, in samples of stream time."""

    at: int


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The speech ended at `at`, in samples of stream time: the end of the last voiced frame, or the cut."""

    at: int
    reason: EndReason


SpeechEvent = SpeechStarted | SpeechEnded


State = Literal["silence", "onset", "speech", "hangover"]
"""State of the endpointer; see the table above. No Enum, whose members take 0.1 us in Python 3.11: each frame reads
several of them."""

NEXT_STATE: dict[State, dict[bool, State]] = {
    "silence": {True: "onset", False: "silence"},
    "onset": {True: "onset", False: "silence"},
    "speech": {True: "speech", False: "hangover"},
    "hangover": {True: "speech", False: "hangover"},
}
"""The transitions by a frame. Those by elapsed time are in `Endpointer._elapse`."""


class Endpointer:
    """One stream's state machine.

    SpeechStarted and SpeechEnded alternate, and their times never go back.

    Attributes:
        now: end of the newest frame, in stream time.
        last_voiced_at: end of the newest voiced frame, in stream time; `begin` while there is none.
        mid_phrase: True if the known words of the open utterance do not end a sentence. The caller sets it, while an
            utterance is open.
        begins_mid_phrase: what it becomes when an utterance starts, also within the audio of one call.
    """

    def __init__(self, config: EndpointingConfig, begin: int = 0, *, begins_mid_phrase: bool = False) -> None:
        """Start in silence. `begin` is the stream time of the first frame."""
        self.now = begin
        self.last_voiced_at = begin
        self.mid_phrase = False
        self.configure(config, begins_mid_phrase=begins_mid_phrase)
        self._state: State = "silence"
        self._started_at = 0
        self._recent_energies: deque[float] = deque(maxlen=LOOK_BACK_MS // FRAME_MS)
        self._energy = 0.0  # of the utterance

    def configure(self, config: EndpointingConfig, *, begins_mid_phrase: bool = False) -> None:
        """Replace the settings. They count from the next frame on, also for an open utterance."""
        self.begins_mid_phrase = begins_mid_phrase
        self._onset = samples_of(config.onset_ms)
        self._hangover = inf if config.manual else samples_of(config.hangover_ms)
        self._mid_phrase_hangover = max(self._hangover, samples_of(config.mid_phrase_hangover_ms))
        self._max_utterance = samples_of(config.max_utterance_ms)
        self._post_roll = samples_of(config.post_roll_ms)
        self._cut_search = samples_of(min(CUT_SEARCH_MS, config.max_utterance_ms // 2))

    def push(self, voiced: bool, energy: float) -> list[SpeechEvent]:
        """Take one frame of FRAME_SAMPLES: the VAD's answer, and its energy in any unit."""
        state = NEXT_STATE[self._state][voiced]
        if self._state == "silence":
            self._started_at = self.now
            self._energy = 0.0
        self._state = state
        self.now += FRAME_SAMPLES
        if voiced:
            self.last_voiced_at = self.now
        self._recent_energies.append(energy)
        self._energy += energy
        return [] if state == "silence" else self._elapse()

    @property
    def is_silent(self) -> bool:
        """True if neither speech nor an onset is going on."""
        return self._state == "silence"

    def pass_silence(self, n_frames: int) -> None:
        """Take unvoiced frames in silence. Nothing follows from them, and no cut looks back to them."""
        self.now += n_frames * FRAME_SAMPLES

    def flush(self, reason: EndReason) -> list[SpeechEvent]:
        """End the open utterance now, if there is one. Voice shorter than the onset is dropped as a click."""
        is_open = self._state in ("speech", "hangover")
        self._state = "silence"
        return [SpeechEnded(self.last_voiced_at, reason)] if is_open else []

    @property
    def silence_left(self) -> float:
        """Silence after which the open utterance ends, in samples; infinite if silence never ends it."""
        return self._current_hangover() - (self.now - self.last_voiced_at)

    def recheck_endpoint(self, speech_end: int, window_end: int) -> list[SpeechEvent]:
        """Correct the open utterance by a better detector, which found speech only up to `speech_end`.

        This ends the utterance if that pause is as long as the hangover. The VAD has called later audio voiced. It is
        noise, or the beginning of the next utterance. So the next utterance begins after this one's post-roll, and no
        audio is lost.

        Args:
            speech_end: stream time. If it is not after the start of the utterance, the utterance has no speech at all.
            window_end: stream time up to which the detector has judged.
        """
        final_until = max(speech_end, self._started_at)
        if self._state not in ("speech", "hangover"):
            return []
        if window_end - final_until < self._current_hangover():
            return []
        end = speech_end if speech_end > self._started_at else window_end - samples_of(UNSETTLED_MS)
        end = min(max(end, self._started_at + FRAME_SAMPLES), self.last_voiced_at)
        ended = SpeechEnded(end, "silence")
        if self.last_voiced_at <= end + self._post_roll:
            self._state = "silence"
            return [ended]
        return [ended, self._go_on_from(end + self._post_roll)]

    def _elapse(self) -> list[SpeechEvent]:
        length = self.now - self._started_at
        match self._state:
            case "onset" if length >= self._onset:
                self._state = "speech"
                self.mid_phrase = self.begins_mid_phrase
                return [SpeechStarted(self._started_at)]
            case "hangover" if self.now - self.last_voiced_at >= self._current_hangover():
                return self.flush("silence")
            case "hangover" if length >= self._max_utterance:
                return self.flush("max_length")
            case "speech" if length >= self._max_utterance:
                return self._cut(self._quietest_point())
            case "speech" if length >= self._max_utterance - self._cut_search and self._is_quiet_enough(length):
                return self._cut(self.now - N_QUIET * FRAME_SAMPLES // 2)
        return []

    def _cut(self, at: int) -> list[SpeechEvent]:
        return [SpeechEnded(at, "max_length"), self._go_on_from(at)]

    def _go_on_from(self, at: int) -> SpeechStarted:
        """Begin the next utterance at `at`, with the voice since then."""
        self._started_at = at
        self._energy = 0.0
        self.mid_phrase = self.begins_mid_phrase
        return SpeechStarted(at)

    def _is_quiet_enough(self, length: int) -> bool:
        """Return whether the newest QUIET_MS allow to cut an utterance of this length."""
        newest = list(self._recent_energies)[-N_QUIET:]
        level = self._energy * FRAME_SAMPLES / length
        below_db = CUT_DB * (self._max_utterance - length) / self._cut_search
        return sum(newest) <= N_QUIET * level * 10 ** (-below_db / 10)

    def _current_hangover(self) -> float:
        return self._mid_phrase_hangover if self.mid_phrase else self._hangover

    def _quietest_point(self) -> int:
        """Return the middle of the quietest of the recent QUIET_MS, in stream time; the newest of equals."""
        energies = list(self._recent_energies)
        starts = range(len(energies) - N_QUIET, -1, -1)
        quietest = min(starts, key=lambda start: sum(energies[start : start + N_QUIET]))
        first_at = self.now - (len(energies) - quietest) * FRAME_SAMPLES
        return first_at + N_QUIET * FRAME_SAMPLES // 2
