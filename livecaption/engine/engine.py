"""Define the interfaces of an engine and of a translator: windows in, hypotheses out."""

from collections.abc import Sequence
from typing import Protocol

from livecaption.errors import TranscriptionFailed
from livecaption.recognition import DeviceMemory, EngineCosts, Hypothesis, ModelDescription, Window


class Engine(Protocol):
    """Transcribes batches of windows. It is in the inference process, and one thread uses it."""

    @property
    def description(self) -> ModelDescription: ...

    @property
    def costs(self) -> EngineCosts:
        """The times of batches that it measured while it loaded."""
        ...

    def transcribe(self, windows: Sequence[Window]) -> list[Hypothesis | None]:
        """Return one hypothesis for each window, in order. Windows may differ in every option.

        It is None for a window that failed alone, such as one for which a GPU computed NaN. An engine with tracks
        translates windows that have a translation as their task.

        Raises:
            OutOfMemory: this batch needs more memory than there is now; the engine goes on.
            TranscriptionFailed: this batch failed; the engine goes on.
            EngineUnusable: the device is lost (a sticky CUDA error); the process must end.
        """
        ...

    def device_memory(self) -> DeviceMemory | None:
        """Return the present memory of its device; None for the CPU, and if the device does not report it."""
        ...


def answered(hypotheses: Sequence[Hypothesis | None]) -> list[Hypothesis]:
    """Return the hypotheses of a batch in which no window may fail.

    Raises:
        TranscriptionFailed: one did.
    """
    if None in hypotheses:
        raise TranscriptionFailed("The device computed no number (NaN) for a window")
    return [hypothesis for hypothesis in hypotheses if hypothesis is not None]


class Translator(Protocol):
    """Translates finals, in the same thread as the engine."""

    def translate(self, windows: Sequence[Window]) -> list[Hypothesis | None]:
        """Return one translation for each window, in order; None where it failed. Each has a translation as its task.

        Raises:
            OutOfMemory, TranscriptionFailed, EngineUnusable: see `Engine.transcribe`.
        """
        ...
