"""The directory of sockets of several processes."""

import os
from pathlib import Path

import pytest

from livecaption.ipc.locks import run_directory
from livecaption.server.parent import directory_of_sockets
from tests.support.stale_workers import NO_PROCESS

OF_ANOTHER_USER = 1


@pytest.fixture(autouse=True)
def own_run_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)


def left_by(pid: int) -> Path:
    directory = run_directory() / f"processes-{pid}-abc"
    directory.mkdir()
    return directory


def test_the_directories_of_killed_parents_are_removed_and_those_of_others_are_left_alone() -> None:
    killed, running = left_by(NO_PROCESS), directory_of_sockets()
    own = directory_of_sockets()
    assert sorted(run_directory().iterdir()) == sorted([running, own])
    assert not killed.exists()


def test_the_number_of_a_killed_parent_may_be_that_of_another_users_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(pid: int, number: int) -> None:
        assert (pid, number) == (OF_ANOTHER_USER, 0)
        raise PermissionError

    monkeypatch.setattr(os, "kill", kill)  # root may send signals to each process
    left, own = left_by(OF_ANOTHER_USER), directory_of_sockets()
    assert sorted(run_directory().iterdir()) == sorted([left, own])
