"""Users of a system."""

import pwd

import pytest


def without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a user who is not in the system's list and has no HOME, as in many containers."""

    def unknown(_: int) -> None:
        raise KeyError("uid not found")

    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
