"""Delays of one stream, for the operator. They are never sent to a client."""

from dataclasses import dataclass
from typing import Literal

LatencyKind = Literal["endpoint", "first_partial", "partial", "final"]


@dataclass(frozen=True, slots=True)
class Latency:
    """One delay. For audio, the arrival of its last byte counts.

    endpoint        last voiced audio -> `SpeechEnd`, if silence ended the utterance
    first_partial   first voiced audio -> first caption: a partial, or the final if no partial came in time. There is
                    none if a cut at the length limit began the utterance, or if no partials are wanted
    partial         audio that a partial shows for the first time -> `Partial`; the mean of its oldest and its newest
    final           last voiced audio -> `Final`, unless it failed

    An utterance that ends because its publisher was away has no first caption, and its final counts from that end.
    """

    kind: LatencyKind
    seconds: float
