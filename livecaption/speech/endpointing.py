"""Voiced or unvoiced frames -> SpeechStarted, SpeechEnded.

Decides where utterances begin and end. Knows nothing of samples (the VAD has judged them), of text, or of the clock:
time is the number of samples pushed. Runs in the server process and never blocks.

    state      voiced     unvoiced    by elapsed time
    SILENCE    ONSET      SILENCE
    ONSET      ONSET      SILENCE     after onset_ms of voice: SPEECH, SpeechStarted(at=first voiced sample)
    SPEECH     SPEECH     HANGOVER    towards max_utterance_ms: SPEECH, SpeechEnded(at=cut), SpeechStarted(at=cut)
    HANGOVER   SPEECH     HANGOVER    after hangover_ms (mid_phrase_hangover_ms): SILENCE,
                                      SpeechEnded(at=end of last voiced frame)
                                      at max_utterance_ms: the same; it is a pause already, no better cut is near

`Endpointer.recheck_endpoint` ends an utterance that noise keeps open. With `EndpointingConfig.manual` no silence ends
one.

The cut is made at the first moment that is quiet enough, and the less quiet it must be the longer the utterance is: so
it is near the newest audio, and words that readers were promised lie before it.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from math import inf

from livecaption.audio import FRAME_MS, FRAME_SAMPLES, samples_of
from livecaption.errors import ConfigError
from livecaption.events import EndReason

CUT_SEARCH_MS = 4_000
"""Before the maximum length, how long a quiet moment for the cut is waited for; at most half of an utterance, so a cut
leaves two that are worth having. The quietest moments of 1, 2, 4 and 5 s of speech are 22, 26, 29 and 29 dB below its
level."""
CUT_DB = 30.0
"""How far below the utterance's level a moment must be at the beginning of the search; at its end any will do."""
LOOK_BACK_MS = 1_000
"""How far back a cut may lie where nothing was quiet enough: not before words that captions have committed, which have
been heard by hypotheses for `captions.stabilizer.AGREEMENT_MS`."""
QUIET_MS = 100
"""How long it has to be quiet there. Shorter finds the closure of a p or t; longer misses short pauses."""
N_QUIET = QUIET_MS // FRAME_MS
UNSETTLED_MS = 300
"""The newest audio in which a recheck found no speech. A word may begin there, so it goes to the next utterance too."""


@dataclass(frozen=True, slots=True)
class EndpointingConfig:
    """When an utterance begins and ends, and how much around it the engine hears.

    Raises:
        ConfigError: a value out of range; the message names it.
    """

    onset_ms: int = 60
    """Voice that must last before it is believed. Shorter: clicks and coughs open utterances.
    Longer: a curt "no" is missed, and captions begin later."""

    hangover_ms: int = 500
    """Unvoiced time that an utterance survives. Shorter: sentences are cut at commas and the engine gets less context.
    Longer: every final comes later by as much. OpenAI's realtime API takes 500 ms too."""

    mid_phrase_hangover_ms: int = 700
    """The same where the words so far end no sentence: speakers pause in mid-phrase too, and a phrase cut in two is
    transcribed worse. Shorter: more phrases are cut. Longer: finals of those come later. Never below `hangover_ms`.

    Of 41 pauses of 500 ms or more that tiny.en takes for mid-phrase, 600, 700, 800, 900 and 1000 ms bridge 7, 12, 20,
    24 and 28; it takes 19 of 168 ends of speech for mid-phrase, which wait as long. With 960 instead of 700 ms the p95
    of finals of 53 read clips is 1100 instead of 760 ms after the end of speech, at the same WER of 6.8 %."""

    max_utterance_ms: int = 15_000
    """Length at which an utterance is cut though speech goes on. Shorter: more cuts between words that belong together.
    Longer: finals of those who never pause come later, and each partial costs more."""

    pre_roll_ms: int = 400
    """Audio before the first voiced frame that the engine hears too. Shorter: soft first sounds are lost.
    Longer: more silence to compute on, and noise in which words may be imagined."""

    post_roll_ms: int = 400
    """Audio after the last voiced frame that the engine hears too; at most `hangover_ms`, so it is there already.
    Shorter: soft last sounds are lost. Longer: as with the pre-roll.

    Of 2673 words with known times, a pre-roll of 400 ms and a post-roll of 300 ms leave out 3, of 400 ms 1, of 500 ms
    none; the engine hears 1.5 % more with each step."""

    manual: bool = False
    """Whether silence never ends an utterance: only a flush, a discard, the end of the stream and the length limit do.
    For clients that decide themselves when a turn is over."""

    def __post_init__(self) -> None:
        # The largest pre-roll, utterance and post-roll together are the 30 s that Whisper's encoder hears.
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
"""For a dialogue, for most, and for a lecture that is to be read as text."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Somebody speaks since `at`, in samples of stream time."""

    at: int


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The speech ended at `at`, in samples of stream time: the end of the last voiced frame, or the cut."""

    at: int
    reason: EndReason


SpeechEvent = SpeechStarted | SpeechEnded


class State(Enum):
    """Where the endpointer stands; see the table above."""

    SILENCE = auto()
    ONSET = auto()
    SPEECH = auto()
    HANGOVER = auto()


NEXT_STATE = {
    State.SILENCE: {True: State.ONSET, False: State.SILENCE},
    State.ONSET: {True: State.ONSET, False: State.SILENCE},
    State.SPEECH: {True: State.SPEECH, False: State.HANGOVER},
    State.HANGOVER: {True: State.SPEECH, False: State.HANGOVER},
}
"""The transitions by a frame. Those by elapsed time are in `Endpointer._elapse`."""


class Endpointer:
    """One stream's state machine.

    SpeechStarted and SpeechEnded alternate, and their times never go back.

    Attributes:
        now: stream time: the end of the newest frame.
        last_voiced_at: end of the newest voiced frame, in stream time; `begin` while there is none.
        mid_phrase: whether the words of the open utterance, as far as they are known, do not end a sentence. Set from
            outside; false again when an utterance starts.
    """

    def __init__(self, config: EndpointingConfig, begin: int = 0) -> None:
        """`begin`: stream time of the first frame."""
        self.now = begin
        self.last_voiced_at = begin
        self._onset = samples_of(config.onset_ms)
        self.mid_phrase = False
        self._hangover = inf if config.manual else samples_of(config.hangover_ms)
        self._mid_phrase_hangover = max(self._hangover, samples_of(config.mid_phrase_hangover_ms))
        self._max_utterance = samples_of(config.max_utterance_ms)
        self._post_roll = samples_of(config.post_roll_ms)
        self._state = State.SILENCE
        self._started_at = 0
        self._cut_search = samples_of(min(CUT_SEARCH_MS, config.max_utterance_ms // 2))
        self._recent_energies: deque[float] = deque(maxlen=LOOK_BACK_MS // FRAME_MS)
        self._energy = 0.0  # of the utterance

    def push(self, voiced: bool, energy: float) -> list[SpeechEvent]:
        """One frame of FRAME_SAMPLES: the VAD's answer, and its energy in any unit."""
        state = NEXT_STATE[self._state][voiced]
        if self._state is State.SILENCE:
            self._started_at = self.now
            self._energy = 0.0
        self._state = state
        self.now += FRAME_SAMPLES
        if voiced:
            self.last_voiced_at = self.now
        self._recent_energies.append(energy)
        self._energy += energy
        return [] if state is State.SILENCE else self._elapse()

    def flush(self, reason: EndReason) -> list[SpeechEvent]:
        """End the utterance now, if one is open. Voice shorter than the onset is dropped as a click."""
        is_open = self._state in (State.SPEECH, State.HANGOVER)
        self._state = State.SILENCE
        return [SpeechEnded(self.last_voiced_at, reason)] if is_open else []

    def recheck_endpoint(self, speech_end: int, window_end: int) -> list[SpeechEvent]:
        """Judge the open utterance by a better detector, which found speech up to `speech_end` only.

        This ends the utterance if that pause is as long as the hangover. What the VAD has called voice since is noise,
        or the beginning of the next utterance. The next utterance therefore begins behind this one's post-roll, and
        no audio is lost.

        Args:
            speech_end: stream time; if it is not after the start of the utterance, nobody spoke in it at all.
            window_end: stream time up to which the detector has judged.
        """
        settled_until = max(speech_end, self._started_at)
        if self._state not in (State.SPEECH, State.HANGOVER):
            return []
        if window_end - settled_until < self._current_hangover():
            return []
        end = speech_end if speech_end > self._started_at else window_end - samples_of(UNSETTLED_MS)
        end = min(max(end, self._started_at + FRAME_SAMPLES), self.last_voiced_at)
        ended = SpeechEnded(end, "silence")
        if self.last_voiced_at <= end + self._post_roll:
            self._state = State.SILENCE
            return [ended]
        return [ended, self._go_on_from(end + self._post_roll)]

    def _elapse(self) -> list[SpeechEvent]:
        length = self.now - self._started_at
        match self._state:
            case State.ONSET if length >= self._onset:
                self._state = State.SPEECH
                self.mid_phrase = False
                return [SpeechStarted(self._started_at)]
            case State.HANGOVER if self.now - self.last_voiced_at >= self._current_hangover():
                return self.flush("silence")
            case State.HANGOVER if length >= self._max_utterance:
                return self.flush("max_length")
            case State.SPEECH if length >= self._max_utterance:
                return self._cut(self._quietest_point())
            case State.SPEECH if length >= self._max_utterance - self._cut_search and self._is_quiet_enough(length):
                return self._cut(self.now - N_QUIET * FRAME_SAMPLES // 2)
        return []

    def _cut(self, at: int) -> list[SpeechEvent]:
        return [SpeechEnded(at, "max_length"), self._go_on_from(at)]

    def _go_on_from(self, at: int) -> SpeechStarted:
        """The voice that is heard since then is the next utterance."""
        self._started_at = at
        self._energy = 0.0
        self.mid_phrase = False
        return SpeechStarted(at)

    def _is_quiet_enough(self, length: int) -> bool:
        """Whether the newest QUIET_MS are, for a cut of an utterance of this length."""
        newest = list(self._recent_energies)[-N_QUIET:]
        level = self._energy * FRAME_SAMPLES / length
        below_db = CUT_DB * (self._max_utterance - length) / self._cut_search
        return sum(newest) <= N_QUIET * level * 10 ** (-below_db / 10)

    def _current_hangover(self) -> float:
        return self._mid_phrase_hangover if self.mid_phrase else self._hangover

    def _quietest_point(self) -> int:
        """The middle of the quietest QUIET_MS of late, in stream time; the newest of equals."""
        energies = list(self._recent_energies)
        starts = range(len(energies) - N_QUIET, -1, -1)
        quietest = min(starts, key=lambda start: sum(energies[start : start + N_QUIET]))
        first_at = self.now - (len(energies) - quietest) * FRAME_SAMPLES
        return first_at + N_QUIET * FRAME_SAMPLES // 2
