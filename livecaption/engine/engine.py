"""What an engine is: windows in, hypotheses out."""

from collections.abc import Sequence
from typing import Protocol

from livecaption.recognition import DeviceMemory, Hypothesis, ModelDescription, Window


class Engine(Protocol):
    """Transcribes batches of windows. Lives in the inference process and is used by one thread."""

    @property
    def description(self) -> ModelDescription: ...

    def transcribe(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """One hypothesis for each window, in order. Windows may differ in every option.

        Raises:
            TranscriptionFailed: this batch failed; the engine lives.
            EngineUnusable: the device is lost (a sticky CUDA error); the process must end.
        """
        ...

    def device_memory(self) -> DeviceMemory | None:
        """Of the device it computes on, now; None for the CPU, and where nobody tells."""
        ...
