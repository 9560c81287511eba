"""Define the interface of an engine: windows in, hypotheses out."""

from collections.abc import Sequence
from typing import Protocol

from livecaption.recognition import DeviceMemory, Hypothesis, ModelDescription, Window


class Engine(Protocol):
    """Transcribes batches of windows. It is in the inference process, and one thread uses it."""

    @property
    def description(self) -> ModelDescription: ...

    def transcribe(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return one hypothesis for each window, in order. Windows may differ in every option.

        Raises:
            TranscriptionFailed: this batch failed; the engine goes on.
            EngineUnusable: the device is lost (a sticky CUDA error); the process must end.
        """
        ...

    def device_memory(self) -> DeviceMemory | None:
        """Return the present memory of its device; None for the CPU, and if the device does not report it."""
        ...
