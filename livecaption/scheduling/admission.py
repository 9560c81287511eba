"""What streams were measured to need -> how many of them the workers and the memory hold.

A stream is accepted if all streams then get their finals in time and their partials often enough to be read live. So
partials get slower, then nobody more is let in; they pause only when those who are in need more than before. Who has
just come has shown nothing yet and is counted as one who speaks without pause. So a burst on a server that measured
nothing is accepted up to what the smallest machine holds, and the rest is asked to come back.
"""

from dataclasses import dataclass
from math import exp, floor

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.recognition import SessionId
from livecaption.scheduling.load_control import UTILIZATION, Rate
from livecaption.scheduling.request import Request

FINAL_UTILIZATION = 0.65
"""Share of their time that workers may need for finals alone, of streams that want no partials. Less than that at which
partials pause, for streams stay. Measured with tiny.en on two cores: 112 streams use 0.90, and 95 % of their finals
come within 2.5 s; 110 use 0.83, and it is 2.0 s."""
PARTIAL_INTERVAL_S = 0.85
"""How often somebody who speaks is to have a partial at least: words are then shown 1.1 s after they were said in the
median, and 1.3 s with 1.1 s (tiny.en on two cores, 17 and 21 streams)."""
UNMEASURED_FINAL_S = 0.075
UNMEASURED_PARTIAL_S = 0.08
"""Time of a worker while none was measured. tiny.en int8 on two cores takes 48 and 70 ms in full batches: with these
9 streams are let in at first for each worker. A slower model shows its cost with the first partial."""
UTTERANCES_PER_S = 0.2
"""Of one who speaks without pause, in clauses of 5 s."""
NEW_S = 15.0
"""How long a stream is a newcomer: three such utterances."""
LATE_S = 2.0
"""Nobody is accepted while a final waits so long for a worker: 3.5 s after the end of speech are allowed for 48 streams
on two cores, of which an endpoint takes 0.5 to 0.9 s."""
BYTES_PER_STREAM = 8 * 2**20
"""A session with 15 s of open speech and a partial of it was measured to take 2 MiB. The rest is for sockets, and for
finals that wait."""
RESERVE_BYTES = 512 * 2**20
"""Memory of the machine or container that is left to the peaks of the workers and to all other programs."""
_RATE_MEMORY_S = 30.0
_PRIOR_STREAMS = 2.0  # that are taken to have spoken without pause, beside those that were heard


class Demand:
    """What the average stream asks for, of the last half minute."""

    def __init__(self) -> None:
        self._utterances = Rate(_RATE_MEMORY_S)
        self._speech_s = Rate(_RATE_MEMORY_S)
        self._newest: dict[SessionId, int] = {}
        self._with_partials: set[SessionId] = set()
        self._n_streams = 0.0  # on average, with the same memory as the utterances
        self._at_s = 0.0

    def add_stream(self, session: SessionId, now_s: float) -> None:
        """A stream began."""
        self._n_streams = self._average(now_s)
        self._newest[session] = -1

    def remove_stream(self, session: SessionId, now_s: float) -> None:
        """A stream ended."""
        self._n_streams = self._average(now_s)
        self._newest.pop(session, None)
        self._with_partials.discard(session)

    def record_request(self, request: Request, now_s: float) -> None:
        """A stream wants this. Of the finals of one utterance, which may be asked at each of its pauses, one counts."""
        if not request.is_final:
            self._with_partials.add(request.session)
        elif request.utterance > self._newest.get(request.session, request.utterance):
            self._newest[request.session] = request.utterance
            self._utterances.add(1.0, now_s)
            if request.session in self._with_partials:
                self._speech_s.add(len(request.window.samples) / SAMPLE_RATE_HZ, now_s)

    def utterances_per_s(self, now_s: float) -> float:
        """Of one stream."""
        return self._of_one_stream(self._utterances, UTTERANCES_PER_S, now_s)

    def speaking(self, now_s: float) -> float:
        """Share of the time in which one stream wants partials."""
        return min(1.0, self._of_one_stream(self._speech_s, 1.0, now_s))

    def _of_one_stream(self, rate: Rate, prior: float, now_s: float) -> float:
        return (rate.per_s(now_s) + _PRIOR_STREAMS * prior) / (self._average(now_s) + _PRIOR_STREAMS)

    def _average(self, now_s: float) -> float:
        memory = exp(-max(0.0, now_s - self._at_s) / _RATE_MEMORY_S)
        self._at_s = now_s
        self._n_streams = memory * self._n_streams + (1 - memory) * len(self._newest)
        return self._n_streams


@dataclass(frozen=True, slots=True)
class Load:
    """Attributes:
    final_s, partial_s: time of a worker for one, in batches as they are; None: nothing was measured yet.
    finals_measured: whether `final_s` is of finals, and of many; else it is of partials at the beginning of utterances.
    utterances_per_s: of an average stream.
    speaking: share of the time in which an average stream wants partials.
    n_workers: that are ready.
    oldest_final_s: for how long a final has waited for a worker; 0: none waits.
    partials_paused: whether they pause just now.
    free_bytes: memory that programs of this machine, or of this container if it has a limit, could have.
    """

    final_s: float | None
    partial_s: float | None
    finals_measured: bool
    utterances_per_s: float
    speaking: float
    n_workers: int
    oldest_final_s: float
    partials_paused: bool
    free_bytes: int


def stream_limit(n_streams: int, n_new: int, load: Load) -> int:
    """How many streams may be open just now; at least 1, for one that is served slowly hurts nobody else.

    Args:
        n_streams: that are open.
        n_new: those of them that began less than `NEW_S` ago.
    """
    if load.oldest_final_s > LATE_S or load.partials_paused:
        return max(1, n_streams)
    final_s, partial_s = load.final_s or UNMEASURED_FINAL_S, load.partial_s or UNMEASURED_PARTIAL_S
    if not load.finals_measured:
        # Cheap beginnings have let in 154 streams where 110 are held. A slow model shows itself in them all the same.
        final_s, partial_s = max(final_s, UNMEASURED_FINAL_S), max(partial_s, UNMEASURED_PARTIAL_S)
    # What a stream needs of a worker in a second: of those who were heard, and of newcomers.
    finals = load.utterances_per_s * final_s
    new_finals = max(UTTERANCES_PER_S, load.utterances_per_s) * final_s
    both = finals + load.speaking * partial_s / PARTIAL_INTERVAL_S
    new_both = new_finals + partial_s / PARTIAL_INTERVAL_S

    def room(utilization: float, each: float, each_new: float) -> float:
        return (utilization * max(1, load.n_workers) - (n_streams - n_new) * each - n_new * each_new) / each_new

    # What newcomers need is not taken from the free memory yet.
    room_in_memory = (load.free_bytes - RESERVE_BYTES) / BYTES_PER_STREAM - n_new
    more = min(room(FINAL_UTILIZATION, finals, new_finals), room(UTILIZATION, both, new_both), room_in_memory)
    return max(1, n_streams + max(0, floor(more + 1e-9)))
