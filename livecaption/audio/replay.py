"""What was sent of a stream and may have to be sent again, if the connection breaks or the server dies. Pure.

    forgotten        │ kept, for MAX_ACKNOWLEDGED_MS at most  │ kept
    finals cover it  │ acknowledged: in the server's memory   │ maybe still on its way

Audio, and the messages that stand at their place in it, such as a `flush`. A message is known to have arrived once
audio behind it has.
"""

from collections import deque
from collections.abc import Iterator

from livecaption.audio import samples_of
from livecaption.audio.formats import SAMPLE_BYTES, AudioFormat

MAX_ACKNOWLEDGED_MS = 120_000
"""A server that dies may have had 60 s of audio that waited for finals, and an open utterance of 28 s. Less: some of
that is lost with it. More: memory, and silence that is sent again."""


class ReplayBuffer:
    """Bytes of PCM, addressed by the milliseconds that the server tells.

    Args:
        audio_format: of the audio; not a container's, in whose middle nobody can begin.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self._rate_hz = audio_format.sample_rate_hz
        self._block_bytes = SAMPLE_BYTES[audio_format.encoding] * audio_format.channels
        self._kept: deque[bytes | str] = deque()
        # Places in bytes of the stream.
        self._begin = 0  # of the first thing kept
        self._end = 0
        self._acknowledged = 0

    @property
    def begin_ms(self) -> int:
        """All audio from this millisecond on is kept."""
        n_samples = -(-self._begin // self._block_bytes)
        return -(-n_samples * 1000 // self._rate_hz)

    @property
    def n_unacknowledged_bytes(self) -> int:
        """Of audio that was sent."""
        return self._end - self._acknowledged

    def push(self, data: bytes | str) -> None:
        """Audio cut anywhere, or a message, was sent."""
        self._kept.append(data)
        if isinstance(data, bytes):
            self._end += len(data)

    def answered(self, message: str) -> None:
        """The message has arrived, as its answer shows."""
        if message in self._kept:
            self._kept.remove(message)

    def acknowledge(self, received_ms: int) -> None:
        """The server has all audio up to here: while it lives, nothing before is asked for again."""
        self._acknowledged = max(self._acknowledged, min(self._place(received_ms), self._end))
        self._forget_before(self._acknowledged - self._place(MAX_ACKNOWLEDGED_MS))

    def cover(self, end_ms: int) -> None:
        """There is a final of the audio up to here: nothing before is ever asked for again."""
        self._forget_before(self._place(end_ms))

    def since(self, received_ms: int) -> Iterator[bytes | str]:
        """Everything from here on, to be sent again to a server that has what lies before."""
        place, at = self._place(received_ms), self._begin
        for data in list(self._kept):
            if isinstance(data, str):
                # At the very place it may be still on its way.
                if at >= place:
                    yield data
                continue
            if at + len(data) > place:
                yield data[max(0, place - at) :]
            at += len(data)

    def _forget_before(self, place: int) -> None:
        while self._kept:
            first = self._kept[0]
            n_bytes = len(first) if isinstance(first, bytes) else 0
            if self._begin + n_bytes > place or (isinstance(first, str) and self._begin == place):
                break
            self._kept.popleft()
            self._begin += n_bytes

    def _place(self, at_ms: int) -> int:
        return samples_of(at_ms, self._rate_hz) * self._block_bytes
