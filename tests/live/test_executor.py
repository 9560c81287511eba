"""The outputs of a pipeline go where they belong, in order."""

from typing import cast

from livecaption.events import Event, SpeechEnd
from livecaption.live.executor import Executor
from livecaption.live.hub import Hub
from livecaption.live.progress import Progress
from livecaption.live.state import Lifecycle
from livecaption.pipeline.latency import Latency
from livecaption.scheduling.request import Request
from livecaption.workers.pool import WorkerPool
from tests.support.pipeline import feed, new_stream
from tests.support.session_parts import IdleWorkers, gate_of, published_by
from tests.support.transcripts import final


def test_requests_go_to_the_workers_and_events_to_everybody() -> None:
    workers, hub, latencies = IdleWorkers(), Hub(), list[Latency]()
    events: list[Event] = published_by(hub)
    gate, stream = gate_of(hub), new_stream()
    progress = Progress(stream, Lifecycle(), cast(WorkerPool, workers), gate)
    executor = Executor(stream, cast(WorkerPool, workers), gate, progress, latencies.append)
    executor.execute([])
    executor.execute(feed(stream, "silence 300ms, speech 900ms"))
    executor.execute(stream.end("stop", 1.0))
    assert [event.type for event in events] == ["speech_start", "speech_end"]
    assert any(isinstance(request, Request) and request.is_final for request in workers.submitted)
    executor.execute([SpeechEnd(0, 5, "stop"), final("one"), final("two", utterance=1)])
    assert [event.type for event in events[2:]] == ["speech_end", "final", "final"]
