"""Count the processors that this process may use, which are often fewer than the machine has.

Its affinity (`taskset`, `docker run --cpuset-cpus`, `CPUAffinity=` of systemd) names some of them. A quota of its
control groups (`docker run --cpus`, `CPUQuota=`, limits of Kubernetes) gives it a share of their time. See "cpu.max" in
the kernel's cgroup-v2.rst, and its scheduler/sched-bwc.rst. More threads than that would only wait for each other.
"""

import math
import os
from pathlib import Path

from livecaption.workers.groups import MEMBERSHIP, ROOT, groups


def n_processors() -> int:
    """Return how many processors this process may use: at least 1. A quota is rounded up, as Go and Java do."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = quota_of_groups(MEMBERSHIP, ROOT)
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def quota_of_groups(membership: Path, root: Path) -> float | None:
    """Return the least quota of a process's control group and its ancestors, in processors, or None without one.

    Args:
        membership: /proc/PID/cgroup.
        root: the directory where control groups are mounted.
    """
    quotas = [
        quota
        for group, version in groups("cpu", membership, root)
        if (quota := _quota_v2(group) if version == 2 else _quota_v1(group)) is not None
    ]
    return min(quotas, default=None)


def _quota_v2(group: Path) -> float | None:
    try:
        quota_us, period_us = (group / "cpu.max").read_text().split()
        return None if quota_us == "max" else int(quota_us) / int(period_us)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(group: Path) -> float | None:
    try:
        quota_us = int((group / "cpu.cfs_quota_us").read_text())  # -1: no quota
        return quota_us / int((group / "cpu.cfs_period_us").read_text()) if quota_us > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
