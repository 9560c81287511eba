"""Place decoded audio by its time stamps, so that stream time is presentation time. Pure.

Time stamps of containers are rounded, drift, jump and lie. Samples are never dropped: audio that is stamped early goes
on where the last one ended. Audio that is stamped late gets silence before it, within limits.
"""

from livecaption.audio.formats import Samples

TOLERANCE_S = 0.1
"""Differences up to this are not corrected: Matroska rounds to ms, decoders skip their delay (MP3: 25 ms), clocks
drift. More would show in captions. Less would put silence into words."""
SURE_GAP_S = 1.0
"""A longer gap counts only if the next time stamp is not back in line: a single wrong one must not move all captions.
"""
MAX_GAP_S = 3600.0
"""The longest gap that is filled. A longer one is no pause, but a clock that was set."""
MAX_OVERLAP_S = 1.0
"""Audio that is stamped earlier than this before the end of the last one has another clock, as in joined files."""

Placed = tuple[float, Samples]
"""Silence in seconds, and the samples that follow it."""


class Timeline:
    """The presentation time of one stream of audio.

    Args:
        origin_s: the time stamp at which stream time begins. None: the first one.
    """

    def __init__(self, origin_s: float | None) -> None:
        self._origin_s = origin_s
        self._other_origin_s: float | None = None  # that of the newest time stamp, if that was far out of line
        self._end_s = 0.0
        self._held: tuple[Samples, float, float] | None = None

    def restart_clock(self) -> None:
        """Let the next time stamp count from the end of the audio so far: another container follows."""
        self._origin_s = self._other_origin_s = None

    def place(self, samples: Samples, at_s: float | None, duration_s: float) -> list[Placed]:
        """Place samples with their time stamp, if they have one. Return what can be passed on, in order.

        Samples behind a long gap are returned with the next ones.
        """
        placed = self._decide(is_sure=self._held is not None and (at_s is None or at_s >= self._held[1]))
        gap_s = 0.0 if at_s is None else self._gap_s(at_s)
        if at_s is not None and gap_s > SURE_GAP_S:
            self._held = samples, at_s, duration_s
            return placed
        return [*placed, self._put(gap_s, samples, duration_s)]

    def flush(self) -> list[Placed]:
        """Return the samples that are held back, without their gap."""
        return self._decide(is_sure=False)

    def _decide(self, *, is_sure: bool) -> list[Placed]:
        """Place the samples that are held back, behind their gap if that is sure."""
        if self._held is None:
            return []
        (samples, at_s, duration_s), self._held = self._held, None
        return [self._put(self._gap_s(at_s) if is_sure else 0.0, samples, duration_s)]

    def _gap_s(self, at_s: float) -> float:
        """Return the silence before this time stamp. Two in a row that are far out of line set the clock."""
        this_origin_s = at_s - self._end_s
        other_s = self._other_origin_s
        if self._origin_s is None or (other_s is not None and abs(this_origin_s - other_s) <= MAX_OVERLAP_S):
            self._origin_s, self._other_origin_s = this_origin_s, None
        ahead_s = this_origin_s - self._origin_s
        if not -MAX_OVERLAP_S <= ahead_s <= MAX_GAP_S:
            self._other_origin_s = this_origin_s
            return 0.0
        self._other_origin_s = None
        return ahead_s if ahead_s > TOLERANCE_S else 0.0

    def _put(self, gap_s: float, samples: Samples, duration_s: float) -> Placed:
        self._end_s += gap_s + duration_s
        return gap_s, samples
