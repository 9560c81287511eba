"""One recording on its way through a pipeline of its own: a file in, finals out.

It is a stream without partials, at the pace of `livecaption transcribe`. Its requests wait behind those of all live
streams: docs/decisions/0058-uploads.md.
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import BinaryIO

from livecaption.audio import ms_of
from livecaption.audio.formats import CONTAINER
from livecaption.decoding.pool import ContainerDecoder, DecoderPool
from livecaption.errors import EngineError, InvalidAudio, LivecaptionError, Unavailable, UploadTooLarge, WorkerDied
from livecaption.events import Final
from livecaption.live.config import AudioLimits
from livecaption.live.throttle import Throttle
from livecaption.pipeline.options import StreamOptions
from livecaption.pipeline.stream import Output, StreamPipeline
from livecaption.recognition import Hypothesis, SessionId
from livecaption.scheduling.load_control import ServiceLevel
from livecaption.scheduling.request import Cancel, Request
from livecaption.workers.pool import WorkerPool

PIECE_BYTES = 16 * 1024
"""Bytes of raw audio in one step: half a second of 16 kHz PCM, 1 ms of the loop."""
READ_BYTES = 256 * 1024
"""Bytes of raw audio that are read from disk at once, in a thread."""
MAX_DURATION_MS = 12 * 3600 * 1000
"""Length of a recording. Of Opus, 200 MB are 74 h. Longer: one recording keeps a turn from others for hours, and has
more finals in memory. Shorter: events of a day must be cut."""
RETRY_AFTER_S = 30.0
"""Time in s after which there may be an inference process again."""
LEVEL = ServiceLevel(partial_interval_ms=None, effort="reduced")
"""The effort with which `transcribe` runs, because it saturates the workers: docs/decisions/0042-recordings.md."""


class Recording:
    """One recording. It is transcribed once, by `finals`.

    Args:
        file: the recording, a container or raw audio, at its beginning. The caller closes it.
        options: how to transcribe it, for the model that is loaded. Of a container, `channel_mode` alone counts: if
            the channels are kept apart, there are as many as its header states.
        workers: transcribe.
        decoders: decode containers.
        limits: the pace at which its audio is taken, and the backlog.
        count: called with the length in ms of each piece before it is transcribed. What it raises ends the recording.

    Attributes:
        is_damaged: True if a part could not be decoded.
    """

    def __init__(
        self,
        file: BinaryIO,
        options: StreamOptions,
        workers: WorkerPool,
        decoders: DecoderPool,
        limits: AudioLimits,
        count: Callable[[int], None],
    ) -> None:
        self.is_damaged = False
        self._count = count
        self._counted_ms = 0
        self._file = file
        self._options = options
        self._workers = workers
        self._decoders = decoders
        self._throttle = Throttle(limits, time.monotonic())
        self._pipeline: StreamPipeline | None = None
        self._ready: deque[Final] = deque()
        self._error: LivecaptionError | None = None
        self._news = asyncio.Event()

    @property
    def duration_ms(self) -> int:
        """Audio that was taken so far."""
        return 0 if self._pipeline is None else self._pipeline.received_ms

    @property
    def n_channels(self) -> int:
        """Number of channels that are transcribed apart; 1 if they are mixed."""
        return (None if self._pipeline is None else self._pipeline.options.n_channels_apart) or 1

    async def finals(self) -> AsyncGenerator[Final, None]:
        """Transcribe the recording: yield its finals, in order within each channel.

        Close the generator (`aclosing`), because that stops the transcription.

        Raises:
            InvalidAudio: there is no audio in it that can be decoded.
            EngineError: a part could not be transcribed.
            UploadTooLarge: it is longer than `MAX_DURATION_MS`.
            Unavailable: there is no inference process, or no decoder could be started.
        """
        feeding = asyncio.ensure_future(self._feed())
        feeding.add_done_callback(lambda _: self._news.set())
        try:
            while not self._is_over(feeding):
                await self._news.wait()
                self._news.clear()
                while self._ready:
                    yield self._ready.popleft()
                if self._error is not None:
                    raise self._error
                if feeding.done():
                    feeding.result()
        finally:
            feeding.cancel()
            await asyncio.wait({feeding})
            for request_id in () if self._pipeline is None else self._pipeline.request_ids:
                self._workers.detach(request_id)

    def _is_over(self, feeding: asyncio.Future[None]) -> bool:
        return feeding.done() and not self._ready and self._pipeline is not None and self._pipeline.drained

    async def _feed(self) -> None:
        if self._options.audio.encoding == CONTAINER:
            await self._feed_container()
        else:
            await self._feed_raw()
        pipeline = self._pipeline or self._begin(1)  # there may be no audio at all
        self._execute(pipeline.end("stop", time.monotonic()))

    async def _feed_container(self) -> None:
        decoder = ContainerDecoder(self._decoders, self._file, channel_mode=self._options.channel_mode)
        try:
            async with aclosing(decoder.samples()) as pieces:
                async for samples in pieces:
                    pipeline = self._pipeline or self._begin(decoder.opened.n_channels if decoder.opened else 1)
                    n_channels = 1 if samples.ndim == 1 else samples.shape[1]
                    now_s = time.monotonic()
                    await self._take(pipeline.receive_samples(samples, now_s), ms_of(len(samples)) * n_channels, now_s)
        except InvalidAudio as error:
            if error.fatal or self._pipeline is None:
                raise
            self.is_damaged = True

    async def _feed_raw(self) -> None:
        pipeline = self._begin(self._options.audio.channels)
        loop = asyncio.get_running_loop()
        while data := await loop.run_in_executor(None, self._file.read, READ_BYTES):
            for start in range(0, len(data), PIECE_BYTES):
                now_s, before_ms = time.monotonic(), pipeline.received_ms
                outputs = pipeline.receive_audio(memoryview(data)[start : start + PIECE_BYTES], now_s)
                await self._take(outputs, (pipeline.received_ms - before_ms) * self.n_channels, now_s)

    def _begin(self, n_channels: int) -> StreamPipeline:
        options = replace(self._options, audio=replace(self._options.audio, channels=n_channels))
        name = SessionId(f"recording-{secrets.token_hex(8)}")
        self._pipeline = StreamPipeline(name, options, lambda: LEVEL, self._workers.next_request_id)
        for request_id in self._pipeline.request_ids:
            self._workers.attach(request_id, self._on_answer, is_recording=True)
        return self._pipeline

    async def _take(self, outputs: list[Output], audio_ms: int, began_s: float) -> None:
        assert self._pipeline is not None
        if self.duration_ms > MAX_DURATION_MS:
            message = f"a recording may last {MAX_DURATION_MS // 3_600_000} h here"
            raise UploadTooLarge(message, code="recording_too_long")
        self._count(self.duration_ms - self._counted_ms)
        self._counted_ms = self.duration_ms
        self._execute(outputs)
        await self._throttle.hold_back(self._throttle.allowance.use(audio_ms / 1000, began_s), began_s)
        while self._throttle.is_full(self._pipeline.backlog_ms):
            await self._throttle.wait_for_room()

    def _on_answer(self, request: Request, answer: Hypothesis | EngineError) -> None:
        assert self._pipeline is not None
        if isinstance(answer, EngineError):  # an answer without these words would look as if nobody had spoken
            self._fail(answer)
            return
        self._execute(self._pipeline.receive_answer(request, answer, time.monotonic()))
        self._throttle.note_backlog(self._pipeline.backlog_ms)

    def _fail(self, error: EngineError) -> None:
        self._error = error
        if isinstance(error, WorkerDied):
            self._error = Unavailable("no inference process runs", code="failed", retry_after_s=RETRY_AFTER_S)
        self._news.set()

    def _execute(self, outputs: list[Output]) -> None:
        assert self._pipeline is not None
        for output in outputs:
            match output:
                case Request():
                    self._workers.submit(output)
                case Cancel():
                    self._workers.cancel(output)
                case Final():
                    self._ready.append(output)
        self._pipeline.take_latencies()  # nobody waits for these
        self._news.set()
