"""Captions as WebVTT segments of HTTP Live Streaming, beside somebody else's video. Pure.

The playlist of the video names that of the captions, and the player joins both by their clocks: `X-TIMESTAMP-MAP` has
the time of the video at which the captions begin. A cue that spans segments is in each of them, with its whole times.
Segments without speech exist, and are empty. A segment is listed when nothing in it can change any more. So captions
are a segment, and the longest utterance, behind the speech: two utterances and a cue where there is no pause. Source:
RFC 8216, 3.5 and 4.3.
"""

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from livecaption.captions.labels import NO_NAMES, Names
from livecaption.captions.layout import MIN_CUE_MS, Cue, GrowingCues
from livecaption.captions.transcript import vtt_blocks
from livecaption.events import Final

MAX_TIMESTAMP = 2**33
"""Timestamps of MPEG-TS have 33 bits and begin again."""


class Timeline:
    """The cues of an event that goes on, of which those before `until_ms` are complete and never change.

    Attributes:
        cues: in the order of their starts.
        until_ms: the time before which nothing changes.
    """

    def __init__(self, line_length: int) -> None:
        self.cues: list[Cue] = []
        self.until_ms = 0
        self._growing = GrowingCues(line_length)
        self._free_from_ms: dict[int | None, int] = {}  # the end of the last cue of each channel

    def push(self, final: Final, names: Names = NO_NAMES) -> None:
        """Take the next final. A name that is given later counts for later cues."""
        self._add(self._growing.push(final, names))

    def advance(self, at_ms: int) -> None:
        """Note that all later finals begin at this time or later."""
        self._add(self._growing.settle(at_ms))
        self.until_ms = max(self.until_ms, int(min(at_ms, self._growing.start_ms)))

    def finish(self) -> None:
        """Note that no final follows."""
        self._add(self._growing.flush())
        self.until_ms = max(self.until_ms, max((cue.end_ms for cue in self.cues), default=0))

    def _add(self, complete: Iterable[Cue]) -> None:
        for cue in complete:
            # Audio that a network held back for long comes after its time was over. It is shown late, not lost. Each
            # cue is shown until people have read it, so those behind it are late too.
            start_ms = max(cue.start_ms, self.until_ms, self._free_from_ms.get(cue.channel, 0))
            end_ms = cue.end_ms if start_ms == cue.start_ms else max(cue.end_ms, start_ms + MIN_CUE_MS)
            self._free_from_ms[cue.channel] = end_ms
            insort(self.cues, replace(cue, start_ms=start_ms, end_ms=end_ms), key=_start_ms)


def _start_ms(cue: Cue) -> int:
    return cue.start_ms


@dataclass(frozen=True, slots=True)
class Segmentation:
    """The way in which a timeline is cut into segments.

    Attributes:
        duration_s: length of a segment.
        start_ms: the time of the timeline at which the first segment begins.
        mpegts: the video's timestamp at that time, in units of 90 kHz.
        window: number of segments that are listed, the newest.
    """

    duration_s: int
    start_ms: int
    mpegts: int
    window: int

    def n_segments(self, timeline: Timeline, *, is_over: bool) -> int:
        """Return the number of segments that never change. The last one of an event that is over need not be full."""
        ms = max(0, timeline.until_ms - self.start_ms)
        return -(-ms // self._duration_ms) if is_over else ms // self._duration_ms

    def playlist(self, timeline: Timeline, began_at_ms: int, query: str, *, is_over: bool) -> str:
        """Return the media playlist.

        Args:
            timeline: the cues.
            began_at_ms: the beginning of the timeline, in ms of the Unix clock.
            query: the query of the segments' addresses.
            is_over: whether no segment follows.
        """
        n = self.n_segments(timeline, is_over=is_over)
        first = max(0, n - self.window)
        date = datetime.fromtimestamp((began_at_ms + self.start_ms + first * self._duration_ms) / 1000, UTC)
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:3",
            f"#EXT-X-TARGETDURATION:{self.duration_s}",
            f"#EXT-X-MEDIA-SEQUENCE:{first}",
        ]
        if n > first:
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{date.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}")
        for number in range(first, n):
            lines += [f"#EXTINF:{self.duration_s}.000,", f"captions/{number}.vtt{query and '?'}{query}"]
        if is_over:
            lines.append("#EXT-X-ENDLIST")
        return "\n".join(lines) + "\n"

    def segment(self, timeline: Timeline, number: int) -> str:
        """Return the segment with this number, from 0 on."""
        begin_ms = self.start_ms + number * self._duration_ms
        end_ms = begin_ms + self._duration_ms
        shown = [
            replace(cue, start_ms=max(0, cue.start_ms - self.start_ms), end_ms=cue.end_ms - self.start_ms)
            for cue in timeline.cues
            if cue.start_ms < end_ms and cue.end_ms > begin_ms
        ]
        origin = f"X-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:{self.mpegts % MAX_TIMESTAMP}"
        return f"WEBVTT\n{origin}\n\n{vtt_blocks(shown)}"

    @property
    def _duration_ms(self) -> int:
        return self.duration_s * 1000
