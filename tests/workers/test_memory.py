"""Free memory under the limits of control groups, with files like those of Linux in a temporary directory."""

from pathlib import Path

import psutil
import pytest

from livecaption.workers.memory import free_bytes, room_in_groups

MIB = 2**20
V1_UNLIMITED = 9223372036854771712


@pytest.fixture
def membership(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "fs"


def v2(group: Path, limit: int | str, used: int, inactive_file: int = 0) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.max").write_text(f"{limit}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon 1\nfile {inactive_file + 7}\ninactive_file {inactive_file}\n")


def v1(group: Path, limit: int, used: int, total_inactive_file: int = 0) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (group / "memory.usage_in_bytes").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"inactive_file 3\ntotal_inactive_file {total_inactive_file}\n")


def test_a_limit_leaves_what_is_not_used_and_what_can_be_taken_back(membership: Path, root: Path) -> None:
    membership.write_text("0::/system.slice/livecaption.service\n")
    v2(root / "system.slice/livecaption.service", 1000 * MIB, used=700 * MIB, inactive_file=100 * MIB)
    assert room_in_groups(membership, root) == 400 * MIB


def test_the_nearest_limit_counts_of_all_groups_up_to_the_mount(membership: Path, root: Path) -> None:
    membership.write_text("0::/pod/container\n")
    v2(root / "pod/container", "max", used=700 * MIB)
    v2(root / "pod", 800 * MIB, used=750 * MIB)
    v2(root, 2000 * MIB, used=1000 * MIB)
    assert room_in_groups(membership, root) == 50 * MIB


@pytest.mark.parametrize("path", ["/", "/../../init", "/docker/0123abcd"])
def test_a_container_that_sees_only_its_own_group_finds_it_at_the_mount(
    path: str, membership: Path, root: Path
) -> None:
    membership.write_text(f"0::{path}\n")
    v2(root, 512 * MIB, used=500 * MIB)
    assert room_in_groups(membership, root) == 12 * MIB


def test_version_1_has_its_own_files(membership: Path, root: Path) -> None:
    membership.write_text("5:devices:/d\n4:cpu,memory:/docker/0123\n1:name=systemd:/a:b\n0::/\n")
    v1(root / "memory/docker/0123", 600 * MIB, used=590 * MIB, total_inactive_file=20 * MIB)
    v1(root / "memory", V1_UNLIMITED, used=900 * MIB)
    assert room_in_groups(membership, root) == 30 * MIB


def test_there_is_never_less_than_nothing_left(membership: Path, root: Path) -> None:
    membership.write_text("0::/a\n")
    v2(root / "a", 100 * MIB, used=101 * MIB)
    assert room_in_groups(membership, root) == 0


def test_without_a_limit_groups_limit_nothing(membership: Path, root: Path) -> None:
    assert room_in_groups(membership, root) is None  # no such file: another system
    membership.write_text("4:memory:/a\n0::/a\n")
    assert room_in_groups(membership, root) is None  # nothing is mounted
    v2(root / "a", "max", used=MIB)
    v1(root / "memory/a", V1_UNLIMITED, used=MIB)
    assert room_in_groups(membership, root) is None


def test_a_file_that_cannot_be_understood_limits_nothing(membership: Path, root: Path) -> None:
    membership.write_text("0::/a\n")
    v2(root / "a", "many", used=MIB)
    assert room_in_groups(membership, root) is None


def test_free_memory_is_no_more_than_that_of_the_machine() -> None:
    assert 0 < free_bytes() <= psutil.virtual_memory().total
