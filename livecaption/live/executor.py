"""Executes what the pipeline of a session wants: requests go to the workers, events to the gate."""

from collections.abc import Callable, Sequence

from livecaption.events import Final
from livecaption.live.progress import Progress
from livecaption.live.store_gate import StoreGate
from livecaption.pipeline.latency import Latency
from livecaption.pipeline.stream import Output, StreamPipeline
from livecaption.scheduling.request import Cancel, Request
from livecaption.workers.pool import WorkerPool


class Executor:
    """Executes the outputs of one pipeline.

    Args:
        on_latency: called for each delay that was measured.
    """

    def __init__(
        self,
        pipeline: StreamPipeline,
        workers: WorkerPool,
        gate: StoreGate,
        progress: Progress,
        on_latency: Callable[[Latency], None],
    ) -> None:
        self._pipeline = pipeline
        self._workers = workers
        self._gate = gate
        self._progress = progress
        self._on_latency = on_latency

    def execute(self, outputs: Sequence[Output]) -> None:
        """Execute these in order."""
        if not outputs:
            return  # as after nearly every message
        # Finals released together share one checkpoint, written with the last of them.
        newest_final = next((output for output in reversed(outputs) if isinstance(output, Final)), None)
        for output in outputs:
            if isinstance(output, Request):
                self._workers.submit(output)
            elif isinstance(output, Cancel):
                self._workers.cancel(output)
            elif isinstance(output, Final) and output is newest_final:
                self._progress.publish_final(output)
            else:
                self._gate.publish(output)
        for latency in self._pipeline.take_latencies():
            self._on_latency(latency)
