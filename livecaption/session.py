"""One publisher's stream: audio + speech + captions joined. Bytes in, requests and events out.

    bytes -> decode, resample, frame -> utterances -> Request (partial or final) ─┐
    Event <- ordered finals, stable partials <- Hypothesis <──────────────────────┘

Pure: no asyncio, socket, thread, process or clock. Time is passed in as `now_s` (monotonic) and
serves for latencies only; everything else is counted in samples of stream time.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from livecaption.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ, ms_of, samples_of
from livecaption.audio.formats import CONTAINER, AudioFormat, PcmDecoder
from livecaption.audio.framing import Framer
from livecaption.audio.resampling import Resampler
from livecaption.captions.casing import join_case
from livecaption.captions.language import SettledLanguage
from livecaption.captions.sentence import ends_sentence
from livecaption.captions.stabilizer import Stabilizer
from livecaption.errors import EngineError, InvalidAudio, LivecaptionError, WrongState
from livecaption.events import (
    CaptionWord,
    EndReason,
    ErrorReport,
    Event,
    Final,
    Flushed,
    Partial,
    SpeechEnd,
    SpeechStart,
    Status,
)
from livecaption.recognition import Hypothesis, PrecedingUtterance, RequestId, SessionId, TranscriptionOptions, Window
from livecaption.scheduling.load_control import ServiceLevel
from livecaption.scheduling.partial_timer import PartialTimer
from livecaption.scheduling.request import Request
from livecaption.speech.endpointing import EndpointingConfig
from livecaption.speech.utterance import Utterance, UtteranceCutter, UtteranceEnded, UtteranceEvent, UtteranceStarted
from livecaption.speech.vad import VoiceActivityDetector

Output = Event | Request
LatencyKind = Literal["endpoint", "first_partial", "partial", "final"]

OVERLOADED_AFTER_S = 3.0
"""Age of an unanswered final at which readers are told: Ofcom asks live captions for 3 s at most."""
SLOW_AFTER_S = 1.5
"""Age of an unanswered partial, or interval of partials, at which readers are told that text will come later."""
MAX_CONTEXT_CHARACTERS = 300
"""Of what was said before, that may go with a window; more than the engine reads."""
MIN_CONTEXT_CONFIDENCE = 0.4
"""Of a final, for what follows to be heard in its light: nonsense breeds nonsense."""
MAX_PRECEDING_GAP_MS = 600
"""Between the windows of two utterances, rolls and all, for the second to be heard together with the first."""
MAX_JOINT_MS = 14_000
"""Of two utterances that are heard together: see ARCHITECTURE.md, "Utterances heard together"."""
SPECULATION_SILENCE_MS = 200
"""Silence after which an open utterance is transcribed as if it had ended. If it has, its final is there when the
endpoint comes. Shorter: more of them are in vain, for there are gaps of 100 ms within words. Longer: less is won."""


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What a publisher asked for in `start`."""

    audio: AudioFormat = field(default_factory=AudioFormat)
    transcription: TranscriptionOptions = field(default_factory=TranscriptionOptions)
    partials: bool = True
    endpointing: EndpointingConfig = field(default_factory=EndpointingConfig)
    title: str = ""
    private: bool = False


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """What an earlier server has made of a stream that goes on here.

    Attributes:
        finals: all that it gave, in order.
        audio_ms: audio before it is in them, or has none.
    """

    finals: tuple[Final, ...] = ()
    audio_ms: int = 0


START_OF_STREAM = ResumePoint()


@dataclass(frozen=True, slots=True)
class Latency:
    """One delay, for the operator; nothing of it is sent. Audio counts from the arrival of its last byte.

    endpoint        last voiced audio -> `SpeechEnd`, where silence ended the utterance
    first_partial   first voiced audio -> first caption: a partial, or the final where none came in time. Not where
                    the utterance goes on from one that was cut for length, nor where no partials are wanted
    partial         audio that a partial shows for the first time -> `Partial`; of its oldest and newest, the mean
    final           last voiced audio -> `Final`, unless it failed
    """

    kind: LatencyKind
    seconds: float


@dataclass(slots=True)
class _AwaitedFinal:
    """A final that was asked for; `event` is there once it was answered."""

    utterance: Utterance
    stabilizer: Stabilizer
    last_voiced_s: float
    first_caption_due_since_s: float | None
    asked_s: float
    request: RequestId
    event: Final | None = None


@dataclass(slots=True)
class _Speculation:
    """A final that was asked for at a pause, before the utterance is known to end there: at `last_voiced_at`."""

    request: RequestId
    last_voiced_at: int
    answer: Hypothesis | EngineError | None = None


class StreamPipeline:
    """The stream of one publisher, from `start` to the last final.

    Inside, samples and utterances count from where this object begins to hear; outside, from the begin of the stream,
    of which an earlier server may have had a part. Every method returns what there is to do, in order: events to
    send and requests to submit. Each `SpeechStart` is followed by exactly one `Final` of the same number, finals come
    in order, and no two cover the same audio.
    """

    def __init__(
        self,
        session_id: SessionId,
        options: StreamOptions,
        service_level: Callable[[], ServiceLevel],
        next_request_id: Callable[[], RequestId],
        resume_from: ResumePoint = START_OF_STREAM,
    ) -> None:
        self.id = session_id
        self.options = options
        self._first_utterance = resume_from.finals[-1].utterance + 1 if resume_from.finals else 0
        self._service_level = service_level
        self._next_request_id = next_request_id
        # A container is decoded outside and comes in as samples.
        self._decoder = None if options.audio.encoding == CONTAINER else PcmDecoder(options.audio)
        self._received_rate_hz = SAMPLE_RATE_HZ if self._decoder is None else options.audio.sample_rate_hz
        self._resampler = Resampler(self._received_rate_hz)
        self._framer = Framer()
        self._cutter = UtteranceCutter(options.endpointing, VoiceActivityDetector().judge)
        self._judged_samples = 0
        self._judged_before = 0  # the newest chunk
        self._partial_timer = PartialTimer()
        self._stabilizer = Stabilizer()
        self._ended_utterance: Utterance | None = None  # the newest, at full effort
        self._language = SettledLanguage(options.transcription.language)
        self._newest_final: Final | None = None  # of those that are out and say something
        self._context = ""  # the end of what was said, as far as it is known
        self._open_number: int | None = None
        self._revision = 0
        self._partial_asked_s: float | None = None
        self._speculation: _Speculation | None = None
        self._covered_until = 0  # by the newest hypothesis of the open utterance, or by one that is on its way for sure
        self._begin_at(resume_from.audio_ms)
        self._last_voiced_s = 0.0
        self._first_caption_due_since_s: float | None = None
        self._shown_until_s = 0.0
        self._last_end = -1
        self._last_window_end = 0
        self._latencies: list[Latency] = []
        self._n_utterances = 0
        self._ended = False
        self._reported_non_finite = False
        # Finals and flush marks in the order in which they must go out.
        self._awaited: deque[_AwaitedFinal | Flushed] = deque()
        for final in resume_from.finals:
            self._remember(final.text, final.language or "", final.confidence)
            if final.text:
                self._newest_final = final

    @property
    def received_ms(self) -> int:
        """Audio taken over so far: whole samples, in milliseconds rounded down."""
        return ms_of(self._received_samples, self._received_rate_hz)

    @property
    def checkpoint_ms(self) -> int:
        """Audio before it is in the finals that are out, or holds no speech; who goes on elsewhere begins here."""
        awaited = next((item.utterance for item in self._awaited if isinstance(item, _AwaitedFinal)), None)
        utterance = awaited or self._cutter.open_utterance()
        if utterance is not None:
            return self._ms(utterance.window_start)
        return self._ms(max(self._last_window_end, self._undecided_from))

    @property
    def _undecided_from(self) -> int:
        """Where an utterance to come may begin: voice that is not believed yet, and its pre-roll."""
        endpointing = self.options.endpointing
        return self._judged_samples - samples_of(endpointing.onset_ms + endpointing.pre_roll_ms)

    @property
    def n_utterances(self) -> int:
        return self._first_utterance + self._n_utterances

    @property
    def backlog_ms(self) -> int:
        """Audio of ended utterances whose finals are not out yet."""
        awaited = (item.utterance for item in self._awaited if isinstance(item, _AwaitedFinal))
        return sum(ms_of(utterance.window_end - utterance.window_start) for utterance in awaited)

    @property
    def drained(self) -> bool:
        """Whether the input has ended and everything that was promised is out."""
        return self._ended and not self._awaited

    def receive_audio(self, data: bytes | memoryview, now_s: float) -> list[Output]:
        """Take bytes of the declared encoding, cut anywhere.

        Raises:
            WrongState: after the end of the input; the session is unchanged.
        """
        if self._ended:
            raise WrongState("audio after stop", fatal=False)
        if self._decoder is None:
            raise WrongState("the bytes of a container go through its decoder")
        samples = self._decoder.push(data)
        self._received_samples += len(samples)
        outputs: list[Output] = []
        if self._decoder.non_finite_samples and not self._reported_non_finite:
            self._reported_non_finite = True
            message = "the audio holds NaN or infinite samples; they are taken as silence"
            outputs.append(_report(InvalidAudio(message, code="non_finite_audio", fatal=False)))
        return outputs + self._receive(self._resampler.push(samples), now_s)

    def receive_samples(self, samples: npt.NDArray[np.float32], now_s: float) -> list[Output]:
        """Take what a container's decoder gave: float32 [n], mono, 16 kHz, -1..1."""
        if self._ended:
            return []
        self._received_samples += len(samples)
        return self._receive(samples, now_s)

    def rewind(self) -> int:
        """The audio is sent again from here on: from the first sample of the millisecond that is returned.

        What of it was received before is skipped, and a sample that was cut by the end of the last message comes whole,
        so each sample counts once. Not for containers.
        """
        assert self._decoder is not None, "a container cannot be entered in the middle"
        first_again = samples_of(self.received_ms, self._received_rate_hz)
        self._decoder.rewind(self._received_samples - first_again)
        return self.received_ms

    def skip_to(self, at_ms: int) -> bool:
        """The next audio is that from here on; what lies between is lost. False: not any more, audio has come."""
        if self._received_samples != self._first_sample or at_ms < self._begin_ms:
            return False
        self._begin_at(at_ms)
        return True

    def flush(self, flush_id: str | int | None, now_s: float) -> list[Output]:
        """End the open utterance now; `Flushed` follows once all finals up to here are out."""
        if self._ended:
            raise WrongState("flush after stop", fatal=False)
        outputs = self._end_utterance("flush", now_s)
        self._awaited.append(Flushed(flush_id))
        return outputs + self._release()

    def end(self, reason: EndReason, now_s: float) -> list[Output]:
        """No more audio. Idempotent; `drained` tells when the last final is out."""
        if self._ended:
            return []
        outputs: list[Output] = []
        if self._decoder is not None:
            try:
                self._decoder.flush()
            except InvalidAudio as error:
                outputs.append(_report(error))
        outputs += self._receive(self._resampler.flush(), now_s)
        outputs += self._judge(self._framer.flush(), now_s)
        outputs += self._end_utterance(reason, now_s)
        self._ended = True
        # Who reads along later needs no audio, and no filters of 100 KB.
        self._ended_utterance = None
        self._cutter.forget_audio()
        self._resampler = Resampler(SAMPLE_RATE_HZ)
        return outputs

    def refresh(self, request: Request, now_s: float) -> Request:
        """A partial of this session whose turn has come: the same with all that was heard since it was asked."""
        utterance = self._cutter.open_utterance()
        if utterance is None or utterance.number != request.utterance:
            return request
        self._partial_timer.begin(self._judged_samples)
        return replace(
            request, asked_s=now_s, window=self._window(utterance, is_final=False), window_start=utterance.window_start
        )

    def receive_answer(self, request: Request, answer: Hypothesis | EngineError, now_s: float) -> list[Output]:
        """Take the answer to a request of this session."""
        for item in self._awaited:
            if isinstance(item, _AwaitedFinal) and item.request == request.id:
                return self._answer_final(item, answer, now_s)
        if request.utterance != self._open_number:
            return []  # the utterance has ended meanwhile; its final says more
        if self._speculation is not None and self._speculation.request == request.id:
            self._speculation.answer = answer
        elif not request.is_final:
            self._partial_asked_s = None
        if not isinstance(answer, Hypothesis):
            return []
        outputs: list[Output] = []
        if not answer.suspicious and self.options.partials:
            outputs += self._receive_partial(request, answer, now_s)
        return outputs + self._recheck_endpoint(request, answer, now_s)

    def abandon(self, error: EngineError, now_s: float) -> list[Output]:
        """Every final that is still awaited is answered with this error; for a stop out of time."""
        outputs: list[Output] = []
        for item in self._awaited:
            if isinstance(item, _AwaitedFinal) and item.event is None:
                outputs += self._fail_final(item, error, now_s)
        return outputs + self._release()

    def take_latencies(self) -> list[Latency]:
        """Those since the last call, in order. There are none without an event that was returned."""
        taken, self._latencies = self._latencies, []
        return taken

    def status(self, now_s: float) -> Status:
        """How well this stream is served: by the age of what it asked for and was not given."""
        finals = (item for item in self._awaited if isinstance(item, _AwaitedFinal) and item.event is None)
        oldest_final = next(finals, None)
        final_lag_s = now_s - oldest_final.asked_s if oldest_final else 0.0
        partial_lag_s = now_s - self._partial_asked_s if self._partial_asked_s is not None else 0.0
        interval_ms = self._service_level().partial_interval_ms
        is_slow = interval_ms is not None and max(partial_lag_s, interval_ms / 1000) > SLOW_AFTER_S
        return Status(
            state="overloaded" if final_lag_s > OVERLOADED_AFTER_S else "ready",
            partials="paused" if interval_ms is None else "slow" if is_slow else "on",
            lag_ms=round(max(final_lag_s, partial_lag_s) * 1000),
        )

    def _receive(self, samples: npt.NDArray[np.float32], now_s: float) -> list[Output]:
        return self._judge(self._framer.push(samples), now_s)

    def _judge(self, frames: npt.NDArray[np.float32], now_s: float) -> list[Output]:
        if not len(frames):
            return []
        last_voiced_at = self._cutter.last_voiced_at
        events = self._cutter.push(frames)
        self._judged_before = self._judged_samples
        self._judged_samples += len(frames) * FRAME_SAMPLES
        voiced_before_s = self._last_voiced_s
        if self._cutter.last_voiced_at != last_voiced_at:
            self._last_voiced_s = now_s
        outputs = self._handle(events, now_s, voiced_before_s)
        ended = self._ended_utterance
        if ended is not None and self._open_number is None:
            least_gap = self._undecided_from - ended.window_end
            if least_gap > samples_of(MAX_PRECEDING_GAP_MS):
                self._ended_utterance = None  # its audio takes memory: 1.2 MB through a silence
        return outputs + self._speculate(now_s) + self._ask_partial(now_s)

    def _end_utterance(self, reason: EndReason, now_s: float) -> list[Output]:
        return self._handle(self._cutter.flush(reason), now_s, self._last_voiced_s)

    def _handle(self, events: list[UtteranceEvent], now_s: float, voiced_before_s: float) -> list[Output]:
        outputs: list[Output] = []
        for event in events:
            if isinstance(event, UtteranceStarted):
                self._open_number = event.number
                self._n_utterances += 1
                self._revision = 0
                self._partial_asked_s = None
                self._speculation = None
                self._covered_until = 0
                self._stabilizer = Stabilizer()
                self._partial_timer.begin(event.at)
                # Until words are known, nothing says that a sentence has ended.
                self._cutter.set_mid_phrase(mid_phrase=self.options.partials)
                self._begin_waiting(event.at, now_s)
                outputs.append(SpeechStart(self._number(event.number), self._ms(event.at)))
            elif isinstance(event, UtteranceEnded):
                utterance = event.utterance
                self._open_number = None
                self._last_end = utterance.end
                self._last_window_end = utterance.window_end
                # The newest voice may be the next utterance's, which began in the same chunk.
                last_voiced_s = self._last_voiced_s if utterance.end > self._judged_before else voiced_before_s
                if event.reason == "silence":
                    self._latencies.append(Latency("endpoint", now_s - last_voiced_s))
                outputs.append(SpeechEnd(self._number(utterance.number), self._ms(utterance.end), event.reason))
                outputs += self._await_final(utterance, last_voiced_s, now_s)
                # Only now: its own final is heard together with the one before it.
                self._ended_utterance = utterance if self._service_level().effort == "full" else None
        return outputs

    def _await_final(self, utterance: Utterance, last_voiced_s: float, now_s: float) -> list[Output]:
        """The utterance has ended: ask for its final, unless it was asked for at the pause that was its end."""
        speculation, due_since_s = self._speculation, self._first_caption_due_since_s
        if speculation is None or speculation.last_voiced_at != utterance.end:
            request = self._request(utterance, is_final=True, now_s=now_s)
            self._awaited.append(
                _AwaitedFinal(utterance, self._stabilizer, last_voiced_s, due_since_s, now_s, request.id)
            )
            return [request]
        awaited = _AwaitedFinal(utterance, self._stabilizer, last_voiced_s, due_since_s, now_s, speculation.request)
        self._awaited.append(awaited)
        if speculation.answer is None:
            return []
        return self._answer_final(awaited, speculation.answer, now_s)

    def _begin_waiting(self, start: int, now_s: float) -> None:
        """The reader waits for the first caption of an utterance that starts here."""
        if start == self._last_end:
            # Cut for length: its first words were shown with the utterance before.
            self._first_caption_due_since_s = None
            return
        # Voice is believed after its onset; what of that came before this chunk is taken as having come in real time.
        first_voiced_s = now_s - max(0, self._judged_before - start) / SAMPLE_RATE_HZ
        self._first_caption_due_since_s = first_voiced_s if self.options.partials else None
        self._shown_until_s = first_voiced_s

    def _ask_partial(self, now_s: float) -> list[Output]:
        interval_ms = self._service_level().partial_interval_ms
        if self._open_number is None or not self.options.partials or interval_ms is None:
            return []
        if not self._partial_timer.due(self._judged_samples, interval_ms):
            return []
        utterance = self._cutter.open_utterance()
        assert utterance is not None  # `_open_number` says so
        if self._partial_asked_s is None:
            self._partial_asked_s = now_s
        return [self._request(utterance, is_final=False, now_s=now_s)]

    def _speculate(self, now_s: float) -> list[Output]:
        """Ask for the final at a pause, at full effort; the pause may be the end."""
        if self._open_number is None or self._service_level().effort == "reduced":
            return []
        last_voiced_at = self._cutter.last_voiced_at
        if self._judged_samples - last_voiced_at < samples_of(SPECULATION_SILENCE_MS):
            return []
        if self._speculation is not None and self._speculation.last_voiced_at == last_voiced_at:
            return []
        utterance = self._cutter.speculate()
        assert utterance is not None  # `_open_number` says so
        request = self._request(utterance, is_final=True, now_s=now_s)
        self._speculation = _Speculation(request.id, last_voiced_at)
        # A partial that is on its way heard less, and must not commit words that this one was not told to keep.
        self._covered_until = self._judged_samples
        self._partial_timer.begin(self._judged_samples)
        return [request]

    def _request(self, utterance: Utterance, *, is_final: bool, now_s: float) -> Request:
        window = self._window(utterance, is_final=is_final)
        return Request(self._next_request_id(), self.id, utterance.number, now_s, window, utterance.window_start)

    def _window(self, utterance: Utterance, *, is_final: bool) -> Window:
        options = replace(self.options.transcription, language=self._language.language)
        # Time to ask for finals early is time to do them well.
        effort = self._service_level().effort
        before = self._preceding(utterance) if effort == "full" and options.language is not None else None
        # At reduced effort it misleads more than it helps, but in the middle of what was cut for length.
        context = self._context if effort == "full" or self._goes_on(utterance) else ""
        return Window(utterance.samples, options, is_final, self._stabilizer.committed, context, effort, before)

    def _goes_on(self, utterance: Utterance) -> bool:
        """Whether it begins where the newest final ends, which was cut for length or by a flush, and is believed."""
        final = self._newest_final
        if final is None or final.confidence < MIN_CONTEXT_CONFIDENCE:
            return False
        return final.end_ms == self._ms(utterance.start)

    def _preceding(self, utterance: Utterance) -> PrecedingUtterance | None:
        """The utterance before this one, if its words are known and it is near and short."""
        ended, final = self._ended_utterance, self._newest_final
        if ended is None or final is None or ended.number != utterance.number - 1:
            return None
        if final.utterance != self._number(ended.number) or final.confidence < MIN_CONTEXT_CONFIDENCE:
            return None
        gap = utterance.window_start - ended.window_end
        n_before = utterance.window_start - ended.window_start
        # Below 0 where a recheck let this one begin within the window of the other.
        if not 0 <= gap <= samples_of(MAX_PRECEDING_GAP_MS):
            return None
        if n_before + len(utterance.samples) > samples_of(MAX_JOINT_MS):
            return None
        return PrecedingUtterance(
            np.pad(ended.samples, (0, gap)),
            final.text,
            ms_of(ended.end - ended.window_start),
            ms_of(utterance.start - ended.window_start),
        )

    def _receive_partial(self, request: Request, hypothesis: Hypothesis, now_s: float) -> list[Output]:
        window_end = request.window_start + len(request.window.samples)
        if window_end < self._covered_until:
            return []
        self._covered_until = window_end
        self._cutter.set_mid_phrase(mid_phrase=not ends_sentence(hypothesis.text))
        caption = self._stabilizer.push(hypothesis.text, ms_of(window_end), at_pause=request.is_final)
        if not caption.text:
            return []
        utterance = self._cutter.open_utterance()
        assert utterance is not None  # the caller compared the numbers
        event = Partial(
            utterance=self._number(request.utterance),
            revision=self._revision,
            text=caption.text,
            stable=caption.stable,
            start_ms=self._ms(utterance.start),
            end_ms=self._ms(window_end),
        )
        self._revision += 1
        if self._first_caption_due_since_s is not None:
            self._latencies.append(Latency("first_partial", now_s - self._first_caption_due_since_s))
            self._first_caption_due_since_s = None
        self._latencies.append(Latency("partial", now_s - (self._shown_until_s + request.asked_s) / 2))
        self._shown_until_s = request.asked_s
        return [event]

    def _recheck_endpoint(self, request: Request, hypothesis: Hypothesis, now_s: float) -> list[Output]:
        """Where the engine heard no more speech, noise must not keep the utterance open."""
        has_text = hypothesis.text or hypothesis.suspicious
        if hypothesis.speech_end_ms is None or (has_text and not hypothesis.speech_end_ms):
            return []  # nobody looked, or the two networks contradict each other
        speech_end = request.window_start + samples_of(hypothesis.speech_end_ms)
        events = self._cutter.recheck_endpoint(speech_end, request.window_start + len(request.window.samples))
        if not events:
            return []
        ended = events[0]
        assert isinstance(ended, UtteranceEnded)  # a recheck starts nothing that was not ended
        if (request.is_final or not hypothesis.text) and not hypothesis.suspicious:
            # A final was asked for at the pause, or nobody spoke: the final is known.
            self._speculation = _Speculation(request.id, ended.utterance.end, hypothesis)
        return self._handle(events, now_s, now_s - (self._judged_samples - ended.utterance.end) / SAMPLE_RATE_HZ)

    def _answer_final(self, awaited: _AwaitedFinal, answer: Hypothesis | EngineError, now_s: float) -> list[Output]:
        if isinstance(answer, Hypothesis):
            answer = replace(answer, text=awaited.stabilizer.final(answer.text))
            awaited.event = self._final(awaited, answer, now_s)
            self._remember(answer.text, answer.language, answer.confidence)
            if awaited.first_caption_due_since_s is not None and answer.text:
                self._latencies.append(Latency("first_partial", now_s - awaited.first_caption_due_since_s))
            self._latencies.append(Latency("final", now_s - awaited.last_voiced_s))
            return self._release()
        return self._fail_final(awaited, answer, now_s) + self._release()

    def _fail_final(self, awaited: _AwaitedFinal, error: EngineError, now_s: float) -> list[Output]:
        """The promised final comes all the same, with the words that readers were promised, behind the reason."""
        committed = Hypothesis(awaited.stabilizer.committed, self.options.transcription.language or "", 0.0, 1.0)
        awaited.event = self._final(awaited, committed, now_s)
        return [_report(error, fatal=False)]

    def _final(self, awaited: _AwaitedFinal, hypothesis: Hypothesis, now_s: float) -> Final:
        utterance = awaited.utterance
        words = None
        if self.options.transcription.words:
            offset_ms = self._ms(utterance.window_start)
            words = tuple(
                CaptionWord(word.text, offset_ms + word.start_ms, offset_ms + word.end_ms, round(word.confidence, 3))
                for word in hypothesis.words
            )
        return Final(
            utterance=self._number(utterance.number),
            text=hypothesis.text,
            start_ms=self._ms(utterance.start),
            end_ms=self._ms(utterance.end),
            language=hypothesis.language or None,
            confidence=round(hypothesis.confidence, 3) if hypothesis.text else 0.0,
            latency_ms=max(0, round((now_s - awaited.last_voiced_s) * 1000)),
            words=words,
        )

    def _remember(self, text: str, language: str, confidence: float) -> None:
        """What a final says about those that follow."""
        if text:
            self._language.observe(language, confidence)
        if confidence >= MIN_CONTEXT_CONFIDENCE:
            self._context = f"{self._context} {text}"[-MAX_CONTEXT_CHARACTERS:]

    def _begin_at(self, begin_ms: int) -> None:
        self._begin_ms = begin_ms
        # Rounded up, so that it is this very millisecond when it is told.
        self._first_sample = -(-begin_ms * self._received_rate_hz // 1000)
        self._received_samples = self._first_sample  # decoded, at the rate they came in

    def _ms(self, at: int) -> int:
        return self._begin_ms + ms_of(at)

    def _number(self, utterance: int) -> int:
        return self._first_utterance + utterance

    def _release(self) -> list[Output]:
        """Everything at the head of the queue that waits for nothing any more."""
        outputs: list[Output] = []
        while self._awaited:
            item = self._awaited[0]
            event = item.event if isinstance(item, _AwaitedFinal) else item
            if event is None:
                break
            self._awaited.popleft()
            outputs.append(self._with_case(event) if isinstance(event, Final) else event)
        return outputs

    def _with_case(self, final: Final) -> Final:
        """As it follows the final that came out before it."""
        before = self._newest_final
        if before is not None:
            text = join_case(final.text, before.text, continues=final.start_ms == before.end_ms)
            final = replace(final, text=text)
        if final.text:
            self._newest_final = final
        return final


def _report(error: LivecaptionError, fatal: bool | None = None) -> ErrorReport:
    return ErrorReport(error.code, error.message, error.fatal if fatal is None else fatal, error.retry_after_s)
