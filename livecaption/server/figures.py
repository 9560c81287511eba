"""What the server counts, as a table: where each figure is read, its place in `/v1/stats` and its name in Prometheus.

Counts live with their owners (sessions, pool, scheduler, supervisors, store) and are read when somebody asks.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from livecaption.live.registry import SessionRegistry
from livecaption.scheduling.load_control import LoadFigures
from livecaption.scheduling.scheduler import QueueFigures
from livecaption.store.transcripts import StoreFigures
from livecaption.workers.pool import WorkCounts
from livecaption.workers.supervisor import WorkerFigures

BATCH_SIZE_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16)

Kind = Callable[[str, str, Any], Metric]
"""What makes a family of Prometheus of a name, a help text and a value."""


def gauge(name: str, text: str, value: float) -> Metric:
    """Make a family of what goes up and down."""
    return GaugeMetricFamily(name, text, value)


def counter(name: str, text: str, value: float) -> Metric:
    """Make a family of what only grows."""
    return CounterMetricFamily(name, text, value)


def gauge_by(label: str) -> Kind:
    """Make gauges that a label tells apart; their value is a mapping."""
    return lambda name, text, values: _labelled(GaugeMetricFamily(name, text, labels=(label,)), values)


def counter_by(label: str) -> Kind:
    """Make counters that a label tells apart; their value is a mapping."""
    return lambda name, text, values: _labelled(CounterMetricFamily(name, text, labels=(label,)), values)


def batch_sizes(name: str, text: str, sizes: Mapping[int, int]) -> Metric:
    """Make a histogram of how many batches had so many requests."""
    buckets: list[tuple[str, float]] = [
        (str(float(bound)), sum(n for size, n in sizes.items() if size <= bound)) for bound in BATCH_SIZE_BUCKETS
    ]
    buckets.append(("+Inf", sum(sizes.values())))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=sum(size * n for size, n in sizes.items()))


def _labelled(family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[str, float]) -> Metric:
    for value, n in values.items():
        family.add_metric((value,), n)
    return family


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the figures of the whole server are read, each read once for one answer.

    Attributes:
        real_time_factor: of the last minute; None: nothing was transcribed in it.
    """

    sessions: SessionRegistry
    counts: WorkCounts
    queue: QueueFigures
    load: LoadFigures
    real_time_factor: float | None


Source = TypeVar("Source")


@dataclass(frozen=True, slots=True)
class Figure(Generic[Source]):
    """One figure, for both answers.

    Attributes:
        path: its place in `/v1/stats`; empty: it is not there. A mapping is merged into what its place has already.
        read: gives its value now; None: there is none, which is null there and no sample in Prometheus.
        kind, name, help: its family in Prometheus, the name without `livecaption_`; without a kind it is not there.
    """

    path: str
    read: Callable[[Source], Any]
    kind: Kind | None = None
    name: str = ""
    help: str = ""


def _partials(sources: Sources) -> dict[str, int]:
    counts, queue = sources.counts, sources.queue
    return {
        "answered": counts.partials_answered,
        "superseded": queue.superseded,
        "dropped": queue.dropped,
        "failed": counts.partials_failed,
    }


def _in_seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000


FIGURES: tuple[Figure[Sources], ...] = (
    Figure("streams.open", lambda s: len(s.sessions), gauge, "streams", "Open streams"),
    Figure("streams.limit", lambda s: s.sessions.limit, gauge, "streams_limit", "Streams that could be open just now"),
    Figure("streams.accepted", lambda s: s.sessions.n_accepted, counter, "streams_accepted", "Streams let in"),
    Figure(
        "",
        lambda s: s.sessions.n_resumed,
        counter,
        "streams_resumed",
        "Times that a publisher came back to a session",
    ),
    Figure(
        "",
        lambda s: s.sessions.n_parked,
        gauge,
        "streams_parked",
        "Open streams whose publisher's connection is lost",
    ),
    Figure("", lambda s: s.sessions.n_readers, gauge, "readers", "Who reads along, of all sessions"),
    Figure("", lambda s: s.sessions.max_readers, gauge, "readers_limit", "Readers that may be here"),
    Figure(
        "",
        lambda s: s.sessions.n_readers_refused,
        counter,
        "readers_refused",
        "Readers not let in because there were too many",
    ),
    Figure(
        "streams.refused",
        lambda s: s.sessions.refused,
        counter_by("code"),
        "streams_refused",
        "Streams not let in, by error code; a page that asks whether it would be let in counts too",
    ),
    Figure(
        "received_audio_s",
        lambda s: s.sessions.received_ms / 1000,
        counter,
        "received_audio_seconds",
        "Audio taken over from streams",
    ),
    Figure(
        "transcribed_audio_s",
        lambda s: s.counts.audio_s,
        counter,
        "transcribed_audio_seconds",
        "Audio in transcribed batches, in each partial anew",
    ),
    Figure(
        "compute_s",
        lambda s: s.counts.compute_s,
        counter,
        "compute_seconds",
        "Time that workers took for transcribed batches",
    ),
    Figure(
        "real_time_factor",
        lambda s: s.real_time_factor,
        gauge,
        "real_time_factor",
        "Compute time / transcribed audio, of the last minute",
    ),
    Figure(
        "utilization",
        lambda s: s.load.utilization,
        gauge,
        "worker_utilization_ratio",
        "Computing per second and worker, of the last seconds; at 1, batches still grow before the queue does",
    ),
    Figure("queue.finals", lambda s: s.queue.finals),
    Figure("queue.partials", lambda s: s.queue.partials),
    Figure(
        "",
        lambda s: {"final": s.queue.finals, "partial": s.queue.partials},
        gauge_by("kind"),
        "waiting_requests",
        "Requests that no worker has yet",
    ),
    Figure(
        "queue.in_flight",
        lambda s: s.queue.in_flight,
        gauge,
        "in_flight_requests",
        "Requests that workers have and did not answer",
    ),
    Figure(
        "batches",
        lambda s: dict(sorted(s.counts.batch_sizes.items())),
        batch_sizes,
        "batch_size_requests",
        "Requests in a transcribed batch",
    ),
    Figure(
        "partials.asked",
        lambda s: s.counts.partials_asked,
        counter,
        "partials_asked",
        "Partials asked of the workers",
    ),
    Figure("partials", _partials, counter_by("outcome"), "partials", "Partials by what became of them"),
    Figure("pace.partial_interval_ms", lambda s: s.load.level.partial_interval_ms),
    Figure(
        "",
        lambda s: _in_seconds(s.load.level.partial_interval_ms),
        gauge,
        "partial_interval_seconds",
        "New audio between two partials of an utterance; absent while they pause",
    ),
    Figure(
        "",
        lambda s: s.load.level.partial_interval_ms is None,
        gauge,
        "partials_paused",
        "1 while finals are all the workers can do",
    ),
    Figure(
        "pace.partials_paused_s",
        lambda s: s.load.paused_s,
        counter,
        "partials_paused_seconds",
        "How long partials have paused, together",
    ),
    Figure("pace.speculates", lambda s: s.load.level.effort == "full"),
    Figure(
        "finals",
        lambda s: {"answered": s.counts.finals_answered, "failed": s.counts.finals_failed},
        counter_by("outcome"),
        "finals",
        "Finals by what became of them",
    ),
    Figure("redone_finals", lambda s: s.counts.redone, counter, "redone_finals", "Finals that were decoded twice"),
    Figure(
        "runaway_texts",
        lambda s: s.counts.runaways,
        counter,
        "runaway_texts",
        "Texts that had no end or repeated themselves, at first",
    ),
)

STORE_FIGURES: tuple[Figure[StoreFigures], ...] = (
    Figure(
        "working",
        lambda store: store.working,
        gauge,
        "store_working",
        "1 while transcripts can be stored, 0 since the last try failed",
    ),
    Figure(
        "waiting",
        lambda store: store.waiting,
        gauge,
        "store_waiting_entries",
        "Finals, begins and ends of sessions not yet stored",
    ),
    Figure("failures", lambda store: store.failures, counter, "store_failures", "Tries to store that failed"),
    Figure(
        "lost",
        lambda store: store.lost,
        counter,
        "store_lost_entries",
        "Entries that will never be stored: too many waited",
    ),
)

WORKER_FIGURES: tuple[Figure[WorkerFigures], ...] = (
    Figure(
        "restarts",
        lambda worker: worker.n_restarts,
        counter_by("worker"),
        "worker_restarts",
        "Inference processes started after the first",
    ),
    Figure(
        "resident_memory_bytes",
        lambda worker: worker.resident_bytes,
        gauge_by("worker"),
        "worker_resident_memory_bytes",
        "Memory of the inference process",
    ),
    Figure("device_memory", lambda worker: worker.device_memory and asdict(worker.device_memory)),
    Figure(
        "",
        lambda worker: worker.device_memory and worker.device_memory.used_bytes,
        gauge_by("worker"),
        "device_memory_used_bytes",
        "Memory of the worker's GPU that is used, by whomever",
    ),
    Figure(
        "",
        lambda worker: worker.device_memory and worker.device_memory.total_bytes,
        gauge_by("worker"),
        "device_memory_total_bytes",
        "Memory of the worker's GPU",
    ),
)


def as_json(figures: Iterable[Figure[Source]], source: Source) -> dict[str, Any]:
    """Give the figures as `/v1/stats` has them."""
    tree: dict[str, Any] = {}
    for figure in figures:
        if figure.path:
            *parents, name = figure.path.split(".")
            place = tree
            for parent in parents:
                place = place.setdefault(parent, {})
            value = figure.read(source)
            if isinstance(value, Mapping):
                place.setdefault(name, {}).update({str(key): each for key, each in value.items()})
            else:
                place[name] = value
    return tree


def as_families(figures: Iterable[Figure[Source]], source: Source) -> Iterator[Metric]:
    """Give the figures as Prometheus has them."""
    for figure in figures:
        if figure.kind is not None and (value := figure.read(source)) is not None:
            yield figure.kind(f"livecaption_{figure.name}", figure.help, value)
