"""Free memory is the least of the machine's and of what each control group of this process still allows.

In a container the machine's free memory alone is meaningless, because the kernel kills at the container's limit. See
"memory.max" and "memory.stat" in the kernel's cgroup-v2.rst, and its cgroup-v1/memory.rst.
"""

from dataclasses import dataclass
from pathlib import Path

import psutil

from livecaption.workers.groups import MEMBERSHIP, ROOT, groups


@dataclass(frozen=True, slots=True)
class _Names:
    """The files of a control group: its limit, its usage, and the field of `memory.stat` with reclaimable memory."""

    limit: str
    usage: str
    reclaimable: str


# The usage includes file pages that were not accessed lately. The kernel reclaims them before it kills a process.
_V2 = _Names("memory.max", "memory.current", "inactive_file")
_V1 = _Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_UNLIMITED_BYTES = 2**60
"""Version 1 has no word for "no limit"; it gives the largest number of whole pages."""


def free_bytes() -> int:
    """Read how much memory is free now. This takes a fraction of a millisecond."""
    available: int = psutil.virtual_memory().available
    room = room_in_groups(MEMBERSHIP, ROOT)
    return available if room is None else min(available, room)


def room_in_groups(membership: Path, root: Path) -> int | None:
    """Return the bytes up to the nearest limit of a process's control group and its ancestors, or None without limits.

    Args:
        membership: /proc/PID/cgroup.
        root: the directory where control groups are mounted.
    """
    rooms = [
        room
        for group, version in groups("memory", membership, root)
        if (room := _room_in(group, _V2 if version == 2 else _V1)) is not None
    ]
    return min(rooms, default=None)


def _room_in(group: Path, names: _Names) -> int | None:
    """Return the bytes that the group still allows, or None if it has no limit or does not exist."""
    try:
        limit = (group / names.limit).read_text().strip()
        if limit == "max" or int(limit) >= _UNLIMITED_BYTES:
            return None
        used = int((group / names.usage).read_text())
        statistics = dict(line.split(maxsplit=1) for line in (group / "memory.stat").read_text().splitlines())
        return max(0, int(limit) - used + int(statistics.get(names.reclaimable, 0)))
    except (OSError, ValueError):
        return None
