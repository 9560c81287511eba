"""The audio of one stream on its way in, as PCM or through a container's decoder, at a pace that others can bear."""

import asyncio
import time
from collections.abc import Callable
from functools import partial

from livecaption.audio import ms_of
from livecaption.audio.formats import CONTAINER, Samples
from livecaption.decoding.pool import DecoderPool
from livecaption.errors import InvalidMessage, LivecaptionError, WrongState
from livecaption.events import Gap
from livecaption.live.config import AudioLimits
from livecaption.live.container import ContainerFeed
from livecaption.live.state import Lifecycle
from livecaption.live.throttle import Throttle
from livecaption.pipeline.arrival import ArrivalClock
from livecaption.pipeline.stream import Output, StreamPipeline

PIECE_BYTES = 16 * 1024
"""Audio is taken in steps of this size: half a second of 16 kHz PCM, 1 ms of the loop. Buffers grow with the step."""

CLOCKS_DIFFER_S = 60.0
"""Difference in s of the clocks of servers that have one session after the other. More: a publisher may claim to have
sent more. Less: publishers of recordings are refused where clocks differ."""
LOOK_S = 0.25
"""Interval in s at which a stream is looked at whether its audio has stopped. Longer: finals come later."""


class AudioInput:
    """The audio of one session.

    Args:
        pipeline: gets the audio.
        clock: notes its arrival.
        lifecycle: decides whether audio is taken.
        execute: executes the outputs of the pipeline.
        decoders: decode containers.
        on_container_end: called once, when the last sample of a container was taken; with the error if there is one.
        limits: its pace, and the time for the rest of a container.

    Attributes:
        skipped_ms: audio that was lost, and did not come.
    """

    def __init__(
        self,
        pipeline: StreamPipeline,
        clock: ArrivalClock,
        lifecycle: Lifecycle,
        execute: Callable[[list[Output]], None],
        decoders: DecoderPool,
        on_container_end: Callable[[LivecaptionError | None], None],
        limits: AudioLimits,
    ) -> None:
        self._pipeline = pipeline
        self._clock = clock
        self._lifecycle = lifecycle
        self._execute = execute
        self._limits = limits
        self._throttle = Throttle(limits, time.monotonic())
        self.skipped_ms = 0
        self._n_interruptions = 0
        self._n_being_taken = 0
        self._looked_s = 0.0
        self._next_look: asyncio.TimerHandle | None = None
        self._container: ContainerFeed | None = None
        if pipeline.options.audio.encoding == CONTAINER:
            n_apart = pipeline.options.n_channels_apart
            self._container = ContainerFeed(decoders, self._receive_samples, on_container_end, n_apart)

    async def receive(self, data: bytes) -> None:
        """Take audio; wait a while if too much of it waits for finals.

        Raises:
            WrongState: after `stop`; reported once, not fatal.
        """
        if not self._lifecycle.takes_audio:
            if self._lifecycle.note_late_audio():
                raise WrongState("audio after stop", fatal=False)
            return
        if self._next_look is None:
            self._look()
        wait_s = 0.0
        if is_short := self._container is None and len(data) <= PIECE_BYTES:
            wait_s = self._receive_piece(data, time.monotonic())
            if not wait_s and not self._throttle.is_full(self._pipeline.backlog_ms):
                return  # as after nearly every message
        self._n_being_taken += 1
        try:
            if self._container is not None:
                await self._container.push(data)
            elif not is_short:
                await self._receive_in_pieces(memoryview(data))
            elif wait_s:
                await asyncio.sleep(wait_s)
            if self._throttle.is_full(self._pipeline.backlog_ms):
                await self._throttle.wait_for_room()
        finally:
            self._n_being_taken -= 1

    def apply_behind(self, command: Callable[[float], list[Output]]) -> None:
        """Call a method of the pipeline, with the time, behind the audio so far; execute its outputs.

        A container's samples come later than its bytes.
        """
        if self._container is None:
            self._apply(command)
        else:
            self._container.when_decoded(partial(self._apply, command))

    def check_sent(self, before_ms: int, began_at_ms: int) -> None:
        """Check that the audio before `before_ms` can have been sent since the session began, by the Unix clock.

        A recording is sent faster than it lasts, but no faster than audio is taken.

        Raises:
            InvalidMessage: it cannot.
        """
        since_s = max(0.0, time.time() - began_at_ms / 1000) + CLOCKS_DIFFER_S
        sent_s = self._limits.burst_s + self._limits.audio_s_per_s * since_s
        if before_ms > max(self._pipeline.received_ms, sent_s * 1000):
            raise InvalidMessage("resume.audio_from_ms is later than all audio that can have been sent")

    def skip_to(self, at_ms: int) -> Gap | None:
        """Take the next audio for that from `at_ms` on, because the audio before it is lost. Return what is lost.

        None: nothing, because the audio so far ends there or later.
        """
        received_ms = self._pipeline.received_ms
        if at_ms <= received_ms:
            return None
        self._execute(self._pipeline.skip_to(at_ms, time.monotonic()))
        self._clock.skip_to(at_ms)
        self.skipped_ms += at_ms - received_ms
        return Gap(received_ms, at_ms)

    def interrupt(self) -> None:
        """Drop the rest of the message that is being taken.

        A publisher that comes back sees in `ready` how much was taken.
        """
        self._n_interruptions += 1

    def note_answer(self) -> None:
        """Note that a final may have come, and with it room for more audio."""
        self._throttle.note_backlog(self._pipeline.backlog_ms)

    def finish(self, *, disconnected: bool) -> bool:
        """Take no more bytes. Return False if a container's decoder still has samples to give."""
        if self._container is None or self._container.is_done:
            return True
        self._container.finish()
        if disconnected:
            self._container.stop_after(self._limits.last_decoding_s)
        return False

    def drain(self) -> None:
        """Drop the part of a container that is not decoded soon, because the server stops."""
        if self._container is not None:
            self._container.stop_after(self._limits.last_decoding_draining_s)

    def cancel(self) -> None:
        """Drop the part of a container that is not decoded, and look no more for pauses. Nothing waits for it then."""
        if self._next_look is not None:
            self._next_look.cancel()
        if self._container is not None:
            self._container.cancel()

    def _apply(self, command: Callable[[float], list[Output]]) -> None:
        if not self._lifecycle.has_ended:  # here, because another server goes on
            self._execute(command(time.monotonic()))

    def _look(self) -> None:
        """End the open utterance if no audio comes: see `pipeline.arrival`. Runs from the first message on."""
        if not self._lifecycle.takes_audio:
            return
        self._next_look = asyncio.get_running_loop().call_later(LOOK_S, self._look)
        now_s, before_s = time.monotonic(), self._looked_s
        self._looked_s = now_s
        if self._lifecycle.is_parked or self._n_being_taken or now_s - before_s > 2 * LOOK_S:
            # The connection is lost and may come back, or audio waits because of the server.
            self._clock.excuse(now_s)
        elif self._clock.is_overdue(self._pipeline.patience_s(self._limits.patience_in_speech_s), now_s) or (
            self._clock.has_lost_audio and self._pipeline.is_silent
        ):
            begin_ms, outputs = self._pipeline.pause(now_s)
            self._clock.pause(begin_ms)
            self._execute(outputs)

    async def _receive_in_pieces(self, audio: memoryview) -> None:
        n_interruptions = self._n_interruptions
        audio_ms = len(audio) * 1000 // self._pipeline.options.audio.bytes_per_s
        self._clock.receive(self._pipeline.received_ms + audio_ms, time.monotonic())  # all of it is here
        for start in range(0, len(audio), PIECE_BYTES):
            began_s = time.monotonic()
            wait_s = self._receive_piece(audio[start : start + PIECE_BYTES], began_s)
            await self._throttle.hold_back(wait_s, began_s)
            if not self._lifecycle.takes_audio or self._n_interruptions != n_interruptions:
                return

    def _receive_piece(self, audio: bytes | memoryview, now_s: float) -> float:
        """Take up to `PIECE_BYTES`; return for how many seconds no more may be taken."""
        before_ms = self._pipeline.received_ms
        outputs = self._pipeline.receive_audio(audio, now_s)
        received_ms = self._pipeline.received_ms
        self._clock.receive(received_ms, now_s)
        if outputs:
            self._execute(outputs)
        return self._use_allowance(received_ms - before_ms, now_s)

    def _use_allowance(self, audio_ms: int, now_s: float) -> float:
        """Return for how many seconds no more may be taken. A channel that is kept apart costs as much as a stream."""
        return self._throttle.allowance.use(audio_ms / 1000 * (self._pipeline.options.n_channels_apart or 1), now_s)

    async def _receive_samples(self, samples: Samples) -> None:
        began_s = time.monotonic()
        outputs = self._pipeline.receive_samples(samples, began_s)
        self._clock.receive(self._pipeline.received_ms, began_s)
        self._execute(outputs)
        wait_s = self._use_allowance(ms_of(len(samples)), began_s)
        await self._throttle.hold_back(wait_s, began_s)
        if self._throttle.is_full(self._pipeline.backlog_ms):
            await self._throttle.wait_for_room()
