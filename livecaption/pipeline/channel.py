"""Caption one channel of a stream: samples in, requests and events out.

samples -> Framer -> UtteranceCutter -> OpenUtterance -> Request (partial or final) ─┐
Event <- FinalQueue, stable partials <- Hypothesis <─────────────────────────────────┘
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from livecaption.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ, ms_of, samples_of
from livecaption.audio.formats import Samples
from livecaption.audio.framing import Framer, Frames
from livecaption.captions.speakers import Speakers, highest_speaker
from livecaption.errors import EngineError
from livecaption.events import EndReason, ErrorReport, Event, Final, Flushed, SpeechEnd, SpeechStart, Status
from livecaption.pipeline.final_queue import AwaitedFinal, FinalQueue
from livecaption.pipeline.latency import Latency
from livecaption.pipeline.open_utterance import SPECULATION_SILENCE_MS, CaptionClock, EarlyFinal, OpenUtterance
from livecaption.pipeline.options import StreamOptions
from livecaption.pipeline.request_builder import RequestBuilder
from livecaption.pipeline.translations import Translations
from livecaption.recognition import Hypothesis, RequestId, SessionId
from livecaption.scheduling.load_control import ServiceLevel
from livecaption.scheduling.request import Cancel, Request
from livecaption.speech.utterance import Utterance, UtteranceCutter, UtteranceEnded, UtteranceEvent, UtteranceStarted
from livecaption.speech.vad import VoiceActivityDetector

Output = Event | Request | Cancel

PATIENCE_IN_SILENCE_S = 0.5
"""Time without audio in s that ends an utterance, at least, if the newest audio is silent. Shorter: phrases are cut in
two by every delay. Figures: docs/decisions/0037-pauses-of-sending.md."""
OVERLOADED_AFTER_S = 3.0
"""Age in s of an unanswered final at which readers are notified. Ofcom's target for live captions is 3 s at most."""
SLOW_AFTER_S = 1.5
"""Age in s of an unanswered partial, or interval of partials, at which readers are notified that text will be late."""


@dataclass(frozen=True, slots=True)
class _EndedUtterance:
    """The facts about the newest ended utterance that the next one needs.

    Attributes:
        end: stream time of the end of its speech.
        shown_until_s: monotonic arrival time of the newest audio that a caption of it shows.
    """

    end: int
    shown_until_s: float


class ChannelPipeline:
    """One channel of a stream, from its first sample to its last final. It does not depend on other channels.

    Every method returns instructions, in order, as `StreamPipeline` does.

    Args:
        channel_id: the session of its requests.
        options: the options of the stream.
        service_level: returns what the workers can do now.
        next_request_id: returns an id that no other request has.
        numbers: gives each utterance its number.
        record: receives the latencies; each belongs to a returned event.
        finals: the finals of an earlier server, in order.
        begin: stream time of the first sample that counts.
        n_skipped: number of samples before it that come all the same. An earlier server has transcribed them.
    """

    def __init__(
        self,
        channel_id: SessionId,
        options: StreamOptions,
        service_level: Callable[[], ServiceLevel],
        next_request_id: Callable[[], RequestId],
        numbers: Iterator[int],
        record: Callable[[Latency], None],
        finals: Sequence[Final] = (),
        begin: int = 0,
        *,
        n_skipped: int = 0,
    ) -> None:
        self.id = channel_id
        self._options = options
        self._service_level = service_level
        self._record = record
        self._numbers = numbers
        self._begin_at(begin, n_skipped)
        self._open: OpenUtterance | None = None
        self._newest_ended: _EndedUtterance | None = None
        self._speakers = Speakers(options.speakers, highest_speaker(finals)) if options.needs_voices else None
        self._finals = FinalQueue(next((final for final in reversed(finals) if final.text), None), self._speakers)
        self._failures: dict[int, ErrorReport] = {}  # by utterances whose finals are not released
        self._requests = RequestBuilder(
            channel_id, options.of_windows, service_level, next_request_id, self._finals, finals
        )
        self._translations = Translations(options.tracks, options.transcription.task, self._requests.translate)
        self._last_voiced_s = 0.0

    def _begin_at(self, begin: int, n_skipped: int) -> None:
        self._n_skipped = n_skipped
        self._framer = Framer()
        self._detector = VoiceActivityDetector()
        options, judge = self._options, self._detector.judge
        # While no words are known, nothing indicates that a sentence has ended. Without partials none ever are.
        self._cutter = UtteranceCutter(
            options.endpointing, judge, begin, self._numbers, begins_mid_phrase=options.partials
        )
        self._done_until = begin  # all audio before this is in ended utterances, or discarded
        self._chunk_begin = begin  # beginning of the newest chunk

    @property
    def now(self) -> int:
        """Stream time of the end of the newest whole frame."""
        return self._cutter.now

    @property
    def checkpoint_ms(self) -> int:
        """Stream time from which a restarted server needs this channel's audio."""
        if (awaited := self._finals.oldest) is not None:
            return ms_of(awaited.utterance.window_start)
        if self._open is not None:
            return ms_of(self._open.started.window_start)
        return ms_of(max(self._done_until, self._cutter.undecided_from))

    @property
    def backlog_ms(self) -> int:
        """Audio of ended utterances whose finals are not sent yet, in ms."""
        return self._finals.backlog_ms

    @property
    def highest_speaker(self) -> int:
        """The highest number that was given to a voice; 0: none."""
        return self._speakers.highest if self._speakers is not None else 0

    @property
    def is_drained(self) -> bool:
        """True if everything that was promised is sent."""
        return self._finals.is_empty

    @property
    def awaits_translation(self) -> bool:
        """True if the translation of a final that was sent is awaited."""
        return bool(self._translations)

    def configure(self, options: StreamOptions) -> None:
        """Replace the options. They count from here on; only whether an open utterance has partials stays."""
        self._options = options
        self._cutter.configure(options.endpointing, begins_mid_phrase=options.partials)
        self._requests.configure(options.of_windows)

    def receive(self, samples: Samples, now_s: float) -> list[Output]:
        """Take float32 [n_samples], 16 kHz, -1..1."""
        return self._receive(self._framer.push(self._after_skipped(samples)), now_s)

    @property
    def is_silent(self) -> bool:
        """True if no utterance is open."""
        return self._open is None

    def patience_s(self, in_speech_s: float) -> float:
        """Return the time without audio after which the open utterance should end: see `StreamPipeline.patience_s`."""
        if self._options.patience_ms is not None:
            in_speech_s = self._options.patience_ms / 1000
        unvoiced = self._cutter.now - self._cutter.last_voiced_at
        if unvoiced < samples_of(SPECULATION_SILENCE_MS):
            return in_speech_s if self._cutter.silence_left < inf else inf
        return max(PATIENCE_IN_SILENCE_S, self._cutter.silence_left / SAMPLE_RATE_HZ)

    def pause(self, now_s: float) -> list[Output]:
        """End the open utterance as silence does, because no audio comes."""
        outputs = self._handle(self._cutter.flush("silence"), now_s, self._last_voiced_s)
        self._requests.forget_audio()  # the next utterance does not follow it
        return outputs

    def skip_to(self, at: int, now_s: float) -> list[Output]:
        """End the open utterance, and treat the next audio as that from `at` on: see `StreamPipeline.skip_to`."""
        outputs = self._handle(self._cutter.flush("disconnect"), now_s, self._last_voiced_s)
        self._requests.forget_audio()  # the next utterance does not follow it
        begin = max(at, self.now)
        self._begin_at(begin, begin - at)
        return outputs

    def flush(self, mark: Flushed, now_s: float) -> list[Output]:
        """End the open utterance now. The mark follows once all finals up to here are sent."""
        outputs = self._handle(self._cutter.flush("flush"), now_s, self._last_voiced_s)
        self._finals.append(mark)
        return outputs + self._release(now_s)

    def discard(self, now_s: float) -> list[Output]:
        """Drop the audio of the open utterance: see `StreamPipeline.discard`."""
        outputs = self._handle(self._cutter.discard(), now_s, self._last_voiced_s)
        self._done_until = self._cutter.now
        return outputs

    def end(self, rest: Samples, reason: EndReason, now_s: float) -> list[Output]:
        """Take the last samples, and no more. They are padded with zeros to a whole frame."""
        frames = np.concatenate((self._framer.push(self._after_skipped(rest)), self._framer.flush()))
        outputs = self._receive(frames, now_s)
        outputs += self._handle(self._cutter.flush(reason), now_s, self._last_voiced_s)
        # A stream that is kept only for its readers needs no audio.
        self._requests.forget_audio()
        self._cutter.forget_audio()
        return outputs

    def refresh(self, request: Request, now_s: float) -> Request:
        """Put the newest audio into a request for a partial of this channel whose turn has come."""
        if self._open is None or request.utterance != self._open.started.number:
            return request
        return self._open.refresh(request, now_s)

    def receive_answer(self, request: Request, answer: Hypothesis | EngineError, now_s: float) -> list[Output]:
        """Take the answer to a request of this channel."""
        if request.is_translation:
            return [*self._translations.receive_answer(request, answer)]
        if isinstance(answer, Hypothesis):
            self._requests.note_analysis(request, answer.analysis)
        if (awaited := self._finals.find(request.id)) is not None:
            return self._answer_final(awaited, answer, now_s)
        utterance = self._open
        if utterance is None or request.utterance != utterance.started.number:
            return []  # the utterance has ended meanwhile, and its final has more words
        partial = utterance.receive_answer(request, answer, now_s)
        outputs: list[Output] = [] if partial is None else [partial]
        if isinstance(answer, Hypothesis):
            events = utterance.recheck_endpoint(request, answer)
            match events:
                case [UtteranceEnded(ended), *_]:
                    voiced_s = now_s - (self._cutter.now - ended.end) / SAMPLE_RATE_HZ
                    outputs += self._handle(events, now_s, voiced_s)
        return outputs

    def abandon(self, error: EngineError, now_s: float) -> list[Output]:
        """Answer every awaited final with this error, because the time for a stop is over."""
        while (awaited := self._finals.oldest_unanswered) is not None:
            self._fail(awaited, error, now_s)
        return [*self._released()]

    def status(self, now_s: float) -> Status:
        """Judge how well this channel is served, by the age of its unanswered requests."""
        final = self._finals.oldest_unanswered
        final_lag_s = now_s - final.awaited_s if final is not None else 0.0
        partial_asked_s = self._open.partial_asked_s if self._open is not None else None
        partial_lag_s = now_s - partial_asked_s if partial_asked_s is not None else 0.0
        interval_ms = self._service_level().partial_interval_ms
        is_slow = interval_ms is not None and max(partial_lag_s, interval_ms / 1000) > SLOW_AFTER_S
        return Status(
            state="overloaded" if final_lag_s > OVERLOADED_AFTER_S else "ready",
            partials="paused" if interval_ms is None else "slow" if is_slow else "on",
            lag_ms=round(max(final_lag_s, partial_lag_s) * 1000),
        )

    def _after_skipped(self, samples: Samples) -> Samples:
        if not self._n_skipped:
            return samples
        n_skipped = min(self._n_skipped, len(samples))
        self._n_skipped -= n_skipped
        return samples[n_skipped:]

    def _receive(self, frames: Frames, now_s: float) -> list[Output]:
        if not len(frames):
            return []
        last_voiced_at, voiced_before_s = self._cutter.last_voiced_at, self._last_voiced_s
        events = self._cutter.push(frames)
        self._chunk_begin = self._cutter.now - len(frames) * FRAME_SAMPLES
        if self._cutter.last_voiced_at != last_voiced_at:
            self._last_voiced_s = now_s
        outputs = self._handle(events, now_s, voiced_before_s) if events else []
        if self._open is None:
            self._requests.forget_distant(self._cutter.undecided_from)
        else:
            outputs += self._open.ask(self._service_level(), now_s)
        return outputs

    def _handle(self, events: list[UtteranceEvent], now_s: float, voiced_before_s: float) -> list[Output]:
        """Handle events in order. `voiced_before_s`: arrival of the newest voice before the newest chunk."""
        outputs: list[Output] = []
        for event in events:
            match event, self._open:
                case UtteranceStarted(), _:
                    self._open = self._begin(event, now_s)
                    outputs.append(SpeechStart(event.number, ms_of(event.at)))
                case UtteranceEnded(ended, reason), OpenUtterance() as utterance:
                    self._open = None
                    # The newest voice may belong to the next utterance, which began in the same chunk.
                    last_voiced_s = self._last_voiced_s if ended.end > self._chunk_begin else voiced_before_s
                    outputs += self._close(utterance, ended, reason, last_voiced_s, now_s)
        return outputs

    def _begin(self, started: UtteranceStarted, now_s: float) -> OpenUtterance:
        previous = self._newest_ended
        if previous is not None and started.at == previous.end:
            # It was cut at the length limit, and its first words were shown with the preceding utterance.
            clock = CaptionClock(None, previous.shown_until_s)
        else:
            # Speech is detected after its onset. The part before this chunk is assumed to have come in real time.
            first_voiced_s = now_s - max(0, self._chunk_begin - started.at) / SAMPLE_RATE_HZ
            clock = CaptionClock(first_voiced_s if self._options.partials else None, first_voiced_s)
        return OpenUtterance(
            started,
            self._cutter,
            self._requests,
            clock,
            partials=self._options.partials,
            is_noisy=lambda: self._detector.is_noisy,
            record=self._record,
        )

    def _close(
        self, utterance: OpenUtterance, ended: Utterance, reason: EndReason, last_voiced_s: float, now_s: float
    ) -> list[Output]:
        self._newest_ended = _EndedUtterance(ended.end, utterance.clock.shown_until_s)
        self._done_until = ended.window_end
        if reason == "silence":
            self._record(Latency("endpoint", now_s - last_voiced_s))
        elif reason == "disconnect":
            # The publisher was away, which is no delay of a caption.
            last_voiced_s, utterance.clock.first_due_since_s = now_s, None
        outputs: list[Output] = [SpeechEnd(ended.number, ms_of(ended.end), reason)]
        awaited = utterance.end(ended, self._options.of_windows, last_voiced_s, now_s)
        self._finals.append(awaited)
        self._translations.note_end(ended)
        if reason == "discard":
            awaited.discard(now_s)
            self._requests.forget_audio()  # the next utterance does not follow the one before
            return [*outputs, Cancel(self.id, ended.number), *self._release(now_s)]
        match utterance.ask_final(ended, now_s):
            case Request() as request:
                awaited.request = request.id
                outputs.append(request)
            case EarlyFinal(request_id, answer=answer):
                awaited.request = request_id
                if answer is not None:
                    outputs += self._answer_final(awaited, answer, now_s)
        # Only now, because this utterance's own final goes with the preceding utterance.
        self._requests.note_end(ended)
        return outputs

    def _answer_final(self, awaited: AwaitedFinal, answer: Hypothesis | EngineError, now_s: float) -> list[Output]:
        if isinstance(answer, Hypothesis):
            final = awaited.answer(answer, now_s)
            self._requests.note_final(final)
            for latency in awaited.latencies(now_s):
                self._record(latency)
            return self._release(now_s)
        self._fail(awaited, answer, now_s)
        return self._release(now_s)

    def _fail(self, awaited: AwaitedFinal, error: EngineError, now_s: float) -> None:
        awaited.fail(now_s)
        self._failures[awaited.utterance.number] = ErrorReport.of(error, fatal=False)

    def _released(self) -> Iterator[Event]:
        """Release what is no longer awaited. The report of a failure stands directly before its final."""
        for event in self._finals.release():
            if isinstance(event, Final) and event.utterance in self._failures:
                yield self._failures.pop(event.utterance)
            yield event

    def _release(self, now_s: float) -> list[Output]:
        outputs: list[Output] = []
        for event in self._released():
            outputs.append(event)
            if isinstance(event, Final):
                outputs += self._translations.translate(event, now_s)
        return outputs
