"""One session and its publisher, whatever connection they speak through: messages in, events out.

    STREAMING <--lost, resumed--> PARKED <-- the server died, and was started anew
        └──────────┬────────────────┘
       stop, clean close, drain, fatal error, nobody back in time
                   ▼
               DRAINING --last final sent--> ended; remembered for a while

The shell around `StreamPipeline`: it executes what the pipeline returns. It never waits for a transcription; answers
come back through `_on_answer`.
"""

import asyncio
import logging
import secrets
import time
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from typing import Literal, Protocol, Self

from aiohttp import WSCloseCode

from livecaption.audio import ms_of
from livecaption.audio.formats import CONTAINER
from livecaption.decoding.pool import ContainerDecoder
from livecaption.errors import (
    EngineError,
    InvalidMessage,
    LivecaptionError,
    TooSlow,
    TranscriptionFailed,
    Unauthorized,
    Unavailable,
    UnknownSession,
    WrongState,
)
from livecaption.events import Ack, End, EndReason, ErrorReport, Event, Final, Gap, Pong, Ready, Status
from livecaption.live.allowance import Allowance
from livecaption.live.dialects import native
from livecaption.live.hub import Hub
from livecaption.live.logs import FEW_REFUSALS
from livecaption.live.outbox import Outbox
from livecaption.live.services import Services
from livecaption.live.store_gate import StoreGate
from livecaption.live.tokens import is_token, reader_token, token_hash
from livecaption.live.turn import Turn
from livecaption.pipeline.options import STREAM_START, ResumePoint, StreamOptions
from livecaption.pipeline.stream import Output, StreamPipeline
from livecaption.recognition import Hypothesis, ModelDescription
from livecaption.scheduling.request import Cancel, Request
from livecaption.store.rows import InterruptedSession, NewSession, Resumption
from livecaption.workers.pool import PoolState

IDLE_TIMEOUT_S = 300.0
TICK_S = 1.0
MAX_BACKLOG_MS = 60_000
"""Audio that waits for finals before the server reads slower than the client sends."""
BACKLOG_PAUSE_S = 5.0
"""Longest pause in reading; after it one message is taken all the same, so that pings are
answered and a dead peer is seen."""
PIECE_BYTES = 16 * 1024
"""Audio is taken in steps of this size: half a second of 16 kHz PCM, 1 ms of the loop. Buffers grow with the step."""
AUDIO_S_PER_S = 100.0
AUDIO_BURST_S = 60.0
"""How much faster than it was spoken audio is taken: a recording of an hour in 36 s, at a tenth of a core."""
LAST_DECODING_S = 10.0
"""What a container's bytes that have come may take to be decoded when its client has left. What is left is lost."""
LAST_DECODING_DRAINING_S = 2.0
"""The same when the server stops."""
CHECKPOINT_INTERVAL_MS = 10_000
"""Of silence, until the store hears that there was nothing in it. Longer, and a client that comes back after the server
has died sends more of it again; it keeps two minutes."""

logger = logging.getLogger(__name__)
logger.addFilter(FEW_REFUSALS)


@dataclass(frozen=True, slots=True)
class _Ending:
    """How the session ends."""

    reason: Literal["stop", "disconnect", "draining", "error"]
    close_code: int
    text: str = ""


class Peer(Protocol):
    """The connection of a session's publisher, as the session sees it.

    Attributes:
        outbox: what waits to be sent.
        last_received_s: monotonic time of the last message.
    """

    outbox: Outbox
    last_received_s: float

    def finish(self, code: int, text: str = "") -> None:
        """Take nothing more; close with this code once all that was offered is sent."""

    def connection_lost(self, *, clean: bool = False) -> None:
        """Take the connection for lost: nothing reaches the peer any more."""


class LiveSession:
    """Made by `new`, followed by `begin`, or by `interrupted`; ends by itself.

    Args:
        known: what the store knows of it, or is to know.
        hashes: of its tokens.
        earlier: what earlier servers have made of it.
    """

    def __init__(
        self,
        options: StreamOptions,
        services: Services,
        known: NewSession,
        hashes: Resumption,
        earlier: InterruptedSession | None = None,
    ) -> None:
        self._pool = services.pool
        self._sessions = services.sessions
        self._on_latency = services.on_latency
        self._language = known.language
        self._hashes = hashes
        self._resume_token = ""
        """Once its publisher has shown it."""
        self._resume_window_s = services.config.server.resume_window_s
        if earlier is None:
            self.hub, resume_point = Hub(known.title, known.language), STREAM_START
        else:
            self.hub = Hub(known.title, known.language, earlier.generation, earlier.finals)
            resume_point = ResumePoint(tuple(final for _, final in earlier.finals), earlier.resume_ms)
        self._pipeline = StreamPipeline(
            known.id, options, self._pool.service_level, self._sessions.next_request_id, resume_point
        )
        self._resumed_at_ms = resume_point.audio_ms
        self._gate = StoreGate(services.store, known, self.hub)
        self._connection: Peer | None = None
        self._slot: ExitStack | None = None
        """Its slot among the streams. It has none when it is over, or parked before it was ever spoken into."""
        self._registration = ExitStack()
        self._turn = Turn()
        self._audio_allowance = Allowance(AUDIO_S_PER_S, AUDIO_BURST_S, time.monotonic())
        self._decoder: ContainerDecoder | None = None
        self._decoding: asyncio.Task[None] | None = None
        if options.audio.encoding == CONTAINER:
            self._decoder = ContainerDecoder(services.decoders)
            self._decoding = asyncio.ensure_future(self._decode(self._decoder))
            # Its demuxer stands in the middle of bytes that the client cannot find again.
            self._resume_window_s = 0.0
        self._ending: _Ending | None = None
        self._finished = False
        self._parked_s: float | None = None  # since when
        self._room = asyncio.Event()
        self._stopped_reading_audio = False
        self._late_audio_reported = False
        self._resent = False
        """Whether a client came back behind its own `stop` and, not knowing that it arrived, says it again."""
        self._acknowledged_ms = self._checkpoint_ms = resume_point.audio_ms
        self._status: Status | None = None

    @classmethod
    def new(cls, options: StreamOptions, message: str, services: Services) -> Self:
        """For who has sent this `start`.

        Raises:
            InvalidMessage: the model cannot do what the options ask for.
        """
        loaded = services.pool.loaded
        assert loaded is not None  # nobody is admitted before
        _check_model_can(options, loaded)
        language = options.transcription.language or (loaded.languages[0] if len(loaded.languages) == 1 else None)
        token = secrets.token_urlsafe(16)
        resumption = Resumption(
            message, token_hash(token), token_hash(reader_token(token)) if options.private else None
        )
        can_go_on = services.config.server.resume_window_s > 0 and options.audio.encoding != CONTAINER
        known = NewSession(
            services.sessions.new_id(),
            options.title,
            language,
            round(time.time() * 1000),
            options.private,
            resumption if can_go_on else None,
        )
        session = cls(options, services, known, resumption)
        session._resume_token = token
        return session

    @classmethod
    def interrupted(cls, earlier: InterruptedSession, services: Services) -> Self:
        """One that was open when a server died: it is parked from now on, as if its publisher's connection was lost.

        Raises:
            InvalidMessage: what it was started with is not understood any more.
        """
        start = native.parse(earlier.resumption.start, services.config.endpointing)
        assert isinstance(start, native.Start)  # as it was stored
        record = earlier.record
        known = NewSession(record.id, record.title, record.language, record.started_at_ms, record.private)
        session = cls(start.options, services, known, earlier.resumption, earlier)
        session._parked_s = time.monotonic()
        if session._pipeline.received_ms:
            session._slot = ExitStack()
            session._slot.enter_context(services.sessions.slot())
        session._live()
        return session

    @property
    def id(self) -> str:
        return self._pipeline.id

    @property
    def _logged_id(self) -> str:
        """Enough to tell sessions apart; the whole id lets readers in, and must be in no log."""
        return self._pipeline.id[:6]

    @property
    def received_ms(self) -> int:
        """Audio taken over so far, by this server."""
        return self._pipeline.received_ms - self._resumed_at_ms

    @property
    def private(self) -> bool:
        """Whether readers need a token."""
        return self._pipeline.options.private

    @property
    def parked(self) -> bool:
        """Whether the session waits for its publisher to come back."""
        return self._parked_s is not None

    # The publisher comes and goes

    def begin(self, connection: Peer, slot: ExitStack) -> None:
        """The first connection. `slot` is the session's until its end."""
        self._slot = slot
        self._connection = connection
        self.hub.attach(connection.outbox)
        audio = self._pipeline.options.audio
        logger.info(
            "session=%s started: %s %d Hz, %d channels",
            self._logged_id,
            audio.encoding,
            audio.sample_rate_hz,
            audio.channels,
        )
        self._publish(self._ready())
        if self._pool.state is not PoolState.READY:
            self._publish_status()
        self._live()

    def _live(self) -> None:
        self._pool.attach(self._pipeline.id, self._on_answer, self._pipeline.refresh)
        self._tick_later()
        self._sessions.keep(self)
        self._registration.enter_context(self._sessions.registered(self))

    def check_resume(self, resume: native.Resume) -> None:
        """Whether this client may take over.

        Raises:
            Unauthorized: `wrong_token`.
            UnknownSession: `session_ended`, and its client knows all of it.
            InvalidMessage: `unsupported_resume`, or what the client says it has seen was never sent, or the model, if
                it is another one now, cannot do what the session needs.
        """
        if not is_token(resume.token, self._hashes.resume_token_hash):
            raise Unauthorized("this is not the token of the session", code="wrong_token")
        if not self._resume_window_s:
            raise InvalidMessage("this session cannot be resumed", code="unsupported_resume")
        if resume.last_seq > self.hub.last_seq:
            raise InvalidMessage("resume.last_seq is of an event that was not sent yet")
        if self.hub.ended and resume.last_seq == self.hub.last_seq:
            raise UnknownSession("the session is over", code="session_ended")
        assert self._pool.loaded is not None  # nobody is let in before
        _check_model_can(self._pipeline.options, self._pool.loaded)

    def take_slot(self) -> None:
        """Have a slot among the streams again, if it was given up; to be called before `resume`.

        Raises:
            Unavailable: there is none.
        """
        if self._slot is None and not self.hub.ended:
            with ExitStack() as slot:
                slot.enter_context(self._sessions.admitted())
                self._slot = slot.pop_all()

    def resume(self, connection: Peer, resume: native.Resume) -> None:
        """The publisher is back; `check_resume` has let them in. An older connection that is still open is closed."""
        logger.info("session=%s resumed", self._logged_id)
        if not self._resume_token:
            self._resume_token = resume.token
            self._gate.reopen()
        if self._connection is not None:
            self._connection.finish(WSCloseCode.POLICY_VIOLATION, "another connection has taken over")
        self._parked_s = None
        self._sessions.n_resumed += 1
        if self._stopped_reading_audio:
            self._resent = True
        else:
            received_ms = self._pipeline.received_ms
            if resume.audio_from_ms > received_ms and self._pipeline.skip_to(resume.audio_from_ms):
                self._publish(Gap(received_ms, resume.audio_from_ms))
            self._pipeline.rewind()
        # For this connection alone, hence without a number; the others know the session.
        connection.outbox.offer(native.encode(self._ready(), None))
        self.hub.attach(connection.outbox, resume.last_seq)
        if self.hub.ended:
            assert self._ending is not None  # as it is finished
            connection.finish(self._ending.close_code, self._ending.text)
        else:
            self._connection = connection

    def connection_lost(self, connection: Peer, *, clean: bool) -> None:
        """The connection is gone. `clean`: the client has closed it, and does not come back."""
        if connection is not self._connection:
            return
        self._connection = None
        self.hub.detach()
        if self._ending is not None:
            return
        if clean or not self._resume_window_s:
            self._end(_Ending("disconnect", WSCloseCode.OK), "disconnect")
        else:
            logger.info("session=%s lost its publisher", self._logged_id)
            self._parked_s = time.monotonic()
            if not self._pipeline.received_ms:  # connecting and vanishing would fill the server
                self._give_up_slot()
                self._sessions.keep_without_audio(self)

    def give_up(self) -> None:
        """Its publisher is not expected back."""
        self._end(_Ending("disconnect", WSCloseCode.OK), "disconnect")

    def connection_closed(self, connection: Peer) -> None:
        """The connection is closed, to the last byte."""
        if connection is self._connection:
            self._connection = None
            self.hub.detach()
        if self._finished and self._connection is None:
            self._leave()

    def check_reader(self, token: str) -> None:
        """Whether somebody with this token, or with none, may read along.

        Raises:
            Unauthorized: `wrong_token`; the session is private.
        """
        expected_hash = self._hashes.reader_token_hash
        if expected_hash is not None and not is_token(token, expected_hash):
            raise Unauthorized("this session is private: its reader token is needed", code="wrong_token")

    # The end by the server

    def drain(self) -> None:
        """The server stops: no more audio, the finals, `end`, 1001."""
        self._end(_Ending("draining", WSCloseCode.GOING_AWAY, "the server stops"), "stop")
        self._stop_decoding_after(LAST_DECODING_DRAINING_S)  # also where it was ending already

    def give_up_finals(self) -> bool:
        """The time is up: what is still awaited is answered as failed. Whether there was any."""
        if self._pipeline.drained:
            return False
        now_s = time.monotonic()
        error = TranscriptionFailed("the server stopped before this utterance was done", fatal=False)
        self._execute(self._pipeline.end("stop", now_s) + self._pipeline.abandon(error, now_s))
        self._finish_if_drained()
        return True

    async def close(self) -> None:
        """The connection is closed by itself."""

    # Messages

    def receive(self, message: native.ClientMessage) -> None:
        """A message after `start`.

        Raises:
            WrongState: it is nothing that can be done now; not fatal.
        """
        if isinstance(message, native.Start | native.Resume):
            raise WrongState("start was sent already", fatal=False)
        if isinstance(message, native.Ping):
            self._publish(Pong(message.id))
        elif self._resent:
            return
        elif self._stopped_reading_audio:
            raise WrongState("the stream is ending already", fatal=False)
        elif isinstance(message, native.Flush):
            self._execute(self._pipeline.flush(message.id, time.monotonic()))
        else:
            self._end(_Ending("stop", WSCloseCode.OK), "stop")

    async def receive_audio(self, data: bytes) -> None:
        """Take audio; waits a while where more of it waits for finals than should.

        Raises:
            WrongState: after `stop`; reported once, not fatal.
        """
        if self._stopped_reading_audio:
            # What was on its way when we stopped is no mistake of the client's; tell it once.
            is_mistake = self._ending is not None and self._ending.reason == "stop" and not self._resent
            if is_mistake and not self._late_audio_reported:
                self._late_audio_reported = True
                raise WrongState("audio after stop", fatal=False)
            return
        if self._decoder is not None:
            await self._decoder.push(data)
        elif len(data) > PIECE_BYTES:
            await self._receive_in_pieces(memoryview(data))
        elif wait_s := self._receive_piece(data, time.monotonic()):
            await asyncio.sleep(wait_s)
        if self._pipeline.backlog_ms > MAX_BACKLOG_MS:
            await self._wait_for_room()

    async def _receive_in_pieces(self, audio: memoryview) -> None:
        connection = self._connection
        for start in range(0, len(audio), PIECE_BYTES):
            began_s = time.monotonic()
            wait_s = self._receive_piece(audio[start : start + PIECE_BYTES], began_s)
            await self._hold_back(wait_s, began_s)
            if self._stopped_reading_audio or self._connection is not connection:
                return  # meanwhile; `ready` says to a publisher that comes back how much was taken

    def _receive_piece(self, audio: bytes | memoryview, now_s: float) -> float:
        """Take up to `PIECE_BYTES`; returns for how many seconds no more may be taken."""
        before_ms = self._pipeline.received_ms
        self._execute(self._pipeline.receive_audio(audio, now_s))
        return self._audio_allowance.use((self._pipeline.received_ms - before_ms) / 1000, now_s)

    def report(self, error: LivecaptionError) -> None:
        """Something went wrong and the stream goes on."""
        self._publish(ErrorReport(error.code, error.message, fatal=False, retry_after_s=error.retry_after_s))

    async def _wait_for_room(self) -> None:
        self._room.clear()
        try:
            async with asyncio.timeout(BACKLOG_PAUSE_S):
                await self._room.wait()
        except TimeoutError:
            pass

    async def _hold_back(self, wait_s: float, began_s: float) -> None:
        """Wait, or let others have the loop if it is their turn, after a step that began at `began_s`."""
        if wait_s:
            await asyncio.sleep(wait_s)
        elif self._turn.is_over(time.monotonic() - began_s):
            await asyncio.sleep(0)

    async def _decode(self, decoder: ContainerDecoder) -> None:
        """Take a container's samples as they come, and no faster than they can be transcribed."""
        error: LivecaptionError | None = None
        try:
            async with aclosing(decoder.samples()) as pieces:
                async for samples in pieces:
                    began_s = time.monotonic()
                    self._execute(self._pipeline.receive_samples(samples, began_s))
                    wait_s = self._audio_allowance.use(ms_of(len(samples)) / 1000, began_s)
                    await self._hold_back(wait_s, began_s)
                    if self._pipeline.backlog_ms > MAX_BACKLOG_MS:
                        await self._wait_for_room()
        except LivecaptionError as caught:
            error = caught
        except Exception:
            logger.exception("taking a container's samples failed")
            error = LivecaptionError("internal error")
        self._container_ended(error)

    def _stop_decoding_after(self, delay_s: float) -> None:
        """What of a container is not decoded by then comes too late."""
        if self._decoding is not None and not self._decoding.done():
            asyncio.get_running_loop().call_later(delay_s, self._stop_decoding)

    def _stop_decoding(self) -> None:
        if self._decoding is not None and not self._decoding.done():
            self._decoding.cancel()
            self._container_ended(None)

    def _container_ended(self, error: LivecaptionError | None) -> None:
        """The container's last sample is out: by its own end, at our bidding, or by a fault."""
        if self._finished:
            return
        if error is not None and error.fatal:
            self.fail(error)
            return
        # Where we stop, it was we who cut it off.
        if error is not None and (self._ending is None or self._ending.reason != "draining"):
            self.report(error)
        if self._ending is not None:
            self._end_session("disconnect" if self._ending.reason == "disconnect" else "stop")

    # Ending

    def _end(self, ending: _Ending, reason: EndReason) -> None:
        """Take no more audio; everything said so far still gets its final."""
        if self._ending is not None:
            return
        self._ending = ending
        self._parked_s = None
        self._stopped_reading_audio = True
        if ending.reason == "draining":
            self._publish_status()
        if self._decoder is not None and self._decoding is not None and not self._decoding.done():
            self._decoder.finish()  # the session ends when the decoder has given its last sample
            if ending.reason == "disconnect":
                self._stop_decoding_after(LAST_DECODING_S)
        else:
            self._end_session(reason)

    def _end_session(self, reason: EndReason) -> None:
        self._execute(self._pipeline.end(reason, time.monotonic()))
        self._finish_if_drained()

    def fail(self, error: LivecaptionError) -> None:
        """A fatal error: tell, get the finals out, and close with its code."""
        if self._finished:
            return
        self._publish(ErrorReport(error.code, error.message, fatal=True, retry_after_s=error.retry_after_s))
        logger.info("a stream is refused: %s", error.code)
        self._ending = _Ending("error", error.close_code, error.code)
        self._parked_s = None
        self._stopped_reading_audio = True
        if self._decoding is not None:
            self._decoding.cancel()
        self._end_session("stop")  # what was said before the mistake is still captioned

    def _finish_if_drained(self) -> None:
        if self._ending is None or self._finished or not self._pipeline.drained:
            return
        self._publish(Ack(self._pipeline.received_ms))
        self._publish(End(self._pipeline.received_ms, self._pipeline.n_utterances, self._ending.reason))
        self._finished = True
        self._next_tick.cancel()
        self._pool.detach(self._pipeline.id)
        if self._decoding is not None:
            self._decoding.cancel()
        logger.info(
            "session=%s ended: %s, %.1f s of audio, %d utterances",
            self._logged_id,
            self._ending.reason,
            self._pipeline.received_ms / 1000,
            self._pipeline.n_utterances,
        )
        # The last events are published once the store has them.
        self._gate.when_all_published(self._let_go)

    def _let_go(self) -> None:
        """All is published: the connection and the session's slot are not needed any more."""
        assert self._ending is not None  # as it is finished
        self._sessions.forget_later(self)
        if self._connection is not None:
            self._connection.finish(self._ending.close_code, self._ending.text)
        else:
            self._leave()

    def _leave(self) -> None:
        """Nobody waits for anything of it any more but those who read what was said."""
        self._registration.close()
        self._give_up_slot()

    def _give_up_slot(self) -> None:
        if self._slot is not None:
            self._slot.close()
            self._slot = None

    # Executing

    def _on_answer(self, request: Request, answer: Hypothesis | EngineError) -> None:
        if self._finished:
            return
        self._execute(self._pipeline.receive_answer(request, answer, time.monotonic()))
        if self._pipeline.backlog_ms <= MAX_BACKLOG_MS:
            self._room.set()
        self._finish_if_drained()

    def _execute(self, outputs: list[Output]) -> None:
        if not outputs:
            return  # as after nearly every message
        # Finals released together share one checkpoint, written with the last of them.
        newest_final = next((output for output in reversed(outputs) if isinstance(output, Final)), None)
        for output in outputs:
            if isinstance(output, Request):
                self._pool.submit(output)
            elif isinstance(output, Cancel):
                self._pool.cancel(output)
            elif output is newest_final:
                self._checkpoint_ms = self._pipeline.checkpoint_ms
                self._gate.publish(output, self._checkpoint_ms)
            else:
                self._publish(output)
        for latency in self._pipeline.take_latencies():
            self._on_latency(latency)

    def _publish(self, event: Event) -> None:
        self._gate.publish(event)

    def _ready(self) -> Ready:
        assert self._pool.loaded is not None  # nobody is admitted before
        return Ready(
            self._pipeline.id,
            self._resume_token,
            native.PROTOCOL_VERSION,
            self._pool.loaded.model,
            self._language,
            self._pipeline.received_ms,
            round(self._resume_window_s * 1000),
            self.private,
            reader_token(self._resume_token) if self.private else None,
        )

    def _tick_later(self) -> None:
        self._next_tick = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        """Once a second: whether the client is silent or away, what was taken over, and how the server does."""
        self._tick_later()
        if self._connection is not None and self._connection.outbox.aborted:
            self._connection.connection_lost()
        if self._ending is None:
            self._check_silence(time.monotonic())
        if self._finished:
            return
        if self._pipeline.received_ms != self._acknowledged_ms:
            self._acknowledged_ms = self._pipeline.received_ms
            self._publish(Ack(self._acknowledged_ms))
        if self._pipeline.checkpoint_ms - self._checkpoint_ms >= CHECKPOINT_INTERVAL_MS:
            self._checkpoint_ms = self._pipeline.checkpoint_ms
            self._gate.checkpoint(self._checkpoint_ms)
        self._publish_status()
        if self._pool.given_up and self._ending is None:
            self.fail(Unavailable("no inference process runs", code="failed", retry_after_s=30.0))

    def _check_silence(self, now_s: float) -> None:
        if self._parked_s is not None and self._pool.state is PoolState.LOADING:
            self._parked_s = now_s  # nobody can come back yet
        elif self._parked_s is not None:
            if now_s - self._parked_s >= self._resume_window_s:
                self.give_up()
        elif self._connection is not None and now_s - self._connection.last_received_s >= IDLE_TIMEOUT_S:
            self.fail(TooSlow(f"nothing for {IDLE_TIMEOUT_S:.0f} s", code="idle_timeout"))

    def _publish_status(self) -> None:
        """Publish how the server does, where that changed."""
        status = self._pipeline.status(time.monotonic())
        state = status.state
        if self._ending is not None and self._ending.reason == "draining":
            state = "draining"
        elif self._pool.state in (PoolState.RECOVERING, PoolState.FAILED):
            state = "recovering"
        status = Status(state, status.partials, status.lag_ms)
        published = self._status or Status("ready", "on", 0)
        if (status.state, status.partials) != (published.state, published.partials):
            self._status = status
            self._publish(status)


def _check_model_can(options: StreamOptions, loaded: ModelDescription) -> None:
    """Raises InvalidMessage: the model does not know the language, or cannot translate."""
    language = options.transcription.language
    if language is not None and language not in loaded.languages:
        raise InvalidMessage(
            f"the model {loaded.model} does not know the language asked for", code="unsupported_language"
        )
    if options.transcription.task == "translate" and not loaded.translates:
        raise InvalidMessage(f"the model {loaded.model} cannot translate", code="unsupported_task")
