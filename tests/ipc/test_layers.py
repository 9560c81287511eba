"""The switch that turns off layers of the lifeline, for tests."""

import pytest

from livecaption.ipc.layers import SWITCH, Layer


def test_all_layers_are_active_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    assert [layer for layer in Layer if not layer.active] == []


def test_the_named_ones_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "parent-watch,dead-man")
    assert [layer for layer in Layer if not layer.active] == [Layer.PARENT_WATCH, Layer.DEAD_MAN]
