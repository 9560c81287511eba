"""Transcribe and show the utterance that has not ended yet.

UtteranceStarted -> OpenUtterance -> requests for partials, perhaps one for an early final
                         │  ^
                Partial <┘  └── hypotheses
                         ▼
                    AwaitedFinal
"""

from collections.abc import Callable
from dataclasses import dataclass

from livecaption.audio import ms_of, samples_of
from livecaption.captions.sentence import ends_sentence
from livecaption.captions.stabilizer import Stabilizer
from livecaption.errors import EngineError
from livecaption.events import Partial
from livecaption.pipeline.final_queue import AwaitedFinal
from livecaption.pipeline.latency import Latency
from livecaption.pipeline.request_builder import RequestBuilder
from livecaption.recognition import SURE_LANGUAGE_MS, Hypothesis, RequestId, TranscriptionOptions
from livecaption.scheduling.load_control import ServiceLevel
from livecaption.scheduling.partial_timer import PartialTimer
from livecaption.scheduling.request import Request
from livecaption.speech.utterance import Utterance, UtteranceCutter, UtteranceEnded, UtteranceEvent, UtteranceStarted

SPECULATION_SILENCE_MS = 200
"""Silence in ms after which an open utterance is transcribed as if it had ended. If it has, its final is ready when the
endpoint comes. Shorter: more results are discarded, because there are gaps of 100 ms within words. Longer: less is
gained."""


@dataclass(slots=True)
class EarlyFinal:
    """A final that was requested before the end of the utterance was certain.

    Attributes:
        request: id of its request.
        end: stream time at which the utterance must end for this to be its final.
        answer: None while it is awaited.
    """

    request: RequestId
    end: int
    answer: Hypothesis | EngineError | None = None


@dataclass(slots=True)
class CaptionClock:
    """Times of the captions of an utterance. They are monotonic.

    Attributes:
        first_due_since_s: when the first voice arrived, as long as no caption has shown it; None: no caption is due.
        shown_until_s: arrival of the newest audio that a caption shows.
    """

    first_due_since_s: float | None
    shown_until_s: float


class OpenUtterance:
    """One utterance, from its start to its end.

    Args:
        started: the event that opened it.
        cutter: has its audio.
        requests: builds its requests.
        clock: times of its captions.
        partials: whether partials are wanted.
        is_noisy: returns whether the speech is in noise now.
        record: receives the latencies of its partials.
    """

    def __init__(
        self,
        started: UtteranceStarted,
        cutter: UtteranceCutter,
        requests: RequestBuilder,
        clock: CaptionClock,
        *,
        partials: bool,
        is_noisy: Callable[[], bool],
        record: Callable[[Latency], None],
    ) -> None:
        self.started = started
        self.clock = clock
        self.partial_asked_s: float | None = None
        """Monotonic time of the request for the oldest unanswered partial; None: all are answered."""
        self._cutter = cutter
        self._requests = requests
        self._partials = partials
        self._is_noisy = is_noisy
        self._record = record
        self._stabilizer = Stabilizer()
        self._partial_timer = PartialTimer()
        self._partial_timer.begin(started.at)
        self._revision = 0
        self._language: str | None = None  # None: not sure yet
        # Audio of the newest hypothesis, or of an early final on its way.
        self._covered_until = started.at
        self._early_final: EarlyFinal | None = None

    def ask(self, level: ServiceLevel, now_s: float) -> list[Request]:
        """Request what the newest audio calls for: an early final at a new pause, otherwise a partial if one is due.

        A stream that waits for a final gains nothing by an early one, which is answered later. So a recording that is
        sent faster than it is transcribed has none: docs/decisions/0042-recordings.md.
        """
        if level.effort == "full" and not self._awaits_final() and self._is_at_new_pause():
            return [self._ask_early_final(now_s)]
        if not self._partials or level.partial_interval_ms is None:
            return []
        if not self._partial_timer.due(self._cutter.now, level.partial_interval_ms):
            return []
        if self.partial_asked_s is None:
            self.partial_asked_s = now_s
        return [self._request(self._cutter.so_far(self.started), is_final=False, now_s=now_s)]

    def refresh(self, partial: Request, now_s: float) -> Request:
        """Put the newest audio into a request for a partial whose turn has come."""
        self._partial_timer.begin(self._cutter.now)
        audio = self._cutter.so_far(self.started)
        return self._requests.refresh(partial, audio, self._stabilizer.committed, self._language, now_s)

    def receive_answer(self, request: Request, answer: Hypothesis | EngineError, now_s: float) -> Partial | None:
        """Take the answer to one of its requests. Return the new caption, or None if there is none."""
        if self._early_final is not None and self._early_final.request == request.id:
            self._early_final.answer = answer
        elif not request.is_final:
            self.partial_asked_s = None
        if not isinstance(answer, Hypothesis) or answer.suspicious or not self._partials:
            return None
        return self._show(request, answer, now_s)

    def recheck_endpoint(self, request: Request, hypothesis: Hypothesis) -> list[UtteranceEvent]:
        """End the utterance if the engine found that its speech has ended, and only noise keeps it open.

        The first event, if there is any, is an UtteranceEnded.
        """
        has_text = hypothesis.text or hypothesis.suspicious
        if hypothesis.speech_end_ms is None or (has_text and not hypothesis.speech_end_ms):
            return []  # no detector has judged, or the two networks disagree
        speech_end = request.window_start + samples_of(hypothesis.speech_end_ms)
        events = self._cutter.recheck_endpoint(speech_end, request.window_start + len(request.window.samples))
        match events:
            case [UtteranceEnded(utterance), *_] if not hypothesis.suspicious and (
                request.is_final or not hypothesis.text
            ):
                # Either a final was requested at the pause, or there was no speech. So the final is known.
                self._early_final = EarlyFinal(request.id, utterance.end, hypothesis)
        return events

    def ask_final(self, utterance: Utterance, now_s: float) -> EarlyFinal | Request:
        """Request the final of the ended utterance, unless it was already requested at the pause that ended it."""
        if self._early_final is not None and self._early_final.end == utterance.end:
            return self._early_final
        return self._request(utterance, is_final=True, now_s=now_s)

    def end(
        self, utterance: Utterance, options: TranscriptionOptions, last_voiced_s: float, now_s: float
    ) -> AwaitedFinal:
        """Return the promised final. `utterance` is this whole utterance."""
        return AwaitedFinal(utterance, self._stabilizer, options, now_s, last_voiced_s, self.clock.first_due_since_s)

    def _awaits_final(self) -> bool:
        early = self._early_final
        return self._requests.awaits_final or (early is not None and early.answer is None)

    def _is_at_new_pause(self) -> bool:
        pause_start = self._cutter.last_voiced_at
        if self._cutter.now - pause_start < samples_of(SPECULATION_SILENCE_MS):
            return False
        return self._early_final is None or self._early_final.end != pause_start

    def _ask_early_final(self, now_s: float) -> Request:
        request = self._request(self._cutter.speculate(self.started), is_final=True, now_s=now_s)
        self._early_final = EarlyFinal(request.id, self._cutter.last_voiced_at)
        # A partial in flight has less audio. It must not commit words, because this request does not contain them.
        self._covered_until = self._cutter.now
        self._partial_timer.begin(self._cutter.now)
        return request

    def _request(self, audio: Utterance, *, is_final: bool, now_s: float) -> Request:
        committed = self._stabilizer.committed
        return self._requests.build(audio, committed, self._language, is_final=is_final, now_s=now_s)

    def _show(self, request: Request, hypothesis: Hypothesis, now_s: float) -> Partial | None:
        window_end = request.window_start + len(request.window.samples)
        if window_end < self._covered_until:
            return None
        self._covered_until = window_end
        noisy = self._is_noisy()
        # In noise, hypotheses end sentences where the speaker does not.
        self._cutter.set_mid_phrase(mid_phrase=noisy or not ends_sentence(hypothesis.text))
        caption = self._stabilizer.push(hypothesis.text, ms_of(window_end), at_pause=request.is_final, noisy=noisy)
        is_sure = len(request.window.samples) >= samples_of(SURE_LANGUAGE_MS)
        if self._language is None and hypothesis.text and (caption.stable or is_sure):
            self._language = hypothesis.language
        if not caption.text:
            return None
        revision, self._revision = self._revision, self._revision + 1
        self._record_shown(request.asked_s, now_s)
        return Partial(
            utterance=self.started.number,
            revision=revision,
            text=caption.text,
            stable=caption.stable,
            start_ms=ms_of(self.started.at),
            end_ms=ms_of(window_end),
        )

    def _record_shown(self, audio_until_s: float, now_s: float) -> None:
        if self.clock.first_due_since_s is not None:
            self._record(Latency("first_partial", now_s - self.clock.first_due_since_s))
            self.clock.first_due_since_s = None
        self._record(Latency("partial", now_s - (self.clock.shown_until_s + audio_until_s) / 2))
        self.clock.shown_until_s = audio_until_s
