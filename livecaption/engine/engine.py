"""Define the interfaces of an engine and of a translator: windows in, hypotheses out."""

from collections.abc import Callable, Sequence
from typing import Protocol

from livecaption.errors import TranscriptionFailed
from livecaption.recognition import DeviceMemory, EngineCosts, Hypothesis, ModelDescription, Window

Finish = Callable[[], list[Hypothesis | None]]
"""The last stage of a batch. It turns what the model made into the answer of `Engine.transcribe`."""
Compute = Callable[[], Finish]
"""The second stage of a batch, which runs the model. Its errors are those of `Engine.transcribe`."""


class Engine(Protocol):
    """Transcribes batches of windows, in the inference process.

    A batch goes through three stages: `prepare`, and the two functions that follow from it. Each is called once,
    perhaps on another thread than the last. With several streams, stages of several batches run at the same time.

    Attributes:
        description: the model.
        costs: times of batches that it measured while it loaded.
        n_streams: number of batches that the device computes at the same time.
    """

    description: ModelDescription
    costs: EngineCosts
    n_streams: int = 1

    def prepare(self, windows: Sequence[Window]) -> Compute:
        """Do the work before the model's. Windows may differ in every option.

        Raises:
            TranscriptionFailed: this batch failed; the engine goes on.
        """
        ...

    def transcribe(self, windows: Sequence[Window]) -> list[Hypothesis | None]:
        """Return one hypothesis for each window, in order: all stages, one after the other.

        It is None for a window that failed alone, such as one for which a GPU computed NaN. An engine with tracks
        translates windows that have a translation as their task.

        Raises:
            OutOfMemory: this batch needs more memory than there is now; the engine goes on.
            TranscriptionFailed: this batch failed; the engine goes on.
            EngineUnusable: the device is lost (a sticky CUDA error); the process must end.
        """
        return self.prepare(windows)()()

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
    """Translates finals, in the second stage of their batch."""

    def translate(self, windows: Sequence[Window]) -> list[Hypothesis | None]:
        """Return one translation for each window, in order; None where it failed. Each has a translation as its task.

        Raises:
            OutOfMemory, TranscriptionFailed, EngineUnusable: see `Engine.transcribe`.
        """
        ...
