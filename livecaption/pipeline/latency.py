"""The delays of one stream, for the operator. None of them is sent to a client."""

from dataclasses import dataclass
from typing import Literal

LatencyKind = Literal["endpoint", "first_partial", "partial", "final"]


@dataclass(frozen=True, slots=True)
class Latency:
    """One delay. Audio counts from the arrival of its last byte.

    endpoint        last voiced audio -> `SpeechEnd`, where silence ended the utterance
    first_partial   first voiced audio -> first caption: a partial, or the final where none came in time. There is none
                    where the utterance goes on from one that was cut for length, and where no partials are wanted
    partial         audio that a partial shows for the first time -> `Partial`; the mean of its oldest and its newest
    final           last voiced audio -> `Final`, unless it failed
    """

    kind: LatencyKind
    seconds: float
