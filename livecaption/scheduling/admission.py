"""Compute how many streams the workers and the memory can serve, from what streams were measured to need.

A stream is accepted if all streams then get their finals in time, and their partials often enough to be read live.
Under load partials first become less frequent, and then new streams are refused. Partials pause only if the accepted
streams need more than before. A new stream has no measurements yet, so it counts as one that speaks without pause. The
costs of requests were measured while the model loaded, so a burst is accepted up to the limit of this machine. The
other clients are asked to retry.

Figures: docs/decisions/0020-load-control.md, docs/decisions/0053-calibration.md.
"""

from dataclasses import dataclass
from math import exp, floor, inf
from typing import Literal

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.recognition import SessionId
from livecaption.scheduling.config import AdmissionConfig
from livecaption.scheduling.load_control import UTILIZATION, Rate, RequestCosts
from livecaption.scheduling.request import Request

FINAL_UTILIZATION = 0.65
"""Share of the workers' time that finals alone may need, for streams without partials. It is below the share at which
partials pause, because accepted streams stay. More: finals come later. Less: fewer streams."""
PARTIAL_INTERVAL_S = 0.85
"""Longest interval in s between two partials of somebody who speaks. Longer: words are shown later. Shorter: fewer
streams are accepted."""
UTTERANCES_PER_S = 0.2
"""Utterances per second of somebody who speaks without pause, in clauses of 5 s."""
BYTES_PER_STREAM = 8 * 2**20
"""Memory for one more stream. A session with 15 s of open speech and a partial took 2 MiB. The rest is for sockets and
for finals that wait. Less: the machine may run out of memory. More: fewer streams."""
RESERVE_BYTES = 512 * 2**20
"""Memory of the machine or container that stays free for peaks of the workers and for all other programs."""
_RATE_MEMORY_S = 30.0
_PRIOR_STREAMS = 2.0  # streams that count as speaking without pause, in addition to the measured ones


class Demand:
    """The needs of the average stream in the last half minute."""

    def __init__(self) -> None:
        self._utterances = Rate(_RATE_MEMORY_S)
        self._speech_s = Rate(_RATE_MEMORY_S)
        self._newest: dict[SessionId, int] = {}
        self._with_partials: set[SessionId] = set()
        self._n_streams = 0.0  # on average, with the same memory as the utterances
        self._at_s = 0.0

    def add_stream(self, session: SessionId, now_s: float) -> None:
        """Add a stream that began."""
        self._n_streams = self._average(now_s)
        self._newest[session] = -1

    def remove_stream(self, session: SessionId, now_s: float) -> None:
        """Remove a stream that ended."""
        self._n_streams = self._average(now_s)
        self._newest.pop(session, None)
        self._with_partials.discard(session)

    def record_request(self, request: Request, now_s: float) -> None:
        """Record a request. An utterance may request a final at each of its pauses; only one of them counts."""
        if not request.is_final:
            self._with_partials.add(request.session)
        elif request.utterance > self._newest.get(request.session, request.utterance):
            self._newest[request.session] = request.utterance
            self._utterances.add(1.0, now_s)
            if request.session in self._with_partials:
                self._speech_s.add(len(request.window.samples) / SAMPLE_RATE_HZ, now_s)

    def utterances_per_s(self, now_s: float) -> float:
        """Utterances per second of one stream."""
        return self._of_one_stream(self._utterances, UTTERANCES_PER_S, now_s)

    def speaking(self, now_s: float) -> float:
        """Share of the time in which one stream wants partials."""
        return min(1.0, self._of_one_stream(self._speech_s, 1.0, now_s))

    def finals_per_partial(self, now_s: float) -> float:
        """Return the finals that streams request for each partial, if partials come as often as admission promises."""
        partials_per_s = self.speaking(now_s) / PARTIAL_INTERVAL_S
        return self.utterances_per_s(now_s) / partials_per_s if partials_per_s else inf

    def _of_one_stream(self, rate: Rate, prior: float, now_s: float) -> float:
        return (rate.per_s(now_s) + _PRIOR_STREAMS * prior) / (self._average(now_s) + _PRIOR_STREAMS)

    def _average(self, now_s: float) -> float:
        memory = exp(-max(0.0, now_s - self._at_s) / _RATE_MEMORY_S)
        self._at_s = now_s
        self._n_streams = memory * self._n_streams + (1 - memory) * len(self._newest)
        return self._n_streams


@dataclass(frozen=True, slots=True)
class Load:
    """Measurements that decide on admission.

    Attributes:
        costs: worker time for requests on a busy server; None: no worker has been ready yet.
        utterances_per_s: utterances in a second of an average stream.
        speaking: share of the time in which an average stream wants partials.
        n_workers: number of workers that are ready.
        oldest_final_s: waiting time of the final that has waited longest for a worker; 0: none waits.
        partials_paused: True while partials pause.
        free_bytes: memory that programs of this machine, or of this container if it has a limit, could still get.
    """

    costs: RequestCosts | None
    utterances_per_s: float
    speaking: float
    n_workers: int
    oldest_final_s: float
    partials_paused: bool
    free_bytes: int


LimitReason = Literal["max_streams", "unmeasured", "measured", "memory", "late"]
"""The reasons for a limit of streams: the operator; that no worker has been ready yet; the measured cost of finals and
partials; free memory; that finals are late or partials pause."""


@dataclass(frozen=True, slots=True)
class StreamLimit:
    """The number of streams that may be open, and the reason for it."""

    n: int
    reason: LimitReason


def stream_limit(n_streams: int, n_new: int, load: Load, config: AdmissionConfig) -> StreamLimit:
    """Return how many streams may be open now. It is at least 1, because a single slow stream hurts nobody else.

    Args:
        n_streams: number of open streams.
        n_new: number of those that began less than `config.new_s` ago.
        load: the measurements.
        config: the times that count as new and as late.
    """
    if load.oldest_final_s > config.late_s or load.partials_paused:
        return StreamLimit(max(1, n_streams), "late")
    if load.costs is None:
        return StreamLimit(max(1, n_streams), "unmeasured")
    final_s, partial_s = load.costs.final_s, load.costs.partial_s
    # Worker time that a stream needs in a second: one that was measured, and a new one.
    finals = load.utterances_per_s * final_s
    new_finals = max(UTTERANCES_PER_S, load.utterances_per_s) * final_s
    both = finals + load.speaking * partial_s / PARTIAL_INTERVAL_S
    new_both = new_finals + partial_s / PARTIAL_INTERVAL_S

    def room(utilization: float, each: float, each_new: float) -> float:
        return (utilization * max(1, load.n_workers) - (n_streams - n_new) * each - n_new * each_new) / each_new

    # New streams have not yet taken their memory.
    room_in_memory = (load.free_bytes - RESERVE_BYTES) / BYTES_PER_STREAM - n_new
    room_in_time = min(room(FINAL_UTILIZATION, finals, new_finals), room(UTILIZATION, both, new_both))
    more = max(0, floor(min(room_in_time, room_in_memory) + 1e-9))
    return StreamLimit(max(1, n_streams + more), "memory" if room_in_memory < room_in_time else "measured")
