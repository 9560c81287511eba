"""What an engine is: windows in, hypotheses out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from livecaption.captions.hypothesis import Hypothesis
from livecaption.scheduling.request import Window
from livecaption.workers.messages import DeviceMemory


@dataclass(frozen=True, slots=True)
class EngineDescription:
    """What was loaded, for people and for `ready`.

    Attributes:
        model: short name, such as `tiny.en`.
        device: name of the device for people, such as `cpu` or `NVIDIA H200 (cuda:0)`.
        compute_type: such as `int8` or `float16`.
        languages: ISO 639-1 codes the model understands.
        translates: whether the model can do the task `translate`.
        revision: commit of the Hugging Face hub; empty for files from elsewhere.
    """

    model: str
    device: str
    compute_type: str
    languages: tuple[str, ...]
    translates: bool
    revision: str = ""


class Engine(Protocol):
    """Transcribes batches of windows. Lives in the inference process and is used by one thread."""

    @property
    def description(self) -> EngineDescription: ...

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
