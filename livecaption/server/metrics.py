"""What the server does, in figures: for Prometheus at `/metrics`, for people at `/v1/stats`.

Counts live with whoever owns what they count (sessions, pool, scheduler, supervisors) and are read when somebody asks.
Only what happens and is gone is told to this module: a latency, the lag of the event loop. Both answers come from the
same places, so they agree. Each `Metrics` has a registry of its own: two applications in one process do not mix.

Used by the event loop only; knows nothing of HTTP.
"""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from livecaption.live.registry import SessionRegistry
from livecaption.pipeline.latency import Latency, LatencyKind
from livecaption.store.transcripts import StoreFigures, TranscriptStore
from livecaption.workers.pool import PoolState, WorkerPool
from livecaption.workers.supervisor import WorkerFigures

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

LATENCIES: dict[LatencyKind, str] = {
    "endpoint": "From the last voiced audio of an utterance to its end by silence",
    "first_partial": "From the first voiced audio of an utterance to its first caption",
    "partial": "From audio to the first partial that shows it; of its oldest and newest audio, the mean",
    "final": "From the last voiced audio of an utterance to its final",
}
LATENCY_BUCKETS_S = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 7, 10, 15, 20, 30)
LAG_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
BATCH_SIZE_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16)
WORKER_STATES = (PoolState.LOADING, PoolState.READY, PoolState.RECOVERING, PoolState.FAILED)

RECENT_S = 60.0
MAX_RECENT = 4096
"""Values kept of the last minute: to sort them takes a millisecond. Forty streams of speakers who never pause make 4800
partials in it; then the newest ones speak for the minute."""
LAG_INTERVAL_S = 0.1
"""Between two looks at the loop. 600 of them in a minute are enough for a 99th percentile."""


class Metrics(Collector):
    """All figures of one application."""

    def __init__(self, pool: WorkerPool, sessions: SessionRegistry, store: TranscriptStore | None) -> None:
        self._pool = pool
        self._sessions = sessions
        self._store = store
        self._registry = CollectorRegistry()
        self._process = ProcessCollector(registry=self._registry)
        self._latencies = {
            kind: Histogram(
                f"livecaption_{kind}_latency_seconds", text, registry=self._registry, buckets=LATENCY_BUCKETS_S
            )
            for kind, text in LATENCIES.items()
        }
        self._lag = Histogram(
            "livecaption_event_loop_lag_seconds",
            "How late the event loop runs what is due",
            registry=self._registry,
            buckets=LAG_BUCKETS_S,
        )
        self._recent_latencies = {kind: Recent() for kind in LATENCIES}
        self._recent_lags = Recent()
        self._recent_work: deque[_Work] = deque([(0.0, 0.0)], maxlen=round(RECENT_S / LAG_INTERVAL_S))
        self._registry.register(self)

    def observe(self, latency: Latency) -> None:
        """Take note of a delay, now."""
        self._latencies[latency.kind].observe(latency.seconds)
        self._recent_latencies[latency.kind].add(_now_s(), latency.seconds)

    @contextmanager
    def watching_loop(self) -> Iterator[None]:
        """Measure the lag of the running event loop until the end of the block."""
        self._look(_now_s())
        try:
            yield
        finally:
            self._next_look.cancel()

    async def exposition(self) -> bytes:
        """Everything in the text format of Prometheus, see `CONTENT_TYPE`."""
        # Read here, where all is owned; put into text beside the loop, which takes twice as long.
        return await asyncio.to_thread(_as_text, list(self._registry.collect()))

    def snapshot(self) -> dict[str, Any]:
        """The same for `/v1/stats`: counts since the start, percentiles and the real-time factor of the last minute."""
        counts, queue, load = self._pool.counts, self._pool.queue, self._pool.load_figures
        now_s = _now_s()
        return {
            "at_s": now_s,
            "state": "draining" if self._sessions.draining else self._pool.state.value,
            "streams": {
                "open": len(self._sessions),
                "limit": self._sessions.limit,
                "accepted": self._sessions.n_accepted,
                "refused": dict(self._sessions.refused),
            },
            "received_audio_s": self._sessions.received_ms / 1000,
            "transcribed_audio_s": counts.audio_s,
            "compute_s": counts.compute_s,
            "real_time_factor": self._real_time_factor(),
            "utilization": load.utilization,
            "queue": {"finals": queue.finals, "partials": queue.partials, "in_flight": queue.in_flight},
            "batches": {str(size): n for size, n in sorted(counts.batch_sizes.items())},
            "partials": {"asked": counts.partials_asked, **self._partials()},
            "pace": {
                "partial_interval_ms": load.level.partial_interval_ms,
                "partials_paused_s": load.paused_s,
                "speculates": load.level.effort == "full",
            },
            "finals": self._finals(),
            "redone_finals": counts.redone,
            "runaway_texts": counts.runaways,
            "store": self._store and asdict(self._store.figures),
            "latencies_s": {
                kind: {"n": recent.count(now_s), **recent.percentiles(now_s, p50=0.5, p95=0.95)}
                for kind, recent in self._recent_latencies.items()
            },
            "event_loop_lag_s": self._recent_lags.percentiles(now_s, p50=0.5, p99=0.99),
            "server": {
                metric.name.removeprefix("process_"): metric.samples[0].value
                for metric in self._process.collect()
                if metric.name in ("process_resident_memory_bytes", "process_cpu_seconds")
            },
            "workers": [_worker_as_json(worker) for worker in self._pool.workers()],
        }

    def collect(self) -> Iterator[Metric]:
        """For the registry: what is read where it is counted."""
        counts, queue, load = self._pool.counts, self._pool.queue, self._pool.load_figures
        yield GaugeMetricFamily("livecaption_streams", "Open streams", len(self._sessions))
        yield GaugeMetricFamily(
            "livecaption_streams_limit", "Streams that could be open just now", self._sessions.limit
        )
        yield CounterMetricFamily("livecaption_streams_accepted", "Streams let in", self._sessions.n_accepted)
        yield CounterMetricFamily(
            "livecaption_streams_resumed", "Times that a publisher came back to a session", self._sessions.n_resumed
        )
        yield GaugeMetricFamily(
            "livecaption_streams_parked", "Open streams whose publisher's connection is lost", self._sessions.n_parked
        )
        yield GaugeMetricFamily("livecaption_readers", "Who reads along, of all sessions", self._sessions.n_readers)
        yield GaugeMetricFamily("livecaption_readers_limit", "Readers that may be here", self._sessions.max_readers)
        yield CounterMetricFamily(
            "livecaption_readers_refused",
            "Readers not let in because there were too many",
            self._sessions.n_readers_refused,
        )
        yield _counter(
            "livecaption_streams_refused",
            "Streams not let in, by error code; a page that asks whether it would be let in counts too",
            "code",
            self._sessions.refused,
        )
        yield CounterMetricFamily(
            "livecaption_received_audio_seconds", "Audio taken over from streams", self._sessions.received_ms / 1000
        )
        yield CounterMetricFamily(
            "livecaption_transcribed_audio_seconds",
            "Audio in transcribed batches, in each partial anew",
            counts.audio_s,
        )
        yield CounterMetricFamily(
            "livecaption_compute_seconds", "Time that workers took for transcribed batches", counts.compute_s
        )
        factor = self._real_time_factor()
        if factor is not None:
            yield GaugeMetricFamily(
                "livecaption_real_time_factor", "Compute time / transcribed audio, of the last minute", factor
            )
        yield GaugeMetricFamily(
            "livecaption_worker_utilization_ratio",
            "Computing per second and worker, of the last seconds; at 1, batches still grow before the queue does",
            load.utilization,
        )
        interval_ms = load.level.partial_interval_ms
        if interval_ms is not None:
            yield GaugeMetricFamily(
                "livecaption_partial_interval_seconds",
                "New audio between two partials of an utterance; absent while they pause",
                interval_ms / 1000,
            )
        yield GaugeMetricFamily(
            "livecaption_partials_paused", "1 while finals are all the workers can do", float(interval_ms is None)
        )
        yield CounterMetricFamily(
            "livecaption_partials_paused_seconds", "How long partials have paused, together", load.paused_s
        )
        yield _gauge(
            "livecaption_waiting_requests",
            "Requests that no worker has yet",
            "kind",
            {"final": queue.finals, "partial": queue.partials},
        )
        yield GaugeMetricFamily(
            "livecaption_in_flight_requests", "Requests that workers have and did not answer", queue.in_flight
        )
        yield HistogramMetricFamily(
            "livecaption_batch_size_requests",
            "Requests in a transcribed batch",
            buckets=_cumulative(counts.batch_sizes),
            sum_value=sum(size * n for size, n in counts.batch_sizes.items()),
        )
        yield CounterMetricFamily("livecaption_partials_asked", "Partials asked of the workers", counts.partials_asked)
        yield _counter("livecaption_partials", "Partials by what became of them", "outcome", self._partials())
        yield _counter("livecaption_finals", "Finals by what became of them", "outcome", self._finals())
        yield CounterMetricFamily("livecaption_redone_finals", "Finals that were decoded twice", counts.redone)
        yield CounterMetricFamily(
            "livecaption_runaway_texts", "Texts that had no end or repeated themselves, at first", counts.runaways
        )
        if self._store is not None:
            yield from _collect_store(self._store.figures)
        yield from self._collect_workers()

    def _collect_workers(self) -> Iterator[Metric]:
        workers = {str(number): worker for number, worker in enumerate(self._pool.workers())}
        states = GaugeMetricFamily(
            "livecaption_worker_state", "1 for the state that the worker is in", labels=("worker", "state")
        )
        for number, worker in workers.items():
            for state in WORKER_STATES:
                states.add_metric((number, state.value), float(worker.state is state))
        yield states
        yield _counter(
            "livecaption_worker_restarts",
            "Inference processes started after the first",
            "worker",
            {number: worker.n_restarts for number, worker in workers.items()},
        )
        yield _gauge(
            "livecaption_worker_resident_memory_bytes",
            "Memory of the inference process",
            "worker",
            {number: w.resident_bytes for number, w in workers.items() if w.resident_bytes is not None},
        )
        memories = {number: w.device_memory for number, w in workers.items() if w.device_memory is not None}
        yield _gauge(
            "livecaption_device_memory_used_bytes",
            "Memory of the worker's GPU that is used, by whomever",
            "worker",
            {number: memory.used_bytes for number, memory in memories.items()},
        )
        yield _gauge(
            "livecaption_device_memory_total_bytes",
            "Memory of the worker's GPU",
            "worker",
            {number: memory.total_bytes for number, memory in memories.items()},
        )

    def _look(self, due_s: float) -> None:
        now_s = _now_s()
        self._lag.observe(now_s - due_s)
        self._recent_lags.add(now_s, now_s - due_s)
        self._recent_work.append((self._pool.counts.audio_s, self._pool.counts.compute_s))
        due_s = now_s + LAG_INTERVAL_S
        self._next_look = asyncio.get_running_loop().call_at(due_s, self._look, due_s)

    def _partials(self) -> dict[str, int]:
        counts, queue = self._pool.counts, self._pool.queue
        return {
            "answered": counts.partials_answered,
            "superseded": queue.superseded,
            "dropped": queue.dropped,
            "failed": counts.partials_failed,
        }

    def _finals(self) -> dict[str, int]:
        return {"answered": self._pool.counts.finals_answered, "failed": self._pool.counts.finals_failed}

    def _real_time_factor(self) -> float | None:
        """Of the last minute; None: nothing was transcribed in it."""
        audio_before_s, compute_before_s = self._recent_work[0]
        audio_s = self._pool.counts.audio_s - audio_before_s
        return (self._pool.counts.compute_s - compute_before_s) / audio_s if audio_s else None


_Work = tuple[float, float]
"""Seconds of audio and of computing, since the start."""


class Recent:
    """Values of the last minute, the newest ones if there are too many."""

    def __init__(self) -> None:
        self._values: deque[tuple[float, float]] = deque(maxlen=MAX_RECENT)

    def add(self, now_s: float, value: float) -> None:
        self._values.append((now_s, value))

    def count(self, now_s: float) -> int:
        self._forget(now_s)
        return len(self._values)

    def percentiles(self, now_s: float, **ranks: float) -> dict[str, float | None]:
        """The smallest value that so great a share does not exceed (nearest rank); None where there are none."""
        self._forget(now_s)
        values = sorted(value for _, value in self._values)
        if not values:
            return dict.fromkeys(ranks)
        return {name: round(values[math.ceil(rank * len(values)) - 1], 4) for name, rank in ranks.items()}

    def _forget(self, now_s: float) -> None:
        while self._values and self._values[0][0] < now_s - RECENT_S:
            self._values.popleft()


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _cumulative(sizes: Counter[int]) -> list[tuple[str, float]]:
    """Buckets of a histogram: how many are at most so large."""
    within = [(str(float(bound)), sum(n for size, n in sizes.items() if size <= bound)) for bound in BATCH_SIZE_BUCKETS]
    return [*within, ("+Inf", sizes.total())]


def _collect_store(figures: StoreFigures) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "livecaption_store_working",
        "1 while transcripts can be stored, 0 since the last try failed",
        float(figures.working),
    )
    yield GaugeMetricFamily(
        "livecaption_store_waiting_entries", "Finals, begins and ends of sessions not yet stored", figures.waiting
    )
    yield CounterMetricFamily("livecaption_store_failures", "Tries to store that failed", figures.failures)
    yield CounterMetricFamily(
        "livecaption_store_lost_entries", "Entries that will never be stored: too many waited", figures.lost
    )


class _Collected(Collector):
    """Figures that were read already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _as_text(families: list[Metric]) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Collected(families))
    return generate_latest(registry)


def _counter(name: str, text: str, label: str, values: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, n in values.items():
        family.add_metric((value,), n)
    return family


def _gauge(name: str, text: str, label: str, values: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for value, n in values.items():
        family.add_metric((value,), n)
    return family


def _worker_as_json(worker: WorkerFigures) -> dict[str, Any]:
    memory = worker.device_memory
    return {
        "state": worker.state.value,
        "restarts": worker.n_restarts,
        "resident_memory_bytes": worker.resident_bytes,
        "device_memory": memory and {"used_bytes": memory.used_bytes, "total_bytes": memory.total_bytes},
    }
