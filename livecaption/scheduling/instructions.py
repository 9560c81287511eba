"""The instructions of the scheduler to the pool. Pure."""

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
