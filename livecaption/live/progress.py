"""The regular reports of a session: the audio taken over, its checkpoint, and the state of the server."""

import time
from dataclasses import replace

from livecaption.events import Ack, Final, Status
from livecaption.live.state import Lifecycle
from livecaption.live.store_gate import StoreGate
from livecaption.pipeline.stream import StreamPipeline
from livecaption.workers.pool import PoolState, WorkerPool

CHECKPOINT_INTERVAL_MS = 10_000
"""Silence after which the store gets a checkpoint behind it. Longer, and a client that comes back after the server
has died sends more of it again; it keeps two minutes."""


class Progress:
    """The progress of one session; reports changes only."""

    def __init__(self, pipeline: StreamPipeline, lifecycle: Lifecycle, workers: WorkerPool, gate: StoreGate) -> None:
        self._pipeline = pipeline
        self._lifecycle = lifecycle
        self._workers = workers
        self._gate = gate
        self._acknowledged_ms = self._checkpoint_ms = pipeline.received_ms
        self._status = Status("ready", "on", 0)

    def report(self) -> None:
        """Publish and store all changes since the last time; to be called once a second."""
        if self._pipeline.received_ms != self._acknowledged_ms:
            self._acknowledged_ms = self._pipeline.received_ms
            self._gate.publish(Ack(self._acknowledged_ms))
        if self._pipeline.checkpoint_ms - self._checkpoint_ms >= CHECKPOINT_INTERVAL_MS:
            self._checkpoint_ms = self._pipeline.checkpoint_ms
            self._gate.checkpoint(self._checkpoint_ms)
        self.report_status()

    def report_status(self) -> None:
        """Publish the state of the server, if it changed."""
        status = self._pipeline.status(time.monotonic())
        if self._lifecycle.ends_because("draining"):
            status = replace(status, state="draining")
        elif self._workers.state in (PoolState.RECOVERING, PoolState.FAILED):
            status = replace(status, state="recovering")
        if (status.state, status.partials) != (self._status.state, self._status.partials):
            self._status = status
            self._gate.publish(status)

    def publish_final(self, final: Final) -> None:
        """Publish the newest final, and store the checkpoint with it."""
        self._checkpoint_ms = self._pipeline.checkpoint_ms
        self._gate.publish(final, self._checkpoint_ms)
