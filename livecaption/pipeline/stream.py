"""Process one publisher's stream: bytes in, requests and events out.

    bytes -> Intake -> samples ─┬> ChannelPipeline ─┬> Request, Event
                                └> ChannelPipeline ─┘     one for each channel, if the channels are kept apart

Pure: no asyncio, socket, thread, process or clock. Time is passed in as `now_s` (monotonic) and is used for latencies
only. Everything else is counted in samples of stream time. Channels apart: docs/decisions/0041-channels-apart.md.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from livecaption.audio import ms_of, samples_of
from livecaption.audio.formats import Samples
from livecaption.captions.speakers import spoken_by
from livecaption.errors import EngineError, WrongState
from livecaption.events import EndReason, ErrorReport, Final, Flushed, Partial, SpeechEnd, SpeechStart, Status
from livecaption.pipeline.channel import ChannelPipeline, Output
from livecaption.pipeline.intake import Intake
from livecaption.pipeline.latency import Latency
from livecaption.pipeline.options import STREAM_START, ResumePoint, StreamOptions
from livecaption.recognition import Hypothesis, RequestId, SessionId
from livecaption.scheduling.load_control import ServiceLevel
from livecaption.scheduling.request import Request

__all__ = ["Output", "StreamPipeline"]

LAST_TRANSLATIONS_S = 5.0
"""Time in s that the end of a stream waits for translations behind its last final. Longer: a busy server keeps streams
that are over. Shorter: a slow model loses the last translation."""
_PARTIALS_FROM_WORST = ("paused", "slow", "on")


@dataclass(slots=True)
class _AwaitedFlush:
    """A flush whose mark has not come out of all channels yet."""

    mark: Flushed
    n_channels: int


class StreamPipeline:
    """The stream of one publisher, from its options to the last final.

    Every method returns instructions, in order: events to send, requests to submit and to cancel. Each `SpeechStart` is
    followed by exactly one `Final` with the same number. Finals of a channel come in order, and no two of them cover
    the same audio. Mixed channels are one channel.

    Args:
        session_id: the session of the stream.
        options: the options of the stream; `configure` may replace them.
        service_level: returns what the workers can do now.
        next_request_id: returns an id that no other request has.
        resume_point: the state in which an earlier server left the stream.
    """

    def __init__(
        self,
        session_id: SessionId,
        options: StreamOptions,
        service_level: Callable[[], ServiceLevel],
        next_request_id: Callable[[], RequestId],
        resume_point: ResumePoint = STREAM_START,
    ) -> None:
        self.id = session_id
        self._service_level = service_level
        self._next_request_id = next_request_id
        self._latencies: list[Latency] = []
        self._ended = False
        self._promised_until_s = 0.0  # when the audio ended, or the newest request but a translation was answered
        self._prepare(options, resume_point)

    def _prepare(self, options: StreamOptions, resume_point: ResumePoint) -> None:
        """Set up everything for the first audio."""
        self.options = options
        self._resume_point = resume_point
        self._intake = Intake(options.audio, resume_point.audio_ms, options.channel_mode)
        self._flushes: deque[_AwaitedFlush] = deque()
        finals = resume_point.finals
        taken = {final.utterance for final in finals}
        self._n_utterances = max(taken, default=-1) + 1
        begin = samples_of(resume_point.audio_ms)
        self._channels: dict[SessionId, ChannelPipeline] = {}
        for channel in (None,) if options.n_channels_apart is None else range(options.n_channels_apart):
            # Each channel has a turn of its own with the workers.
            channel_id = self.id if channel is None else SessionId(f"{self.id}.{channel}")
            channel_begin = max(begin, samples_of(resume_point.transcribed_ms.get(channel, 0)))
            channel_finals = tuple(final for final in finals if final.channel == channel)
            self._channels[channel_id] = ChannelPipeline(
                channel_id,
                options,
                self._service_level,
                self._next_request_id,
                _free_numbers(taken, channel_finals[-1].utterance if channel_finals else -1),
                self._latencies.append,
                channel_finals,
                channel_begin,
                n_skipped=channel_begin - begin,
            )

    def configure(self, options: StreamOptions, now_s: float) -> list[Output]:
        """Replace the options. Those of the audio count for the next bytes, the others at once.

        What is fixed at the start stays: see `StreamOptions.replaced_by`. So do tracks and speakers, once audio came.

        Raises:
            WrongState: the stream has ended; it is unchanged.
        """
        if self._ended:
            raise WrongState("options after stop", fatal=False)
        if self._is_untouched:
            self._prepare(options, self._resume_point)
            return []
        options = replace(options, speakers=self.options.speakers)
        outputs: list[Output] = []
        if options.audio != self.options.audio:
            rest = self._intake.flush()
            outputs = self._report_faults() + self._receive(rest, now_s)
            self._intake = Intake(options.audio, self._intake.received_ms, options.channel_mode)
        self.options = options
        for channel in self._channels.values():
            channel.configure(options)
        return outputs

    @property
    def request_ids(self) -> Sequence[SessionId]:
        """The ids under which the channels ask for transcriptions; that of the session if the channels are mixed."""
        return tuple(self._channels)

    @property
    def received_ms(self) -> int:
        """Audio received so far: whole samples, in milliseconds rounded down."""
        return self._intake.received_ms

    @property
    def checkpoint_ms(self) -> int:
        """Stream time from which a restarted server needs audio. All audio before it is in sent finals, or silent."""
        return min(channel.checkpoint_ms for channel in self._channels.values())

    @property
    def n_utterances(self) -> int:
        """Number of utterances that have started, those of earlier servers included."""
        return self._n_utterances

    @property
    def highest_speaker(self) -> int:
        """The highest number of a speaker so far, also by earlier servers; with channels apart, how many there are."""
        if self.options.speakers and self.options.n_channels_apart is not None:
            return self.options.n_channels_apart
        return max(channel.highest_speaker for channel in self._channels.values())

    @property
    def backlog_ms(self) -> int:
        """Audio of ended utterances whose finals are not sent yet, in ms."""
        return sum(channel.backlog_ms for channel in self._channels.values())

    @property
    def drained(self) -> bool:
        """True if the input has ended and everything that was promised is sent. Translations are no promise."""
        return self._ended and all(channel.is_drained for channel in self._channels.values())

    def is_over(self, now_s: float) -> bool:
        """Return True if the stream is `drained`, and waits for no translation any more."""
        awaits = any(channel.awaits_translation for channel in self._channels.values())
        return self.drained and not (awaits and now_s - self._promised_until_s < LAST_TRANSLATIONS_S)

    def receive_audio(self, data: bytes | memoryview, now_s: float) -> list[Output]:
        """Take bytes of the declared encoding, cut anywhere.

        Raises:
            WrongState: the input has ended, or is a container; the stream is unchanged.
        """
        if self._ended:
            raise WrongState("audio after stop", fatal=False)
        samples = self._intake.push(data)
        return self._report_faults() + self._receive(samples, now_s)

    def receive_samples(self, samples: Samples, now_s: float) -> list[Output]:
        """Take samples of a container's decoder: float32, 16 kHz, -1..1.

        Args:
            samples: [n_samples], mono; if the channels are kept apart, [n_samples, n_channels].
            now_s: monotonic time.
        """
        if self._ended:
            return []
        self._intake.count(samples)
        return self._receive(samples, now_s)

    def rewind(self) -> int:
        """Expect the audio again from the first sample of the returned millisecond; see `Intake.rewind`.

        Raises:
            WrongState: the audio is a container.
        """
        return self._intake.rewind()

    def skip_to(self, at_ms: int, now_s: float) -> list[Output]:
        """Treat the next audio as that from `at_ms` on, because the audio before it is lost. Open utterances end."""
        assert at_ms >= self.received_ms
        self._intake = Intake(self.options.audio, at_ms, self.options.channel_mode)
        return self._of_all(lambda channel: channel.skip_to(samples_of(at_ms), now_s))

    @property
    def _is_untouched(self) -> bool:
        """True if no audio has come."""
        return self._intake.is_untouched and self._intake.received_ms == self._resume_point.audio_ms

    @property
    def is_silent(self) -> bool:
        """True if no utterance is open."""
        return all(channel.is_silent for channel in self._channels.values())

    def patience_s(self, in_speech_s: float) -> float:
        """Return the time without audio after which the open utterances should end, in seconds: see `pause`.

        In a pause of all speech that is the silence still missing. In a word it is `in_speech_s`.
        """
        return max(channel.patience_s(in_speech_s) for channel in self._channels.values())

    def pause(self, now_s: float) -> tuple[int, list[Output]]:
        """End the open utterances as silence does, because no audio comes.

        Returns:
            The end of the audio before the pause, in ms: every later utterance begins there or later.
        """
        if self._ended:
            return self.received_ms, []
        outputs = self._of_all(lambda channel: channel.pause(now_s))
        # A channel that an earlier server has transcribed further is ahead of the audio.
        return min(ms_of(channel.now) for channel in self._channels.values()), outputs

    def flush(self, flush_id: str | int | None, now_s: float) -> list[Output]:
        """End the open utterances now. `Flushed` follows once all finals up to here are sent.

        Raises:
            WrongState: the input has ended; the stream is unchanged.
        """
        if self._ended:
            raise WrongState("flush after stop", fatal=False)
        mark = Flushed(flush_id)
        self._flushes.append(_AwaitedFlush(mark, len(self._channels)))
        return self._of_all(lambda channel: channel.flush(mark, now_s))

    def discard(self, now_s: float) -> list[Output]:
        """Drop the audio of the open utterances, and keep the audio up to here out of all later windows.

        Readers get a `SpeechEnd` with the reason `discard` and an empty `Final`, so that no partial stays. Earlier
        utterances are not changed. Less than 20 ms of audio, which do not fill a frame yet, are kept.

        Raises:
            WrongState: the input has ended; the stream is unchanged.
        """
        if self._ended:
            raise WrongState("discard after stop", fatal=False)
        return self._of_all(lambda channel: channel.discard(now_s))

    def end(self, reason: EndReason, now_s: float) -> list[Output]:
        """Take no more audio. A second call does nothing. `drained` becomes True when the last final is sent."""
        if self._ended:
            return []
        rests = iter(self._split(self._intake.flush()))
        self._ended = True
        self._promised_until_s = now_s
        return self._report_faults() + self._of_all(lambda channel: channel.end(next(rests), reason, now_s))

    def refresh(self, request: Request, now_s: float) -> Request:
        """Put the newest audio into a request for a partial of this stream whose turn has come."""
        return self._channels[request.session].refresh(request, now_s)

    def receive_answer(self, request: Request, answer: Hypothesis | EngineError, now_s: float) -> list[Output]:
        """Take the answer to a request of this stream."""
        channel = self._channels[request.session]
        if not request.is_translation:
            self._promised_until_s = now_s
        return self._of(channel, channel.receive_answer(request, answer, now_s))

    def abandon(self, error: EngineError, now_s: float) -> list[Output]:
        """End, and answer every awaited final with this error, because the time for a stop is over."""
        return self.end("stop", now_s) + self._of_all(lambda channel: channel.abandon(error, now_s))

    def take_latencies(self) -> list[Latency]:
        """Return and forget the latencies since the last call, in order. Each belongs to a returned event."""
        taken = self._latencies.copy()
        self._latencies.clear()
        return taken

    def status(self, now_s: float) -> Status:
        """Judge how well this stream is served: the channel that is served worst."""
        each = [channel.status(now_s) for channel in self._channels.values()]
        return Status(
            state=next((status.state for status in each if status.state != "ready"), "ready"),
            partials=min((status.partials for status in each), key=_PARTIALS_FROM_WORST.index),
            lag_ms=max(status.lag_ms for status in each),
        )

    def _report_faults(self) -> list[Output]:
        return [ErrorReport.of(fault) for fault in self._intake.take_faults()]

    def _receive(self, samples: Samples, now_s: float) -> list[Output]:
        outputs: list[Output] = []
        for channel, its_samples in zip(self._channels.values(), self._split(samples), strict=True):
            outputs += self._of(channel, channel.receive(its_samples, now_s))
        return outputs

    @staticmethod
    def _split(samples: Samples) -> Iterable[Samples]:
        """Return the samples of each channel."""
        return (samples,) if samples.ndim == 1 else np.ascontiguousarray(samples.T)

    def _of_all(self, act: Callable[[ChannelPipeline], list[Output]]) -> list[Output]:
        return [output for channel in self._channels.values() for output in self._of(channel, act(channel))]

    def _of(self, channel: ChannelPipeline, outputs: list[Output]) -> list[Output]:
        """Turn the outputs of a channel into those of the stream."""
        if not outputs:
            return outputs  # as after nearly every message
        number = None if self.options.n_channels_apart is None else self.request_ids.index(channel.id)
        passed: list[Output] = []
        for output in outputs:
            match output:
                case Flushed() as mark if not self._is_flushed(mark):
                    continue
                case SpeechStart(utterance):
                    self._n_utterances = max(self._n_utterances, utterance + 1)
            if number is not None and isinstance(output, SpeechStart | Partial | SpeechEnd | Final):
                if isinstance(output, Final) and self.options.speakers:
                    output = spoken_by(output, number + 1)
                output = replace(output, channel=number)
            passed.append(output)
        return passed

    def _is_flushed(self, mark: Flushed) -> bool:
        """Note that a channel has sent all finals before this mark. Return whether it was the last channel.

        The marks come out of each channel in the order of the flushes.
        """
        flush = next(flush for flush in self._flushes if flush.mark is mark)
        flush.n_channels -= 1
        if flush.n_channels:
            return False
        self._flushes.remove(flush)
        return True


def _free_numbers(taken: set[int], after: int) -> Iterator[int]:
    """Take the next free number for each utterance of a channel, above that of its newest final.

    All channels share the taken numbers. One below the final of another channel may be free: its utterance was open.
    """
    for number in count(after + 1):
        if number not in taken:
            taken.add(number)
            yield number
