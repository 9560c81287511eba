"""The steps that measure a whole server, here one with the scripted engine."""

from pathlib import Path
from typing import Any

import pytest

from livecaption.evaluation.gpu import server
from livecaption.evaluation.gpu.step import StepSettings
from tests.support.cases import for_each


@pytest.fixture(autouse=True)
def scripted_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVECAPTION_ENGINE", "scripted")


@for_each(
    ("held", "late", "expected"),
    [
        (0, None, 128),
        (128, None, 256),
        (512, 1024, 768),
        (768, 1024, 896),
        (960, 1024, None),
        (0, 128, 64),
        (1, 2, None),
    ],
)
def test_streams_are_doubled_and_then_searched_between_enough_and_too_many(
    held: int, late: int | None, expected: int | None
) -> None:
    assert server.next_streams(held, late, first=128) == expected


def test_the_search_of_streams_ends_where_finals_come_too_late(
    short_recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch takes 2 s, so the first number is too many already. Two clients share its streams."""
    monkeypatch.setenv("LIVECAPTION_MODEL", "delay 2")
    monkeypatch.setattr(server, "CLIENT_STREAMS", 1)
    monkeypatch.setattr(server, "PRECISION", 1.0)
    monkeypatch.setattr(server, "DURATION_S", 7.0)
    found: list[dict[str, Any]] = []
    server.streams(StepSettings("cpu", data=short_recordings, limit_s=60.0), found.append)
    assert [row["streams"] for row in found] == [2]
    assert found[0]["final_ms"]["p95"] > 1500
    assert found[0]["failed"] == 0


def test_no_more_streams_are_tried_than_there_is_time_for() -> None:
    found: list[dict[str, Any]] = []
    server.streams(StepSettings("cpu", limit_s=20.0), found.append)
    assert found == [{"ended": "no time for more streams"}]


def test_after_a_kill_the_worker_is_replaced_and_its_memory_is_free() -> None:
    found: list[dict[str, Any]] = []
    server.kill(StepSettings("cpu"), found.append)
    worker, whole = found
    assert worker["killed"] == "worker"
    assert worker["used_before_bytes"] == 0
    assert worker["used_bytes"] > 10 * 2**20
    assert worker["used_again_bytes"] > 10 * 2**20
    assert worker["ready_again_s"] > 0
    assert whole["killed"] == "server"
    assert whole["used_after_bytes"] == 0
    assert 0 < whole["worker_gone_s"] <= whole["memory_free_s"]
