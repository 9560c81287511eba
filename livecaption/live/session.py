"""One session, which outlives its publisher's connections and, if stored, the server: commands in, events out.

The shell around `StreamPipeline`: it executes the outputs, and never waits for a transcription. States: `live.state`.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial

from livecaption.decoding.pool import DecoderPool
from livecaption.errors import (
    EngineError,
    InvalidMessage,
    LivecaptionError,
    TooSlow,
    TranscriptionFailed,
    Unavailable,
    UnknownSession,
    WrongState,
)
from livecaption.events import Ack, End, EndReason, ErrorReport, Pong, SpeakerNamed
from livecaption.ipc import logs
from livecaption.live.audio_input import AudioInput
from livecaption.live.config import SessionLimits
from livecaption.live.dialects.commands import Configure, Discard, Finish, Flush, NameSpeaker, Ping, Reattach
from livecaption.live.executor import Executor
from livecaption.live.hub import Hub
from livecaption.live.logs import FEW_REFUSALS
from livecaption.live.peer import Peer
from livecaption.live.progress import Progress
from livecaption.live.ready import ready_event
from livecaption.live.state import Ending, Lifecycle
from livecaption.live.store_gate import StoreGate
from livecaption.live.title import check_speakers
from livecaption.live.tokens import SessionTokens
from livecaption.pipeline.arrival import ArrivalClock
from livecaption.pipeline.latency import Latency
from livecaption.pipeline.options import StreamOptions
from livecaption.pipeline.stream import StreamPipeline
from livecaption.recognition import Hypothesis, ModelDescription, logged_id
from livecaption.scheduling.request import Request
from livecaption.store.rows import NewSession
from livecaption.workers.pool import PoolState, WorkerPool

logger = logging.getLogger(__name__)
logger.addFilter(FEW_REFUSALS)


class LiveSession:
    """A session: it begins with `start`, and ends by itself.

    Args:
        about: the session, as it is stored.
        pipeline: the pipeline of its stream; an earlier server may have begun it.
        hub: publishes its events.
        tokens: the tokens of its publisher and of its readers.
        clock: compares its audio with the time on the wall.
        gate: publishes its events, and stores them if it has a store.
        workers: transcribe.
        decoders: decode containers.
        resume_window_s: how long it waits for its publisher; 0: it ends with the connection.
        limits: its time-outs, and the limits of its audio.
        on_latency: called for each delay that was measured.
        on_parked: called when the publisher's connection is lost and may come back.
        on_end: called once, when all is over and no connection is left.
        outlives_server: whether the next server goes on with it after an orderly stop too.
    """

    def __init__(
        self,
        about: NewSession,
        pipeline: StreamPipeline,
        hub: Hub,
        tokens: SessionTokens,
        clock: ArrivalClock,
        gate: StoreGate,
        *,
        workers: WorkerPool,
        decoders: DecoderPool,
        resume_window_s: float,
        limits: SessionLimits,
        on_latency: Callable[[Latency], None],
        on_parked: Callable[["LiveSession"], None],
        on_end: Callable[["LiveSession"], None],
        outlives_server: bool = False,
    ) -> None:
        self.id = pipeline.id
        self.about = about
        self.outlives_server = outlives_server
        self.hub = hub
        self.tokens = tokens
        self._logged = {"session": logged_id(self.id), "room": logged_id(about.room or "")}
        self._pipeline = pipeline
        self._began_at_ms = pipeline.received_ms
        self._ready = partial(ready_event, about, pipeline, tokens, resume_window_s)
        self._workers = workers
        self._on_parked = on_parked
        self._on_end = on_end
        self._resume_window_s = resume_window_s
        self._limits = limits
        self._lifecycle = Lifecycle(outlives_server=outlives_server)
        self._gate = gate
        self._connection: Peer | None = None
        self._progress = Progress(pipeline, self._lifecycle, workers, self._gate)
        self._execute = Executor(pipeline, workers, gate, self._progress, on_latency).execute
        self._audio = AudioInput(
            pipeline, clock, self._lifecycle, self._execute, decoders, self._container_ended, limits.audio
        )
        self.receive_audio = self._audio.receive  # and no method of its own, because it is called for each message

    @property
    def received_ms(self) -> int:
        """Audio taken over so far, by this server."""
        return self._pipeline.received_ms - self._began_at_ms - self._audio.skipped_ms

    @property
    def has_audio(self) -> bool:
        """True if any audio came, to this server or to an earlier one."""
        return self._pipeline.received_ms > self._audio.skipped_ms

    @property
    def options(self) -> StreamOptions:
        """The options of its stream."""
        return self._pipeline.options

    @property
    def parked(self) -> bool:
        """True if the session waits for its publisher to come back."""
        return self._lifecycle.is_parked

    @property
    def takes_audio(self) -> bool:
        """True if audio that comes now counts: its publisher speaks, or may come back."""
        return self._lifecycle.takes_audio

    # The publisher comes and goes

    def start(self, connection: Peer | None) -> None:
        """Begin to work, for the publisher on this connection; None: it is parked from the start."""
        if connection is None:
            self._lifecycle.lose_publisher(time.monotonic())
        else:
            self._connection = connection
            self.hub.attach(connection.deliver)
            self._gate.publish(self._ready(self._model))
            if self._workers.state is not PoolState.READY:
                self._progress.report_status()
        for request_id in self._pipeline.request_ids:
            self._workers.attach(request_id, self._on_answer, self._pipeline.refresh)
        own = logs.context(**self._logged)  # the ticks outlive the request in which the session begins
        self._next_tick = asyncio.get_running_loop().call_later(self._limits.tick_s, self._tick, context=own)

    def check_resume(self, asked: Reattach) -> None:
        """Check that this client may take over.

        Raises:
            Unauthorized: `wrong_token`.
            UnknownSession: `session_ended`, and its client has all events.
            InvalidMessage: `unsupported_resume`, an event or audio was never sent, or a new model is not able.
        """
        self.tokens.check_publisher(asked.token)
        if not self._resume_window_s:
            raise InvalidMessage("this session cannot be resumed", code="unsupported_resume")
        if asked.last_seq > self.hub.last_seq:
            raise InvalidMessage("resume.last_seq is of an event that was not sent yet")
        if self.hub.ended and asked.last_seq == self.hub.last_seq:
            raise UnknownSession("the session is over", code="session_ended")
        self._audio.check_sent(asked.audio_from_ms, self.about.started_at_ms)
        self._pipeline.options.for_model(self._model)

    def resume(self, connection: Peer, asked: Reattach) -> None:
        """Go on with the publisher that `check_resume` has accepted. An older open connection is closed."""
        logger.info("session=%s resumed", logged_id(self.id), extra=self._logged)
        if not self.tokens.resume:
            self.tokens.resume = asked.token
            self._gate.reopen()
        if self._connection is not None:
            self._connection.finish(Ending("replaced"))
        self._audio.interrupt()
        self._lifecycle.regain_publisher()
        if self._lifecycle.takes_audio:
            if lost := self._audio.skip_to(asked.audio_from_ms):
                self._gate.publish(lost)
            self._pipeline.rewind()
        connection.send(self._ready(self._model))  # readers and the log need no second `ready`
        self.hub.attach(connection.deliver, asked.last_seq)
        if self.hub.closed:
            connection.finish(self._lifecycle.ending_of_connection)
        else:
            self._connection = connection

    def connection_lost(self, connection: Peer, *, clean: bool) -> None:
        """Note that the connection is gone. `clean`: the client has closed it, and does not come back."""
        if connection is not self._connection:
            return
        self._connection = None
        self.hub.detach()
        self._audio.interrupt()
        if self._lifecycle.takes_audio and (clean or not self._resume_window_s):
            self.end_audio(Ending("disconnect"))
            return
        self._lifecycle.lose_publisher(time.monotonic())
        if self.parked:
            logger.info("session=%s lost its publisher", logged_id(self.id), extra=self._logged)
            self._on_parked(self)

    def connection_closed(self, connection: Peer) -> None:
        """Note that the connection is closed, to the last byte."""
        if connection is self._connection:
            self._connection = None
            self.hub.detach()
            if self.hub.closed:
                self._on_end(self)

    # The end by others

    def end_audio(self, ending: Ending) -> None:
        """Take no more audio, unless the session ends already; all speech so far still gets its final."""
        if not self._lifecycle.end_audio(ending):
            return
        if ending.reason == "draining":
            self._progress.report_status()
        disconnected = ending.reason == "disconnect"
        if self._audio.finish(disconnected=disconnected):
            self._end_pipeline("disconnect" if disconnected else "stop")
        # Else when the decoder has given its last sample.

    def leave(self, ending: Ending, *, is_lost: bool) -> None:
        """End in this server only: another one goes on with the session. `is_lost`: it has begun to do so."""
        if not self._lifecycle.has_ended:
            self._lifecycle.leave(ending)
            if is_lost:
                self._gate.discard()
            self._end()

    def drain(self) -> None:
        """End because the server stops: take no more audio, and send the finals. The next server may go on."""
        self.end_audio(Ending("draining"))
        self._audio.drain()  # also where it was ending already

    def give_up_finals(self) -> bool:
        """Answer awaited finals as failed: time is up. Return whether any is lost; none if another server goes on."""
        if self._lifecycle.has_ended:
            return False
        if self._pipeline.drained or self._lifecycle.is_suspended:
            self._end()
            return False
        self._audio.cancel()
        error = TranscriptionFailed("the server stopped before this utterance was done", fatal=False)
        self._execute(self._pipeline.abandon(error, time.monotonic()))
        self._end()  # no translation is awaited any more
        return True

    def fail(self, error: LivecaptionError) -> None:
        """End because of a fatal error: report it, and send the finals and `end`."""
        if not self._lifecycle.fail(error):
            return
        self._gate.publish(ErrorReport.of(error, fatal=True))
        logger.info("a stream is refused: %s", error.code, extra={"code": error.code, **self._logged})
        self._audio.cancel()
        self._end_pipeline("stop")  # what was said before the mistake is still captioned

    # Commands

    def execute(self, command: Configure | Flush | Discard | Ping | NameSpeaker | Finish) -> None:
        """Execute a command of the publisher.

        Raises:
            WrongState: it cannot be done now; not fatal.
            InvalidMessage: the model cannot do what the options ask for, or there is no such speaker; not fatal.
        """
        match command:
            case Ping(tag) if not self._lifecycle.has_ended:  # nothing follows `end`
                self._gate.publish(Pong(tag))
            case NameSpeaker(speaker, name) if not self._lifecycle.has_ended:
                check_speakers([speaker], self.highest_speaker)
                self.name_speakers({speaker: name})
        if isinstance(command, Ping | NameSpeaker) or self._lifecycle.forgives_late_messages:
            return
        if not self._lifecycle.takes_audio:
            raise WrongState("the stream is ending already", fatal=False)
        match command:
            case Flush(tag):
                self._audio.apply_behind(partial(self._pipeline.flush, tag))
            case Discard():
                self._audio.apply_behind(self._pipeline.discard)
            case Configure(options):
                options = self._pipeline.options.replaced_by(options, self._model)
                self._audio.apply_behind(partial(self._pipeline.configure, options))
            case Finish():
                self.end_audio(Ending("stop"))

    @property
    def highest_speaker(self) -> int:
        """See `StreamPipeline.highest_speaker`."""
        return self._pipeline.highest_speaker

    def name_speakers(self, names: Mapping[int, str]) -> None:
        """Give speakers names that were checked, by their numbers. After the end, these are stored already."""
        if self._lifecycle.has_ended:
            self.hub.rename_speakers(names)
            return
        for speaker, name in names.items():
            self._gate.publish(SpeakerNamed(speaker, name))

    def report(self, error: LivecaptionError) -> None:
        """Report that something went wrong; the stream goes on. Nothing follows `end`."""
        if not self._lifecycle.has_ended:
            self._gate.publish(ErrorReport.of(error, fatal=False))

    def _container_ended(self, error: LivecaptionError | None) -> None:
        if self._lifecycle.has_ended:
            return
        if error is not None and error.fatal:
            self.fail(error)
            return
        # Where the server stops, the server itself has cut the container off.
        if error is not None and not self._lifecycle.ends_because("draining"):
            self.report(error)
        if not self._lifecycle.takes_audio:
            self._end_pipeline("disconnect" if self._lifecycle.ends_because("disconnect") else "stop")

    @property
    def _model(self) -> ModelDescription:
        assert self._workers.loaded is not None  # nobody is admitted before
        return self._workers.loaded

    # Ending

    def _end_pipeline(self, reason: EndReason) -> None:
        self._execute(self._pipeline.end(reason, time.monotonic()))
        self._finish_if_drained()

    def _finish_if_drained(self) -> None:
        if self._lifecycle.is_draining and self._pipeline.is_over(time.monotonic()):
            self._end()

    def _end(self) -> None:
        received_ms, n_utterances = self._pipeline.received_ms, self._pipeline.n_utterances
        reason = self._lifecycle.known_ending.reason
        if self._lifecycle.is_suspended:
            self._gate.suspend(self._pipeline.checkpoint_ms)
        else:
            assert reason != "restarting"  # that ends a connection, and no session
            self._gate.publish(Ack(received_ms))
            self._gate.publish(End(received_ms, n_utterances, reason))
        self._lifecycle.end()
        self._next_tick.cancel()
        for request_id in self._pipeline.request_ids:
            self._workers.detach(request_id)
        self._audio.cancel()
        about = f"{reason}, {received_ms / 1000:.1f} s of audio, {n_utterances} utterances"
        logger.info("session=%s ended: %s", logged_id(self.id), about, extra=self._logged)
        # The last events are published once the store has them.
        self._gate.when_all_published(self._close_connection)

    def _close_connection(self) -> None:
        """Close the connection, if there is one: all is published."""
        if self._lifecycle.is_suspended:
            self.hub.close()
        if self._connection is not None:
            self._connection.finish(self._lifecycle.ending_of_connection)
        else:
            self._on_end(self)

    # Executing

    def _on_answer(self, request: Request, answer: Hypothesis | EngineError) -> None:
        if self._lifecycle.has_ended:
            return
        self._execute(self._pipeline.receive_answer(request, answer, time.monotonic()))
        self._audio.note_answer()
        self._finish_if_drained()

    def _tick(self) -> None:
        """Check for a client that is silent or away, and report the progress. Runs every `tick_s`."""
        self._next_tick = asyncio.get_running_loop().call_later(self._limits.tick_s, self._tick)
        if self._connection is not None and self._connection.is_gone:
            self._connection.connection_lost()
        if self._lifecycle.takes_audio:
            self._check_silence(time.monotonic())
        if self._connection is not None and self._lifecycle.takes_audio:
            self._connection.tick(self._pipeline.received_ms)
        self._finish_if_drained()  # the last translations are not awaited for ever
        if self._lifecycle.has_ended:
            return
        self._progress.report()
        if self._workers.given_up and self._lifecycle.takes_audio:
            self.fail(Unavailable("no inference process runs", code="failed", retry_after_s=30.0))

    def _check_silence(self, now_s: float) -> None:
        peer, timeout_s = self._connection, self._limits.idle_timeout_s
        if self.parked and self._workers.state is PoolState.LOADING:
            self._lifecycle.parked_since_s = now_s  # nobody can come back yet
        elif self.parked and now_s - self._lifecycle.parked_since_s >= self._resume_window_s:
            self.end_audio(Ending("disconnect"))
        elif peer is not None and not peer.may_idle and now_s - peer.last_received_s >= timeout_s:
            self.fail(TooSlow(f"nothing for {timeout_s:.0f} s", code="idle_timeout"))
