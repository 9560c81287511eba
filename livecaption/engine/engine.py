"""Define the interfaces of an engine and of a translator: windows in, hypotheses out."""

from collections.abc import Sequence
from typing import Protocol

from livecaption.recognition import DeviceMemory, Hypothesis, ModelDescription, Window


class Engine(Protocol):
    """Transcribes batches of windows. It is in the inference process, and one thread uses it."""

    @property
    def description(self) -> ModelDescription: ...

    def transcribe(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return one hypothesis for each window, in order. Windows may differ in every option.

        An engine with tracks translates those that have a translation as their task.

        Raises:
            TranscriptionFailed: this batch failed; the engine goes on.
            EngineUnusable: the device is lost (a sticky CUDA error); the process must end.
        """
        ...

    def device_memory(self) -> DeviceMemory | None:
        """Return the present memory of its device; None for the CPU, and if the device does not report it."""
        ...


class Translator(Protocol):
    """Translates finals, in the same thread as the engine."""

    def translate(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return one translation for each window, in order. Each has a translation as its task.

        Raises:
            TranscriptionFailed, EngineUnusable: see `Engine.transcribe`.
        """
        ...
