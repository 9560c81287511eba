"""The directory of sockets of several processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from livecaption.ipc.locks import run_directory
from livecaption.server.parent import directory_of_sockets

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_run_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)


def test_the_directory_of_a_killed_parent_is_removed_and_those_of_parents_that_run_are_left_alone() -> None:
    killed = run_directory() / "processes-abc"
    killed.mkdir()
    (killed / "1.socket").touch()
    with directory_of_sockets() as running, directory_of_sockets() as own:
        assert sorted(run_directory().iterdir()) == sorted([running, own])
    assert list(run_directory().iterdir()) == []


def test_the_directory_of_a_parent_is_left_alone_by_one_in_another_container_which_does_not_see_its_process(
    new_pid_namespace: tuple[str, ...],
) -> None:
    program = "from livecaption.server.parent import directory_of_sockets\nwith directory_of_sockets(): pass"
    with directory_of_sockets() as running:
        subprocess.run([*new_pid_namespace, sys.executable, "-c", program], check=True, cwd=ROOT)
        assert list(run_directory().iterdir()) == [running]
