"""How long a batch may take before its worker is taken for hung. Pure."""

from collections import deque

SERVER_MARGIN_S = 1.0
"""The server waits so much longer than the worker's own dead-man's switch, which leaves a stack dump in the log."""

_PER_AUDIO_SECOND = 2.0
_BASE_S = 5.0
_PATIENCE = 4.0
_N_REMEMBERED = 100
_N_NEEDED = 20
_SHORTEST_AUDIO_S = 10.0


class BatchDeadlines:
    """Learns how fast a device is and says how long it may take.

    Before twenty batches were seen: the least time and twice the audio's, for a machine slower than that cannot
    caption live. Then 5 s and four times what the slowest of the last hundred batches would have taken, for a machine
    that is busy with other things may be that much slower, and a deadline that strikes a healthy worker loses more
    than one that finds a hung one late.
    """

    def __init__(self, least_s: float) -> None:
        self._least_s = least_s
        self._real_time_factors: deque[float] = deque(maxlen=_N_REMEMBERED)

    def learn(self, audio_s: float, compute_s: float) -> None:
        """A batch of so much audio was answered after so much computing."""
        # The encoder hears 10 s at least, so that short audio makes a device look slow that is not.
        self._real_time_factors.append(compute_s / max(audio_s, _SHORTEST_AUDIO_S))

    def deadline_s(self, audio_s: float) -> float:
        """Time from the beginning of a batch of so much audio."""
        if len(self._real_time_factors) < _N_NEEDED:
            return self._least_s + _PER_AUDIO_SECOND * audio_s
        return max(self._least_s, _BASE_S + _PATIENCE * audio_s * max(self._real_time_factors))
