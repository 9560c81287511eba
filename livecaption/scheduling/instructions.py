"""The instructions of the scheduler to the pool, and its figures. Pure."""

from dataclasses import dataclass
from typing import NewType

from livecaption.scheduling.request import Request

WorkerId = NewType("WorkerId", int)
BatchId = NewType("BatchId", int)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Send this batch to this worker."""

    worker: WorkerId
    batch: BatchId
    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The workers of this final crashed twice, the second time with this final alone. Answer it as failed."""

    request: Request


@dataclass(frozen=True, slots=True)
class Drop:
    """This translation is not made, because there are too many, or one of its session has crashed a worker."""

    request: Request


Instruction = Dispatch | GiveUp | Drop


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """Sizes of the queue, and counts of unanswered partials.

    Attributes:
        finals, partials, translations, recorded: requests that no worker has yet.
        in_flight: requests that were sent and not answered.
        superseded: partials since the start that a newer partial or their final replaced.
        dropped: partials since the start that nobody needed any more, or that were lost with their worker.
    """

    finals: int
    partials: int
    in_flight: int
    superseded: int
    dropped: int
    translations: int = 0
    recorded: int = 0
