"""The server's figures, for Prometheus at `/metrics` and as JSON at `/v1/stats`.

Counts belong to the objects that count (sessions, pool, scheduler, supervisors), and are read for each request. Only
measurements are reported to this module: latencies, and the lag of the event loop. Both answers are built from one
table, so they agree. Each `Metrics` has its own registry, so that two applications in one process do not mix.

Used by the event loop only; has no HTTP in it.
"""

import asyncio
import math
import platform
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from livecaption import __version__
from livecaption.delivery.sinks import Sinks
from livecaption.events import PROTOCOL_VERSION
from livecaption.live.registry import SessionRegistry
from livecaption.pipeline.latency import Latency, LatencyKind
from livecaption.recordings.counts import RecordingCounts
from livecaption.server.figures import (
    FIGURES,
    KEY_FIGURES,
    RECORDING_FIGURES,
    SINK_FIGURES,
    STORE_FIGURES,
    WORKER_FIGURES,
    Sources,
    as_families,
    as_json,
)
from livecaption.server.keys import Keys
from livecaption.server.merging import Families
from livecaption.store.store import Store
from livecaption.workers.pool import PoolState, WorkerPool

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
BUILD = {
    "version": __version__,
    "protocol": str(PROTOCOL_VERSION),
    "python": platform.python_version(),
    "system": f"{platform.system()} {platform.machine()}",
}

LATENCIES: dict[LatencyKind, str] = {
    "endpoint": "Time from the last voiced audio of an utterance to its endpoint",
    "first_partial": "Time from the first voiced audio of an utterance to its first caption",
    "partial": "Time from audio to the first partial that shows it, mean of its oldest and newest audio",
    "final": "Time from the last voiced audio of an utterance to its final",
}
LATENCY_BUCKETS_S = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 7, 10, 15, 20, 30)
LAG_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
WORKER_STATES = (PoolState.LOADING, PoolState.READY, PoolState.RECOVERING, PoolState.FAILED)

RECENT_S = 60.0
MAX_RECENT = 4096
"""Values kept of the last minute; sorting them takes a millisecond. Forty streams of speech without pauses produce 4800
partials a minute; then the newest values represent the minute."""
LAG_INTERVAL_S = 0.1
"""Interval of the lag measurements. 600 of them in a minute are enough for a 99th percentile."""


class Metrics(Collector):
    """All figures of one application."""

    def __init__(
        self,
        pool: WorkerPool,
        sessions: SessionRegistry,
        recordings: RecordingCounts,
        store: Store | None,
        keys: Keys,
        sinks: Sinks,
    ) -> None:
        self._pool = pool
        self._sessions = sessions
        self._recordings = recordings
        self._store = store
        self._keys = keys
        self._sinks = sinks
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
            "Delay of the event loop after the time at which a callback was due",
            registry=self._registry,
            buckets=LAG_BUCKETS_S,
        )
        self._recent_latencies = {kind: Recent() for kind in LATENCIES}
        self._recent_lags = Recent()
        self._recent_work: deque[_Work] = deque([(0.0, 0.0)], maxlen=round(RECENT_S / LAG_INTERVAL_S))
        self._registry.register(self)
        self.certificate_expiry: Callable[[], datetime | None] = lambda: None
        """Returns the end of the validity of the server's certificate; None: unknown, or there is none."""

    def observe(self, latency: Latency) -> None:
        """Record a latency that was measured now."""
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
        """Return all figures in the text format of Prometheus, see `CONTENT_TYPE`."""
        # Read the figures in the loop, which owns them. Format them in a thread, because that takes twice as long.
        return await asyncio.to_thread(_as_text, list(self._registry.collect()))

    def families(self) -> Families:
        """Return all figures as families of Prometheus that can be written as JSON."""
        return [
            {
                "name": metric.name,
                "type": metric.type,
                "help": metric.documentation,
                "samples": [[sample.name, sample.labels, sample.value] for sample in metric.samples],
            }
            for metric in self._registry.collect()
        ]

    def snapshot(self) -> dict[str, Any]:
        """Return the figures for `/v1/stats`: counts since the start, and percentiles of the last minute."""
        now_s = _now_s()
        return {
            "at_s": now_s,
            "state": "draining" if self._sessions.draining else self._pool.state.value,
            **as_json(FIGURES, self._sources()),
            "recordings": as_json(RECORDING_FIGURES, self._recordings),
            "store": self._store and as_json(STORE_FIGURES, self._store.figures),
            "keys": as_json(KEY_FIGURES, self._keys),
            "sinks": as_json(SINK_FIGURES, self._sinks),
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
            "workers": [
                {"state": worker.state.value, **as_json(WORKER_FIGURES, worker)} for worker in self._pool.workers()
            ],
        }

    def collect(self) -> Iterator[Metric]:
        """Yield the families of Prometheus for the figures that other objects count."""
        yield InfoMetricFamily("livecaption_build", "The program: 1, with its versions as labels", BUILD)
        if (expiry := self.certificate_expiry()) is not None:
            yield GaugeMetricFamily(
                "livecaption_certificate_expiry_timestamp_seconds",
                "End of the validity of the certificate, in seconds since 1970",
                expiry.timestamp(),
            )
        yield from as_families(FIGURES, self._sources())
        yield from as_families(RECORDING_FIGURES, self._recordings)
        if self._store is not None:
            yield from as_families(STORE_FIGURES, self._store.figures)
        yield from as_families(KEY_FIGURES, self._keys)
        yield from as_families(SINK_FIGURES, self._sinks)
        workers = {str(number): worker for number, worker in enumerate(self._pool.workers())}
        states = GaugeMetricFamily(
            "livecaption_worker_state", "1 for the present state of the worker, else 0", labels=("worker", "state")
        )
        for number, worker in workers.items():
            for state in WORKER_STATES:
                states.add_metric((number, state.value), float(worker.state is state))
        yield states
        for figure in WORKER_FIGURES:
            if figure.kind is not None:
                values = {number: figure.read(worker) for number, worker in workers.items()}
                known = {number: value for number, value in values.items() if value is not None}
                yield figure.kind(f"livecaption_{figure.name}", figure.help, known)

    def _sources(self) -> Sources:
        pool = self._pool
        return Sources(self._sessions, pool.counts, pool.queue, pool.load_figures, self._real_time_factor())

    def _look(self, due_s: float) -> None:
        now_s = _now_s()
        self._lag.observe(now_s - due_s)
        self._recent_lags.add(now_s, now_s - due_s)
        self._recent_work.append((self._pool.counts.audio_s, self._pool.counts.compute_s))
        due_s = now_s + LAG_INTERVAL_S
        self._next_look = asyncio.get_running_loop().call_at(due_s, self._look, due_s)

    def _real_time_factor(self) -> float | None:
        """Return the real-time factor of the last minute, or None if nothing was transcribed in it."""
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
        """Return the percentiles by nearest rank; each is None if there are no values.

        Args:
            now_s: time of the event loop.
            ranks: name and share (0 to 1) of each percentile.
        """
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


class _Collected(Collector):
    """A collector of families that were read before."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


async def exposition_of(families: Families) -> bytes:
    """Return these families in the text format of Prometheus, see `CONTENT_TYPE`."""
    return await asyncio.to_thread(_as_text, [_metric(family) for family in families])


def _metric(family: dict[str, Any]) -> Metric:
    metric = Metric(family["name"], family["help"], family["type"])
    for name, labels, value in family["samples"]:
        metric.add_sample(name, labels, value)
    return metric


def _as_text(families: list[Metric]) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Collected(families))
    return generate_latest(registry)
