"""The table of figures: one line gives a figure its place in `/v1/stats` and its name in Prometheus."""

from typing import Any

from prometheus_client.core import Metric

from livecaption.server.families import counter, counter_by, gauge
from livecaption.server.figures import (
    FIGURES,
    RECORDING_FIGURES,
    STORE_FIGURES,
    WORKER_FIGURES,
    Figure,
    as_families,
    as_json,
)

ALL: list[Figure[Any]] = [*FIGURES, *RECORDING_FIGURES, *STORE_FIGURES, *WORKER_FIGURES]


def samples(family: Metric) -> list[tuple[str, dict[str, str], float]]:
    return [(sample.name, sample.labels, sample.value) for sample in family.samples]


def test_the_names_in_prometheus_are_those_that_dashboards_use() -> None:
    assert [figure.name for figure in ALL if figure.name] == [
        *("streams", "streams_limit", "streams_accepted", "streams_resumed", "streams_parked"),
        *("readers", "readers_limit", "readers_refused", "streams_refused"),
        *("connections", "connections_opened"),
        *("received_audio_seconds", "transcribed_audio_seconds", "compute_seconds"),
        *("real_time_factor", "worker_utilization_ratio", "waiting_requests", "in_flight_requests"),
        *("batch_size_requests", "partials_asked", "partials"),
        *("partial_interval_seconds", "partials_paused", "partials_paused_seconds"),
        *("finals", "translations", "redone_finals", "runaway_texts"),
        *("recordings", "recordings_accepted", "recordings_failed", "recordings_audio_seconds"),
        *("store_working", "store_waiting_entries", "store_failures", "store_lost_entries"),
        *("store_behind", "store_early_entries", "store_cut_off"),
        *("worker_restarts", "worker_resident_memory_bytes"),
        *("device_memory_used_bytes", "device_memory_total_bytes"),
    ]


def test_the_places_in_the_stats_are_those_that_programs_use() -> None:
    assert [figure.path for figure in ALL if figure.path] == [
        *("streams.open", "streams.limit", "streams.limit_reason", "streams.accepted", "streams.refused"),
        "streams.connections",
        *("received_audio_s", "transcribed_audio_s", "compute_s", "real_time_factor", "utilization"),
        *("queue.finals", "queue.partials", "queue.recorded", "queue.in_flight"),
        *("batches", "partials.asked", "partials"),
        *("pace.partial_interval_ms", "pace.partials_paused_s", "pace.speculates"),
        *("finals", "translations", "redone_finals", "runaway_texts"),
        *("here", "accepted", "failed", "audio_s"),
        *("working", "waiting", "failures", "lost", "behind", "early", "cut_off"),
        *("restarts", "resident_memory_bytes", "device_memory"),
    ]


def test_each_figure_is_in_one_of_the_answers_at_least_and_has_a_help_in_prometheus() -> None:
    assert all(figure.path or figure.kind for figure in ALL)
    assert all(bool(figure.kind) == bool(figure.name) == bool(figure.help) for figure in ALL)


def test_a_figure_stands_at_its_place_and_a_mapping_beside_what_is_there() -> None:
    table: list[Figure[int]] = [
        Figure("n", lambda n: n),
        Figure("of.all", lambda n: n + 1),
        Figure("of", lambda n: {n: n + 2}),
        Figure("", lambda n: n, gauge, "unseen", "Not in the stats"),
    ]
    assert as_json(table, 5) == {"n": 5, "of": {"all": 6, "5": 7}}


def test_a_figure_that_is_not_known_is_null_in_the_stats_and_absent_in_prometheus() -> None:
    table: list[Figure[None]] = [Figure("factor", lambda _: None, gauge, "factor", "Not known yet")]
    assert as_json(table, None) == {"factor": None}
    assert list(as_families(table, None)) == []


def test_a_family_has_the_name_of_the_program_and_a_sample_for_each_label() -> None:
    table: list[Figure[int]] = [
        Figure("", lambda n: n, counter, "calls", "Calls"),
        Figure("", lambda n: {"a": n, "b": 0}, counter_by("of"), "calls_by", "Calls of each"),
    ]
    calls, calls_by = as_families(table, 5)
    assert (calls.type, calls.documentation, samples(calls)) == (
        "counter",
        "Calls",
        [("livecaption_calls_total", {}, 5)],
    )
    assert samples(calls_by) == [
        ("livecaption_calls_by_total", {"of": "a"}, 5),
        ("livecaption_calls_by_total", {"of": "b"}, 0),
    ]
