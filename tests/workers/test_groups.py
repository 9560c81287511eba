"""The control groups of a process, in both versions."""

from pathlib import Path

from livecaption.workers.groups import groups


def test_the_groups_are_those_of_the_controller_from_the_innermost_to_the_mounted_one(tmp_path: Path) -> None:
    membership, root = tmp_path / "cgroup", Path("/fs")
    membership.write_text("4:cpuacct,cpu:/pod/c\n3:cpuset:/\n2:memory:/m\n0::/unified\n")
    assert list(groups("cpu", membership, root)) == [
        *((Path("/fs/cpu") / group, 1) for group in ("pod/c", "pod", "")),
        *((Path("/fs") / group, 2) for group in ("unified", "")),
    ]
    assert [group for group, version in groups("memory", membership, root) if version == 1] == [
        Path("/fs/memory/m"),
        Path("/fs/memory"),
    ]


def test_a_system_without_control_groups_has_none(tmp_path: Path) -> None:
    assert list(groups("cpu", tmp_path / "missing", tmp_path)) == []
