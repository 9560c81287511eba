"""The report of a measurement on a GPU is made from all that was found."""

from datetime import date
from typing import Any

import pytest

from livecaption.evaluation.gpu.report import is_too_late, line, pooled, report

DAY = date(2026, 11, 29)


def row(streams: int, p95_ms: float | None = 900.0, **figures: Any) -> dict[str, Any]:
    times = {"n": 4, "missing": 0, "p50": 600.0, "p95": p95_ms}
    same = {"step": "streams", "streams": streams, "refused": 0, "failed": 0, "wer": 0.05, "client_lag_p99_ms": 2.0}
    usage = {"mean_batch_size": 3.5, "server_cpu_percent": 12.0, "inference_cpu_percent": None}
    return {**same, **usage, "final_ms": times, "word_shown_ms": times, **figures}


def of_a_client(streams: int, latencies_ms: list[float | None], errors: int, lag_ms: float) -> dict[str, Any]:
    play = {
        "word_errors": {"substitutions": errors, "deletions": 0, "insertions": 0, "reference_words": 10},
        "words_shown_ms": [100.0],
        "final_latencies_ms": latencies_ms,
    }
    figures = dict.fromkeys(("mean_batch_size", "rtf", "server_cpu_percent", "inference_cpu_percent"), 0.0)
    figures |= {"server_memory_bytes": 1.0, "inference_memory_bytes": 1.0}
    counts = {"streams": streams, "refused": 1, "failed": 0, "failures": ["b", "a"]}
    return {**figures, **counts, "plays": [play], "client_lag_ms": {"p99": lag_ms}}


def test_the_figures_of_several_clients_are_those_of_all_their_captions() -> None:
    found = pooled([of_a_client(3, [100.0, None], 1, 4.0), of_a_client(2, [300.0], 3, 9.0)])
    assert (found["streams"], found["refused"], found["clips"], found["failures"]) == (5, 2, 2, ["a", "b"])
    assert found["wer"] == pytest.approx(4 / 20)
    assert found["final_ms"] == {"n": 2, "missing": 1, "p50": 100.0, "p95": 300.0}
    assert found["client_lag_p99_ms"] == 9.0


def test_late_or_missing_finals_and_failed_streams_end_the_sweep() -> None:
    assert not is_too_late(row(1, 1500.0))
    assert is_too_late(row(1, 1501.0))
    assert is_too_late(row(1, None))
    assert is_too_late(row(1, failed=1))


def test_a_run_without_any_finding_has_a_heading_only() -> None:
    assert report([], DAY) == "No GPU; ? cores (unknown processor); ; 2026-11-29, `unknown`.\n"


def test_the_heading_names_gpu_driver_versions_date_and_commit() -> None:
    gpu = {"name": "NVIDIA H200", "memory.total": "143771", "compute_cap": "9.0", "driver_version": "580.1"}
    found = {"gpus": [gpu], "driver_cuda": "13.0", "cores": 16, "processor": "Xeon", "commit": "abc1234"}
    heading = report([{"step": "environment", "versions": {"ctranslate2": "4.8.5"}, **found}], DAY)
    assert heading == (
        "NVIDIA H200 (143771 MiB, capability 9.0, driver 580.1, CUDA 13.0); 16 cores (Xeon); ctranslate2 4.8.5; "
        "2026-11-29, `abc1234`.\n"
    )


def test_texts_are_compared_with_those_of_the_cpu() -> None:
    common = {"step": "accuracy", "wer": 0.031, "n_empty": 0, "n_redone": 1}
    tables = report(
        [
            {**common, "device": "cpu", "compute_type": "int8", "texts": {"a": "one", "b": "two"}},
            {**common, "device": "cuda:0", "compute_type": "float16", "texts": {"a": "one", "b": ""}, "n_empty": 1},
            {"step": "accuracy", "refused": "Compute type 'bfloat16' does not work"},
        ],
        DAY,
    )
    assert "| cpu, int8 | 3.1 % | 2 of 2 | 0 | 1 |" in tables
    assert "| cuda:0, float16 | 3.1 % | 1 of 2 | 1 | 1 |" in tables
    assert "| accuracy: not finished | Compute type 'bfloat16' does not work |" in tables


def test_speeds_of_batches_are_in_a_row_for_each_size() -> None:
    found = [
        {"step": "batches", "kind": kind, "batch": size, "windows_per_s": speed}
        for kind, size, speed in (("final", 1, 10.0), ("final", 8, 40.0), ("partial", 1, 20.0))
    ]
    tables = report(found, DAY)
    assert "| 1 | 10.0 | 20.0 |" in tables
    assert "| 8 | 40.0 | - |" in tables


def test_the_most_streams_in_time_are_those_before_the_late_ones() -> None:
    tables = report([row(32), row(128, 2600.0), row(64, 1400.0)], DAY)
    assert "| streams with p95 of finals up to 1.5 s, of those tried | 64 |" in tables
    assert "| 128 | 0.60 / 2.60 s | 0.60 / 2.60 s | 5.0 % | 3.5 | 12 + - | 2 ms | 0 |" in tables
    assert tables.index("\n| 64 |") < tables.index("\n| 128 |")


def test_loads_kills_and_problems_are_in_one_table() -> None:
    tables = report(
        [
            {"step": "load", "load_s": 19.2, "model": "tiny.en", "device": "cuda:0", "compute_type": "float16"},
            {"step": "load", "batch": 8, "first_batch_s": 1.25, "second_batch_s": 0.08},
            {"step": "load again", "load_s": 0.9, "model": "tiny.en", "device": "cuda:0", "compute_type": "float16"},
            {"step": "kill", "killed": "worker", "ready_again_s": 2.5}
            | {f"{name}_bytes": n * 2**20 for name, n in (("used_before", 4), ("used", 900), ("used_again", 901))},
            {"step": "kill", "killed": "server", "worker_gone_s": 0.012, "memory_free_s": None},
            {"step": "batches", "problem": "exit code -6: a | b"},
        ],
        DAY,
    )
    for expected in (
        "| model and device | tiny.en, cuda:0, float16 |",
        "| load, caches empty | 19.2 s |",
        "| first / second batch of 8, caches empty | 1.2 s / 80 ms |",
        "| load, once more | 900 ms |",
        "| inference process killed: ready again after | 2.5 s |",
        "| memory before / loaded / after that | 4 MiB / 900 MiB / 901 MiB |",
        "| server killed: inference process gone after | 12 ms |",
        "| memory free after | not seen |",
        "| batches: not finished | exit code -6: a / b |",
    ):
        assert expected in tables


def test_a_finding_is_one_line_without_the_texts() -> None:
    shown = line({"step": "accuracy", "wer": 0.0312345, "texts": {"a": "secret"}, "more": {"n": 1, "ms": 2.0}})
    assert shown == "accuracy     wer: 0.03123, more: {n: 1, ms: 2}"
