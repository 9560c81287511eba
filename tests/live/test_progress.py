"""A session reports its progress once a second."""

from typing import cast

import pytest

from livecaption.events import Ack, Event, Status
from livecaption.live.hub import Hub
from livecaption.live.progress import CHECKPOINT_INTERVAL_MS, Progress
from livecaption.live.state import Ending, Lifecycle
from livecaption.live.store_gate import StoreGate
from livecaption.pipeline.stream import StreamPipeline
from livecaption.workers.pool import PoolState, WorkerPool
from tests.support.pipeline import feed, new_stream
from tests.support.session_parts import IdleWorkers, gate_of, published_by
from tests.support.transcripts import final


class Session:
    """A pipeline whose progress is reported."""

    def __init__(self) -> None:
        self.pipeline: StreamPipeline = new_stream()
        self.lifecycle = Lifecycle()
        self.workers = IdleWorkers()
        hub = Hub()
        self.events: list[Event] = published_by(hub)
        self.gate = gate_of(hub)
        self.progress = Progress(self.pipeline, self.lifecycle, cast(WorkerPool, self.workers), self.gate)

    def reports(self) -> list[Event]:
        self.events.clear()
        self.progress.report()
        return self.events.copy()


def test_audio_is_acknowledged_where_some_has_come() -> None:
    session = Session()
    assert session.reports() == []
    feed(session.pipeline, "silence 300ms")
    assert session.reports() == [Ack(300)]
    assert session.reports() == []


@pytest.mark.parametrize("state", [PoolState.RECOVERING, PoolState.FAILED])
def test_a_change_of_the_workers_is_reported_once_and_so_is_its_end(state: PoolState) -> None:
    session = Session()
    session.workers.state = state
    assert session.reports() == [Status("recovering", "on", 0)]
    assert session.reports() == []
    session.workers.state = PoolState.READY
    assert session.reports() == [Status("ready", "on", 0)]


def test_a_stop_of_the_server_is_reported_in_each_state_of_the_workers() -> None:
    session = Session()
    session.workers.state = PoolState.RECOVERING
    session.lifecycle.end_audio(Ending("draining"))
    assert session.reports() == [Status("draining", "on", 0)]


def test_silence_is_checkpointed_now_and_then_and_a_final_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stored: list[int | None] = []
    session = Session()
    monkeypatch.setattr(StoreGate, "checkpoint", lambda _, checkpoint_ms: stored.append(checkpoint_ms))
    monkeypatch.setattr(StoreGate, "publish", lambda _, event, checkpoint_ms=None: stored.append(checkpoint_ms))
    feed(session.pipeline, f"silence {CHECKPOINT_INTERVAL_MS}ms")
    session.progress.report()
    assert [checkpoint_ms for checkpoint_ms in stored if checkpoint_ms is not None] == []
    feed(session.pipeline, "silence 1000ms")
    session.progress.report()
    session.progress.report()
    session.progress.publish_final(final("One."))
    assert [checkpoint_ms for checkpoint_ms in stored if checkpoint_ms is not None] == [
        session.pipeline.checkpoint_ms
    ] * 2
