"""Deadlines of batches: a worker that exceeds one is treated as hung. Pure."""

from collections import deque

SERVER_MARGIN_S = 1.0
"""Time that the server waits after the worker's own dead-man's switch, which leaves a stack dump in the log."""

_PER_AUDIO_SECOND = 2.0
_BASE_S = 5.0
_PATIENCE = 4.0
_N_REMEMBERED = 100
_N_NEEDED = 20
_SHORTEST_AUDIO_S = 10.0


class BatchDeadlines:
    """Measures the speed of a device and derives the deadline of each batch from it.

    For the first twenty batches, the deadline is the least time plus twice the duration of the audio. A machine slower
    than that cannot caption live. Later it is 5 s plus four times the duration at the speed of the slowest of the last
    hundred batches. A machine that is busy with other programs may be slower by that factor. Killing a healthy worker
    costs more than detecting a hung one late.
    """

    def __init__(self, least_s: float) -> None:
        self._least_s = least_s
        self._real_time_factors: deque[float] = deque(maxlen=_N_REMEMBERED)

    def learn(self, audio_s: float, compute_s: float) -> None:
        """Record the audio of a batch and the time that computing it took."""
        # The encoder gets at least 10 s. Without the lower bound, short audio would make a device look slow.
        self._real_time_factors.append(compute_s / max(audio_s, _SHORTEST_AUDIO_S))

    def deadline_s(self, audio_s: float) -> float:
        """Return the time that a batch of so much audio may take, from its start."""
        if len(self._real_time_factors) < _N_NEEDED:
            return self._least_s + _PER_AUDIO_SECOND * audio_s
        return max(self._least_s, _BASE_S + _PATIENCE * audio_s * max(self._real_time_factors))
