"""Puts live sessions together: new ones, and those that an earlier server has left."""

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from livecaption.audio.formats import CONTAINER
from livecaption.decoding.pool import DecoderPool
from livecaption.ipc import logs
from livecaption.live.config import SessionLimits
from livecaption.live.dialects.commands import Open
from livecaption.live.hub import Hub
from livecaption.live.published import News
from livecaption.live.session import LiveSession
from livecaption.live.store_gate import StoreGate
from livecaption.live.tokens import SessionTokens, reader_token, token_hash
from livecaption.pipeline.arrival import ArrivalClock
from livecaption.pipeline.latency import Latency
from livecaption.pipeline.options import STREAM_START, ResumePoint, StreamOptions
from livecaption.pipeline.stream import StreamPipeline
from livecaption.recognition import SessionId, logged_id
from livecaption.store.rows import InterruptedSession, NewSession, Resumption
from livecaption.store.store import Store
from livecaption.workers.pool import WorkerPool

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RoomOfSession:
    """The room of a new session, as the session needs it.

    Attributes:
        reader_token: the readers' token, which counts if the room is private.
        news: wakes the readers of the room.
        begin: begins a part, which nothing refuses any more; returns the number of its event. It stores the room, with
            which the session is stored.
    """

    name: str
    reader_token: str
    news: News
    begin: Callable[[], int]


class SessionOpener:
    """Makes sessions, which the caller starts.

    Args:
        workers: transcribe.
        decoders: decode containers.
        store: None: nothing is kept.
        resume_window_s: how long a session waits for a publisher whose connection is lost; 0: not at all.
        limits: the limits of each session.
        on_latency: called for each delay that a session has measured.
    """

    def __init__(
        self,
        workers: WorkerPool,
        decoders: DecoderPool,
        store: Store | None,
        *,
        resume_window_s: float,
        limits: SessionLimits,
        on_latency: Callable[[Latency], None],
    ) -> None:
        self._workers = workers
        self._decoders = decoders
        self._store = store
        self._resume_window_s = resume_window_s
        self._limits = limits
        self._on_latency = on_latency

    def check(self, command: Open) -> None:
        """Check that the model can do what this command asks for.

        Raises:
            InvalidMessage: it cannot.
        """
        assert self._workers.loaded is not None  # nobody is admitted before
        command.options.for_model(self._workers.loaded)

    def new(
        self,
        command: Open,
        on_parked: Callable[[LiveSession], None],
        on_end: Callable[[LiveSession], None],
        *,
        resumable: bool,
        room: RoomOfSession | None = None,
    ) -> LiveSession:
        """Make the session that this command asks for.

        Args:
            on_parked, on_end: see `LiveSession`.
            resumable: whether its protocol lets a publisher come back.
            room: the room that it is a part of.

        Raises:
            InvalidMessage: the model cannot do what the options ask for.
        """
        assert self._workers.loaded is not None  # nobody is admitted before
        options = command.options.for_model(self._workers.loaded)
        token = secrets.token_urlsafe(16)
        reader = reader_token(token) if room is None else room.reader_token
        reader_hash = token_hash(reader) if options.private else None
        # The demuxer of a container stands in the middle of bytes that the client cannot find again.
        can_go_on = resumable and self._resume_window_s > 0 and options.audio.encoding != CONTAINER
        known = NewSession(
            SessionId(secrets.token_urlsafe(16)),  # 128 bits, which nobody guesses
            options.title,
            options.transcription.language,
            round(time.time() * 1000),
            options.private,
            Resumption(command.start, token_hash(token), reader_hash) if can_go_on else None,
            None if room is None else room.name,
            0 if room is None else room.begin(),
        )
        tokens = SessionTokens(token_hash(token), reader_hash, token, None if room is None else room.reader_token)
        logs.note(session=logged_id(known.id), room=logged_id(known.room or ""))
        logger.info("session=%s started: %s", logged_id(known.id), options.format)
        news = None if room is None else room.news
        hub = Hub(known.title, known.language, session=known.id, news=news, tracks=options.tracks)
        pipeline = self._pipeline(known.id, options, STREAM_START)
        resume_window_s = self._resume_window_s * can_go_on
        store = self._store if options.keep else None
        clock = ArrivalClock(counts_pauses=options.counts_pauses)
        return self._session(known, pipeline, hub, tokens, clock, store, on_parked, on_end, resume_window_s)

    def interrupted(
        self,
        earlier: InterruptedSession,
        options: StreamOptions,
        on_parked: Callable[[LiveSession], None],
        on_end: Callable[[LiveSession], None],
        news: News | None = None,
    ) -> LiveSession:
        """Make a session that goes on from where an earlier server left it, with the options that it had.

        `news` is that of its room.
        """
        record, hashes = earlier.record, earlier.resumption
        options = replace(options, private=record.private)  # a part of a private room is private without its wish
        known = NewSession(
            record.id, record.title, record.language, record.started_at_ms, record.private, hashes, record.room
        )
        room_reader = None if record.room is None else ""
        tokens = SessionTokens(hashes.resume_token_hash, hashes.reader_token_hash, room_reader=room_reader)
        hub = Hub(
            known.title,
            known.language,
            earlier.generation,
            earlier.events,
            session=known.id,
            news=news,
            tracks=options.tracks,
            names=record.names,
        )
        n_apart = options.n_channels_apart
        resume_ms = earlier.resume_ms((None,) if n_apart is None else range(n_apart))
        pipeline = self._pipeline(known.id, options, ResumePoint(earlier.finals, resume_ms, earlier.transcribed_ms))
        clock = ArrivalClock(resume_ms, earlier.shift_ms)
        window_s = self._resume_window_s
        return self._session(known, pipeline, hub, tokens, clock, self._store, on_parked, on_end, window_s)

    def _pipeline(self, session_id: SessionId, options: StreamOptions, resume_point: ResumePoint) -> StreamPipeline:
        return StreamPipeline(
            session_id, options, self._workers.service_level, self._workers.next_request_id, resume_point
        )

    def _session(
        self,
        known: NewSession,
        pipeline: StreamPipeline,
        hub: Hub,
        tokens: SessionTokens,
        clock: ArrivalClock,
        store: Store | None,
        on_parked: Callable[[LiveSession], None],
        on_end: Callable[[LiveSession], None],
        resume_window_s: float,
    ) -> LiveSession:
        return LiveSession(
            known,
            pipeline,
            hub,
            tokens,
            clock,
            StoreGate(store, known, hub, clock),
            workers=self._workers,
            decoders=self._decoders,
            resume_window_s=resume_window_s,
            limits=self._limits,
            on_latency=self._on_latency,
            on_parked=on_parked,
            on_end=on_end,
            outlives_server=known.resumption is not None
            and store is not None
            and (known.room is not None or store.is_shared),
        )
