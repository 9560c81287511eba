"""The figures of a device between two looks at it."""

import time

import pytest

from livecaption.engine.vitals import Vitals
from livecaption.recognition import DeviceMemory


def test_the_memory_of_a_device_is_asked_for_once_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU answers tens of batches in a second, and its driver would answer each time."""

    class Gpu:
        n_asked = 0

        def device_memory(self) -> DeviceMemory:
            self.n_asked += 1
            return DeviceMemory(self.n_asked, 9)

    engine, vitals = Gpu(), Vitals()
    seen = []
    for now_s in (100.0, 100.2, 100.9, 101.0, 101.5, 200.0):
        monkeypatch.setattr(time, "monotonic", lambda now_s=now_s: now_s)
        vitals.read(engine)
        seen.append(vitals.device_memory.used_bytes)
    monkeypatch.undo()
    assert seen == [1, 1, 1, 2, 2, 3]
