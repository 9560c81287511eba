"""What was sent of a stream and may have to be sent again, if the connection breaks before the server has it. Pure.

Audio, and the messages that stand at their place in it, such as a `flush`. A message is known to have arrived once
audio behind it has.
"""

from collections import deque
from collections.abc import Iterator

from livecaption.audio import samples_of
from livecaption.audio.formats import SAMPLE_BYTES, AudioFormat


class Unacknowledged:
    """Bytes of PCM, addressed by the milliseconds that the server acknowledges.

    Args:
        audio_format: of the audio; not a container's, in whose middle nobody can begin.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self._rate_hz = audio_format.sample_rate_hz
        self._block_bytes = SAMPLE_BYTES[audio_format.encoding] * audio_format.channels
        self._kept: deque[bytes | str] = deque()
        self._begin = 0  # place of the first thing kept, in bytes of the stream
        self.n_bytes = 0
        """Of audio that is kept."""

    def push(self, data: bytes | str) -> None:
        """Audio cut anywhere, or a message, was sent."""
        self._kept.append(data)
        if isinstance(data, bytes):
            self.n_bytes += len(data)

    def answered(self, message: str) -> None:
        """The message has arrived, as its answer shows."""
        if message in self._kept:
            self._kept.remove(message)

    def acknowledge(self, received_ms: int) -> None:
        """The server has all audio up to here: forget what lies before it."""
        place = self._place(received_ms)
        while self._kept:
            first = self._kept[0]
            n_bytes = len(first) if isinstance(first, bytes) else 0
            # A message at the very place may be still on its way.
            if self._begin + n_bytes > place or (isinstance(first, str) and self._begin == place):
                break
            self._kept.popleft()
            self._begin += n_bytes
            self.n_bytes -= n_bytes

    def since(self, received_ms: int) -> Iterator[bytes | str]:
        """Everything to be sent again to a server that has the audio up to here."""
        self.acknowledge(received_ms)
        n_known = max(0, self._place(received_ms) - self._begin)
        for data in list(self._kept):
            if isinstance(data, bytes):
                yield data[n_known:]
                n_known = 0
            else:
                yield data

    def _place(self, received_ms: int) -> int:
        return samples_of(received_ms, self._rate_hz) * self._block_bytes
