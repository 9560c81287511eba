"""A table of all figures: how each is read, its place in `/v1/stats`, and its name in Prometheus.

Counts belong to the objects that count (sessions, pool, scheduler, supervisors, store), and are read for each request.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from prometheus_client.core import Metric

from livecaption.delivery.sinks import Sinks
from livecaption.live.registry import SessionRegistry
from livecaption.recordings.counts import RecordingCounts
from livecaption.scheduling.instructions import QueueFigures
from livecaption.scheduling.load_control import LoadFigures
from livecaption.server.families import Kind, batch_sizes, counter, counter_by, counter_by_both, gauge, gauge_by
from livecaption.server.keys import Keys
from livecaption.store.store import StoreFigures
from livecaption.workers.counts import WorkCounts
from livecaption.workers.supervisor import WorkerFigures


@dataclass(frozen=True, slots=True)
class Sources:
    """The objects that figures are read from. Each is read once for one answer.

    Attributes:
        real_time_factor: value of the last minute; None if nothing was transcribed in it.
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
        path: its place in `/v1/stats`; empty: it is not in `/v1/stats`. A mapping is merged into an existing object.
        read: returns the present value. None becomes null in `/v1/stats`, and no sample in Prometheus.
        kind, name, help: its family in Prometheus, the name without `livecaption_`. Without a kind it has no family.
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
    Figure("streams.limit", lambda s: s.sessions.limit, gauge, "streams_limit", "Streams that can be open now"),
    Figure("streams.limit_reason", lambda s: s.sessions.limit_reason),
    Figure("streams.accepted", lambda s: s.sessions.n_accepted, counter, "streams_accepted", "Streams accepted"),
    Figure(
        "",
        lambda s: s.sessions.n_resumed,
        counter,
        "streams_resumed",
        "Times that a publisher resumed a session",
    ),
    Figure(
        "",
        lambda s: s.sessions.n_parked,
        gauge,
        "streams_parked",
        "Open streams whose publisher's connection is lost",
    ),
    Figure("", lambda s: s.sessions.n_readers, gauge, "readers", "Readers of all sessions"),
    Figure("", lambda s: s.sessions.max_readers, gauge, "readers_limit", "Readers that can be connected at a time"),
    Figure(
        "",
        lambda s: s.sessions.n_readers_refused,
        counter,
        "readers_refused",
        "Readers refused because too many were connected",
    ),
    Figure(
        "streams.refused",
        lambda s: s.sessions.refused,
        counter_by("code"),
        "streams_refused",
        "Streams refused, by error code; includes pages that only check whether a stream would be accepted",
    ),
    Figure(
        "streams.connections",
        lambda s: s.sessions.connections.n_open,
        gauge_by("protocol"),
        "connections",
        "Open connections of publishers, by protocol",
    ),
    Figure(
        "",
        lambda s: s.sessions.connections.n_opened,
        counter_by("protocol"),
        "connections_opened",
        "Connections that publishers have opened, by protocol",
    ),
    Figure(
        "received_audio_s",
        lambda s: s.sessions.received_ms / 1000,
        counter,
        "received_audio_seconds",
        "Audio received from streams",
    ),
    Figure(
        "transcribed_audio_s",
        lambda s: s.counts.audio_s,
        counter,
        "transcribed_audio_seconds",
        "Audio in transcribed batches; the same audio counts again in each partial",
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
        "Compute time per transcribed audio, in the last minute",
    ),
    Figure(
        "utilization",
        lambda s: s.load.utilization,
        gauge,
        "worker_utilization_ratio",
        "Share of the last seconds that workers computed; at 1, batches grow before the queue does",
    ),
    Figure("queue.finals", lambda s: s.queue.finals),
    Figure("queue.partials", lambda s: s.queue.partials),
    Figure("queue.recorded", lambda s: s.queue.recorded),
    Figure(
        "",
        lambda s: {"final": s.queue.finals, "partial": s.queue.partials, "recorded": s.queue.recorded},
        gauge_by("kind"),
        "waiting_requests",
        "Requests that no worker has yet",
    ),
    Figure(
        "queue.in_flight",
        lambda s: s.queue.in_flight,
        gauge,
        "in_flight_requests",
        "Requests sent to workers and not answered yet",
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
        "Partials requested",
    ),
    Figure("partials", _partials, counter_by("outcome"), "partials", "Partials by outcome"),
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
        "1 while partials are paused because finals take all computing time",
    ),
    Figure(
        "pace.partials_paused_s",
        lambda s: s.load.paused_s,
        counter,
        "partials_paused_seconds",
        "Total time for which partials were paused",
    ),
    Figure("pace.speculates", lambda s: s.load.level.effort == "full"),
    Figure(
        "finals",
        lambda s: {"answered": s.counts.finals_answered, "failed": s.counts.finals_failed},
        counter_by("outcome"),
        "finals",
        "Finals by outcome",
    ),
    Figure(
        "translations",
        lambda s: {"answered": s.counts.translations, "missing": s.counts.translations_missing},
        counter_by("outcome"),
        "translations",
        "Translations of finals by outcome",
    ),
    Figure("redone_finals", lambda s: s.counts.redone, counter, "redone_finals", "Finals that were decoded twice"),
    Figure(
        "runaway_texts",
        lambda s: s.counts.runaways,
        counter,
        "runaway_texts",
        "Texts that did not end or repeated themselves, before they were decoded again",
    ),
)

STORE_FIGURES: tuple[Figure[StoreFigures], ...] = (
    Figure(
        "working",
        lambda store: store.working,
        gauge,
        "store_working",
        "1 while transcripts can be stored, 0 after a failed attempt",
    ),
    Figure(
        "waiting",
        lambda store: store.waiting,
        gauge,
        "store_waiting_entries",
        "Finals, starts and ends of sessions that are not stored yet",
    ),
    Figure("failures", lambda store: store.failures, counter, "store_failures", "Failed attempts to store"),
    Figure(
        "lost",
        lambda store: store.lost,
        counter,
        "store_lost_entries",
        "Entries that were dropped because too many waited",
    ),
    Figure(
        "behind",
        lambda store: store.behind,
        gauge,
        "store_behind",
        "1 while captions are sent before they are stored, because the disk is slow or fails",
    ),
    Figure(
        "early",
        lambda store: store.early,
        counter,
        "store_early_entries",
        "Entries whose captions were sent before they were stored",
    ),
    Figure(
        "cut_off",
        lambda store: store.cut_off,
        gauge,
        "store_cut_off",
        "1 while this server alone does not reach the database that it shares with others",
    ),
)

RECORDING_FIGURES: tuple[Figure[RecordingCounts], ...] = (
    Figure(
        "here",
        lambda counts: counts.n_here,
        gauge_by("protocol"),
        "recordings",
        "Recordings that are received, wait or are transcribed, by protocol",
    ),
    Figure(
        "accepted",
        lambda counts: counts.n_accepted,
        counter_by("protocol"),
        "recordings_accepted",
        "Recordings accepted, by protocol",
    ),
    Figure(
        "failed",
        lambda counts: counts.n_failed,
        counter_by_both("protocol", "code"),
        "recordings_failed",
        "Recordings refused or failed, by protocol and error code",
    ),
    Figure(
        "audio_s",
        lambda counts: {protocol: ms / 1000 for protocol, ms in counts.audio_ms.items()},
        counter_by("protocol"),
        "recordings_audio_seconds",
        "Audio of recordings that was transcribed, by protocol",
    ),
)

SINK_FIGURES: tuple[Figure[Sinks], ...] = (
    Figure("attached", lambda sinks: len(sinks.all), gauge, "sinks", "Services that get captions"),
    Figure("failing", lambda sinks: sinks.n_failing, gauge, "sinks_failing", "Services that do not take them now"),
    Figure("texts", lambda sinks: sinks.texts, counter_by("outcome"), "sink_texts", "Texts for services by outcome"),
)

KEY_FIGURES: tuple[Figure[Keys], ...] = (
    Figure(
        "wrong_tokens", lambda keys: keys.n_wrong, counter, "wrong_tokens", "Tokens of requests that fitted nothing"
    ),
    Figure(
        "streams",
        lambda keys: {account.key.name: account.n_streams for account in keys.in_use},
        gauge_by("key"),
        "key_streams",
        "Streams of the key whose publisher is connected",
    ),
    Figure(
        "audio_s",
        lambda keys: {account.key.name: account.usage.total_ms / 1000 for account in keys.in_use},
        counter_by("key"),
        "key_audio_seconds",
        "Audio received from streams of the key, counted every two seconds",
    ),
    Figure(
        "refused",
        lambda keys: {account.key.name: account.n_refused for account in keys.in_use},
        counter_by("key"),
        "key_streams_refused",
        "Streams refused because of the limits of the key",
    ),
)

WORKER_FIGURES: tuple[Figure[WorkerFigures], ...] = (
    Figure(
        "restarts",
        lambda worker: worker.n_restarts,
        counter_by("worker"),
        "worker_restarts",
        "Inference processes started after the first one",
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
        "Used memory of the worker's GPU, by all processes",
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
    """Return the figures as JSON for `/v1/stats`."""
    tree: dict[str, Any] = {}
    for figure in figures:
        if figure.path:
            *parents, name = figure.path.split(".")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            value = figure.read(source)
            if isinstance(value, Mapping):
                node.setdefault(name, {}).update({str(key): each for key, each in value.items()})
            else:
                node[name] = value
    return tree


def as_families(figures: Iterable[Figure[Source]], source: Source) -> Iterator[Metric]:
    """Yield the figures as families of Prometheus."""
    for figure in figures:
        if figure.kind is not None and (value := figure.read(source)) is not None:
            yield figure.kind(f"livecaption_{figure.name}", figure.help, value)
