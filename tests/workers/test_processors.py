"""The processors that a process may use: its affinity, and quotas in files like those of Linux's control groups."""

import os
import sys
from pathlib import Path

import pytest

from livecaption.workers import processors
from livecaption.workers.processors import n_processors, quota_of_groups
from tests.support.cases import for_each


@for_each(
    ("membership", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        (
            "0::/pod/c\n",
            {"pod/c/cpu.max": "max 100000", "pod/cpu.max": "50000 100000", "cpu.max": "400000 100000"},
            0.5,
        ),
        ("0::/docker/0123\n", {"cpu.max": "200000 100000"}, 2.0),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3.0),
        ("1:cpu,cpuacct:/docker/01\n", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "50000"}, 1.0),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("1:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "50000"}, None),
        ("0::/\n", {"cpu.max": "rubbish"}, None),
        ("0::/\n", {"cpu.max": "5 0"}, None),
        ("0::/\n", {}, None),
    ],
)
def test_the_least_quota_counts(tmp_path: Path, membership: str, files: dict[str, str], quota: float | None) -> None:
    for_case = tmp_path / str(len(list(tmp_path.iterdir())))
    for name, content in files.items():
        (for_case / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (for_case / "fs" / name).write_text(f"{content}\n")
    for_case.mkdir(exist_ok=True)
    (for_case / "cgroup").write_text(membership)
    assert quota_of_groups(for_case / "cgroup", for_case / "fs") == quota


@for_each(("affinity", "quota", "expected"), [(8, None, 8), (8, 2.0, 2), (8, 1.5, 2), (8, 0.2, 1), (2, 6.0, 2)])
def test_a_quota_is_rounded_up_and_bounded_by_the_affinity(
    monkeypatch: pytest.MonkeyPatch, affinity: int, quota: float | None, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)))
    monkeypatch.setattr(processors, "quota_of_groups", lambda *_: quota)
    assert n_processors() == expected


@pytest.mark.skipif(sys.platform != "linux", reason="affinity of Linux")
def test_a_process_that_is_bound_to_one_processor_counts_one() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert n_processors() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_nothing_else_counts_the_processors_of_the_machine() -> None:
    package = Path(processors.__file__).parent.parent
    counting = [path.name for path in package.rglob("*.py") if "cpu_count(" in path.read_text()]
    assert counting == ["processors.py"]
