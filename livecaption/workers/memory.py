"""Memory that is left for more streams: of the machine, and of each control group with a limit that holds this process.

In a container the machine's free memory says nothing: the kernel kills at the container's limit. See "memory.max" and
"memory.stat" in the kernel's cgroup-v2.rst, and its cgroup-v1/memory.rst.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class _Names:
    """The files of a control group: its limit, what it uses, and in `memory.stat` what of that can be taken back."""

    limit: str
    usage: str
    reclaimable: str


# Of what is used, file pages that nobody touched for a while are given back before anybody is killed.
_V2 = _Names("memory.max", "memory.current", "inactive_file")
_V1 = _Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_UNLIMITED_BYTES = 2**60
"""Version 1 tells no limit as the largest number of whole pages."""


def free_bytes() -> int:
    """What programs could have, as the system says now. A fraction of a millisecond."""
    available: int = psutil.virtual_memory().available
    room = room_in_groups(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    return available if room is None else min(available, room)


def room_in_groups(membership: Path, root: Path) -> int | None:
    """Bytes up to the nearest limit of a process's control group and those above it; None: none has a limit.

    Args:
        membership: /proc/PID/cgroup.
        root: where control groups are mounted.
    """
    rooms = [room for group, names in _groups(membership, root) if (room := _room_in(group, names)) is not None]
    return min(rooms, default=None)


def _groups(membership: Path, root: Path) -> Iterator[tuple[Path, _Names]]:
    """The groups that may limit memory, from the innermost up to what is mounted."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, names = root, _V2
        elif "memory" in controllers.split(","):
            mount, names = root / "memory", _V1
        else:
            continue
        # In a container the path may be that outside, which is not mounted here; then the mount itself is its group.
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts), -1, -1):
            yield mount.joinpath(*parts[:depth]), names


def _room_in(group: Path, names: _Names) -> int | None:
    """None: it has no limit, or there is no such group."""
    try:
        limit = (group / names.limit).read_text().strip()
        if limit == "max" or int(limit) >= _UNLIMITED_BYTES:
            return None
        used = int((group / names.usage).read_text())
        statistics = dict(line.split(maxsplit=1) for line in (group / "memory.stat").read_text().splitlines())
        return max(0, int(limit) - used + int(statistics.get(names.reclaimable, 0)))
    except (OSError, ValueError):
        return None
