"""One publisher's WebSocket: messages in, the events of its session out.

    CONNECTED --start--> STREAMING --stop, drain, fatal error--> DRAINING --last final sent--> closed

The shell around `Session`: it reads, carries out what the session says, and closes. It never waits
for a transcription; answers come back through `_on_answer`.
"""

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass
from typing import Literal

import aiojobs
from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from livecaption.audio.formats import CONTAINER
from livecaption.captions.hypothesis import Hypothesis
from livecaption.config import Config
from livecaption.errors import (
    EngineError,
    InvalidMessage,
    LivecaptionError,
    MessageTooBig,
    TooSlow,
    TranscriptionFailed,
    Unavailable,
    WrongState,
)
from livecaption.events import Ack, End, EndReason, ErrorReport, Event, Pong, Ready, Status
from livecaption.scheduling.request import Request
from livecaption.server.decoding import ContainerDecoder, Samples
from livecaption.server.hub import Hub
from livecaption.server.metrics import Metrics
from livecaption.server.outbox import CLOSE_TIMEOUT_S, Outbox
from livecaption.server.protocols import native
from livecaption.server.recording import Recording
from livecaption.server.sessions import Sessions
from livecaption.session import Output, Session, StreamOptions
from livecaption.store.rows import NewSession
from livecaption.store.transcripts import TranscriptStore
from livecaption.workers.messages import Loaded
from livecaption.workers.pool import PoolState, WorkerPool

START_TIMEOUT_S = 10.0
IDLE_TIMEOUT_S = 300.0
TICK_S = 1.0
MAX_ERRORS = 20
"""Bad messages before a stream is closed: enough to learn from, too few to fill a log."""
MAX_AUDIO_BYTES = 1024 * 1024
"""Of one message: 32 s of 16 kHz PCM."""
MAX_BACKLOG_MS = 60_000
"""Audio that waits for finals before the server reads slower than the client sends."""
BACKLOG_PAUSE_S = 5.0
"""Longest pause in reading; after it one message is taken all the same, so that pings are
answered and a dead peer is seen."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Ending:
    """How the connection ends."""

    reason: Literal["stop", "disconnect", "draining", "error"]
    close_code: int
    text: str = ""


class Publisher:
    """Use once: `await Publisher(...).run()` in the handler, after the upgrade."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        config: Config,
        pool: WorkerPool,
        sessions: Sessions,
        metrics: Metrics,
        store: TranscriptStore | None,
    ) -> None:
        self._socket = socket
        self._config = config
        self._pool = pool
        self._sessions = sessions
        self._metrics = metrics
        self._store = store
        self._outbox = Outbox(socket, transport)
        self._hub = Hub()
        self._hub.attach(self._outbox)
        self._session: Session | None = None
        self._recording: Recording | None = None
        self._decoder: ContainerDecoder | None = None
        self._ending: _Ending | None = None
        self._finished = asyncio.Event()
        self._room = asyncio.Event()
        self._stopped_reading_audio = False
        self._late_audio_reported = False
        self._n_errors = 0
        self._acknowledged_ms = 0
        self._connected_s = self._last_heard_s = time.monotonic()
        self._status: Status | None = None

    @property
    def received_ms(self) -> int:
        """Audio taken over so far."""
        return self._session.received_ms if self._session is not None else 0

    async def run(self) -> None:
        """Until everything that was promised is sent and the socket is closed."""
        scheduler = aiojobs.Scheduler(limit=None, close_timeout=CLOSE_TIMEOUT_S)
        sender = await scheduler.spawn(self._outbox.run())
        try:
            with self._sessions.registered(self):
                reader = await scheduler.spawn(self._read())
                await scheduler.spawn(self._tick())
                await self._finished.wait()
                if self._recording is not None:
                    await self._recording.all_published()
                await reader.close()
        finally:
            if self._session is not None:
                self._pool.detach(self._session.id)
            if self._recording is not None:
                self._recording.close(self.received_ms)
            if self._decoder is not None:
                self._decoder.finish()
            self._outbox.finish()
            await sender.wait()
            await scheduler.close()
            ending = self._ending or _Ending("error", WSCloseCode.INTERNAL_ERROR)
            await self._outbox.close(ending.close_code, ending.text)
        self._log_end(ending)

    def drain(self) -> None:
        """The server stops: no more audio, the finals, `end`, 1001."""
        self._outbox.hurry()
        self._end(_Ending("draining", WSCloseCode.GOING_AWAY, "the server stops"), "stop")

    def give_up_finals(self) -> bool:
        """The time is up: what is still awaited is answered as failed. Whether there was any."""
        if self._session is None or self._session.drained:
            return False
        now_s = time.monotonic()
        error = TranscriptionFailed("the server stopped before this utterance was done", fatal=False)
        self._carry_out(self._session.end("stop", now_s) + self._session.abandon(error, now_s))
        self._finish_if_drained()
        return True

    async def close(self) -> None:
        """Close with 1001 at once, whatever is still owed."""
        await self._outbox.close(WSCloseCode.GOING_AWAY, "the server stops")

    # Reading

    async def _read(self) -> None:
        """Read until the client leaves or sends what is fatal. Cancelled once all is done."""
        try:
            await self._read_messages()
            self._leave()
        except LivecaptionError as error:
            self.fail(error)
        except Exception:
            logger.exception("a stream failed")
            self.fail(LivecaptionError("internal error"))

    async def _read_messages(self) -> None:
        while True:
            # No `timeout`: a timer for each message costs 3 us (of 110, 40 ms at 48 kHz). `_tick` looks.
            self._last_heard_s = time.monotonic()
            message = await self._socket.receive()
            if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                return
            try:
                await self._receive(message)
            except LivecaptionError as error:
                self._n_errors += 1
                if error.fatal or self._n_errors >= MAX_ERRORS:
                    raise
                self._publish(ErrorReport(error.code, error.message, fatal=False, retry_after_s=error.retry_after_s))

    async def _receive(self, message: WSMessage) -> None:
        if message.type is WSMsgType.BINARY:
            await self._receive_audio(message.data)
            return
        try:
            parsed = native.parse(message.data, self._config.endpointing)
        except InvalidMessage as error:
            error.fatal = self._session is None
            raise
        if self._session is None:
            if not isinstance(parsed, native.Start):
                raise WrongState("the first message must be start")
            self._open(parsed.options)
        elif isinstance(parsed, native.Start):
            raise WrongState("start was sent already", fatal=False)
        elif isinstance(parsed, native.Ping):
            self._publish(Pong(parsed.id))
        elif self._stopped_reading_audio:
            raise WrongState("the stream is ending already", fatal=False)
        elif isinstance(parsed, native.Flush):
            self._carry_out(self._session.flush(parsed.id, time.monotonic()))
        else:
            self._end(_Ending("stop", WSCloseCode.OK), "stop")

    def _open(self, options: StreamOptions) -> None:
        loaded = self._pool.loaded
        assert loaded is not None  # nobody is admitted before
        _check_model_can(options, loaded)
        session_id = self._sessions.new_id()
        session = Session(session_id, options, self._pool.pace, self._sessions.next_request_id)
        if options.audio.encoding == CONTAINER:
            self._decoder = ContainerDecoder(self._receive_samples, self._container_ended)
        self._session = session
        language = options.transcription.language or (loaded.languages[0] if len(loaded.languages) == 1 else None)
        begun = NewSession(session_id, options.title, language, round(time.time() * 1000))
        self._recording = Recording(self._store, begun, self._hub.publish)
        self._pool.attach(session_id, self._on_answer, session.renew)
        logger.info(
            "session=%s started: %s %d Hz, %d channels",
            session_id,
            options.audio.encoding,
            options.audio.sample_rate_hz,
            options.audio.channels,
        )
        self._publish(Ready(session_id, secrets.token_urlsafe(16), native.PROTOCOL_VERSION, loaded.model, language, 0))
        if self._pool.state is not PoolState.READY:
            self._publish_status()

    async def _receive_audio(self, data: bytes) -> None:
        session = self._session
        if session is None:
            raise WrongState("audio before start")
        if len(data) > MAX_AUDIO_BYTES:
            raise MessageTooBig(f"a binary message may have {MAX_AUDIO_BYTES} bytes")
        if self._stopped_reading_audio:
            # What was on its way when we stopped is no mistake of the client's; tell it once.
            if not self._late_audio_reported and self._ending is not None and self._ending.reason == "stop":
                self._late_audio_reported = True
                raise WrongState("audio after stop", fatal=False)
            return
        if self._decoder is not None:
            await self._decoder.push(data)
        else:
            self._carry_out(session.receive_audio(data, time.monotonic()))
        if session.backlog_ms > MAX_BACKLOG_MS:
            await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        self._room.clear()
        try:
            async with asyncio.timeout(BACKLOG_PAUSE_S):
                await self._room.wait()
        except TimeoutError:
            pass

    def _receive_samples(self, samples: Samples) -> None:
        if self._session is not None and not self._finished.is_set():
            self._carry_out(self._session.receive_samples(samples, time.monotonic()))

    def _container_ended(self, error: LivecaptionError | None) -> None:
        """The container's last sample is out: by its own end, at our bidding, or by a fault."""
        if self._finished.is_set():
            return
        if error is not None and error.fatal:
            self.fail(error)
            return
        # Where we stop, it was we who cut it off.
        if error is not None and (self._ending is None or self._ending.reason != "draining"):
            self._publish(ErrorReport(error.code, error.message, fatal=False))
        if self._ending is not None and self._session is not None:
            self._end_session("stop")

    # Ending

    def _end(self, ending: _Ending, reason: EndReason) -> None:
        """Take no more audio; everything said so far still gets its final."""
        if self._ending is not None:
            return
        self._ending = ending
        self._stopped_reading_audio = True
        if self._session is None:
            self._finished.set()
            return
        if ending.reason == "draining":
            self._publish_status()
        if self._decoder is not None and not self._decoder.ended.done():
            self._decoder.finish()  # the session ends when the decoder has given its last sample
        else:
            self._end_session(reason)

    def _end_session(self, reason: EndReason) -> None:
        assert self._session is not None  # the callers looked
        self._carry_out(self._session.end(reason, time.monotonic()))
        self._finish_if_drained()

    def _leave(self) -> None:
        """The client is gone: nobody waits for its captions."""
        if self._ending is None:
            self._ending = _Ending("disconnect", WSCloseCode.OK)
        if self._session is not None:
            self._session.end("disconnect", time.monotonic())
        self._outbox.drop()
        self._finished.set()

    def fail(self, error: LivecaptionError) -> None:
        """A fatal error: tell, and close with its code."""
        if self._finished.is_set():
            return
        self._publish(ErrorReport(error.code, error.message, fatal=True, retry_after_s=error.retry_after_s))
        logger.info("a stream is refused: %s", error.code)
        self._ending = _Ending("error", error.close_code, error.code)
        self._stopped_reading_audio = True
        if self._session is not None:
            self._end_session("stop")  # what was said before the mistake is still captioned
        else:
            self._finished.set()

    def _finish_if_drained(self) -> None:
        if self._ending is None or self._session is None or self._finished.is_set():
            return
        if self._session.drained:
            self._publish(Ack(self._session.received_ms))
            self._publish(End(self._session.received_ms, self._session.n_utterances, self._ending.reason))
            self._finished.set()

    # Carrying out

    def _on_answer(self, request: Request, answer: Hypothesis | EngineError) -> None:
        if self._session is None or self._finished.is_set():
            return
        self._carry_out(self._session.receive_answer(request, answer, time.monotonic()))
        if self._session.backlog_ms <= MAX_BACKLOG_MS:
            self._room.set()
        self._finish_if_drained()

    def _carry_out(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Request):
                self._pool.submit(output)
            else:
                self._publish(output)
        if outputs and self._session is not None:
            for latency in self._session.take_latencies():
                self._metrics.observe(latency)

    def _publish(self, event: Event) -> None:
        publish = self._hub.publish if self._recording is None else self._recording.publish
        publish(event)

    async def _tick(self) -> None:
        """Once a second: whether the client is silent, what was taken over, and how the server does."""
        while True:
            await asyncio.sleep(TICK_S)
            if self._finished.is_set():
                return
            if self._outbox.cut_off:
                self._leave()
                return
            if self._ending is None:
                self._check_silence(time.monotonic())
            if self._session is None:
                continue
            if self._session.received_ms != self._acknowledged_ms:
                self._acknowledged_ms = self._session.received_ms
                self._publish(Ack(self._acknowledged_ms))
            self._publish_status()
            if self._pool.state is PoolState.FAILED and self._ending is None:
                self.fail(Unavailable("no inference process runs", code="failed", retry_after_s=30.0))

    def _check_silence(self, now_s: float) -> None:
        if self._session is None:
            if now_s - self._connected_s >= START_TIMEOUT_S:
                self.fail(TooSlow(f"no start within {START_TIMEOUT_S:.0f} s"))
        elif now_s - self._last_heard_s >= IDLE_TIMEOUT_S:
            self.fail(TooSlow(f"nothing for {IDLE_TIMEOUT_S:.0f} s", code="idle_timeout"))

    def _publish_status(self) -> None:
        """Tell how the server does, where that changed."""
        assert self._session is not None  # the callers looked
        status = self._session.status(time.monotonic())
        state = status.state
        if self._ending is not None and self._ending.reason == "draining":
            state = "draining"
        elif self._pool.state is PoolState.RECOVERING:
            state = "recovering"
        status = Status(state, status.partials, status.lag_ms)
        told = self._status or Status("ready", "on", 0)
        if (status.state, status.partials) != (told.state, told.partials):
            self._status = status
            self._publish(status)

    def _log_end(self, ending: _Ending) -> None:
        if self._session is not None:
            logger.info(
                "session=%s ended: %s, %.1f s of audio, %d utterances",
                self._session.id,
                ending.reason,
                self._session.received_ms / 1000,
                self._session.n_utterances,
            )


def _check_model_can(options: StreamOptions, loaded: Loaded) -> None:
    """Raises InvalidMessage: the model does not know the language, or cannot translate."""
    language = options.transcription.language
    if language is not None and language not in loaded.languages:
        raise InvalidMessage(
            f"the model {loaded.model} does not know the language asked for", code="unsupported_language"
        )
    if options.transcription.task == "translate" and not loaded.translates:
        raise InvalidMessage(f"the model {loaded.model} cannot translate", code="unsupported_task")
