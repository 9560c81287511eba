"""Find the control groups of a process, which bound its memory and its processors.

See cgroup-v2.rst and cgroup-v1/ in the kernel's documentation.
"""

from collections.abc import Iterator
from pathlib import Path

MEMBERSHIP = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")


def groups(controller: str, membership: Path = MEMBERSHIP, root: Path = ROOT) -> Iterator[tuple[Path, int]]:
    """Yield the groups that may have limits, from the innermost up to the mounted one, each with its version, 1 or 2.

    Args:
        controller: `memory` or `cpu`.
        membership: /proc/PID/cgroup.
        root: the directory where control groups are mounted.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, version = root, 2
        elif controller in controllers.split(","):
            mount, version = root / controller, 1
        else:
            continue
        # In a container the path may be the host's, which is not mounted here. Then the mount itself is the group.
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts), -1, -1):
            yield mount.joinpath(*parts[:depth]), version
