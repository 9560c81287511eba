"""Keep the sent audio that may have to be sent again, if the connection breaks or the server crashes. Pure.

    forgotten │ kept for MAX_ACKNOWLEDGED_MS          │ kept
              │ acknowledged: in the server's memory  │ maybe still on its way

The buffer also keeps the messages that have a place in the audio, such as a `flush`. A message has certainly arrived
once audio after it has.
"""

from collections import deque
from collections.abc import Iterator

from livecaption.audio import samples_of
from livecaption.audio.formats import SAMPLE_BYTES, AudioFormat

MAX_ACKNOWLEDGED_MS = 120_000
"""Acknowledged audio that is kept, at most, in ms. A server that crashes may have had 90 s of audio that waited for
finals, and an open utterance of 28 s. Less: some of that audio is lost with it. More: memory, and silence that is sent
again."""


class ReplayBuffer:
    """Buffer of sent PCM, addressed by the milliseconds that the server reports.

    Args:
        audio_format: format of the audio. It is not a container, because nobody can start reading in the middle of one.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self._rate_hz = audio_format.sample_rate_hz
        self._block_bytes = SAMPLE_BYTES[audio_format.encoding] * audio_format.channels
        self._kept: deque[bytes | str] = deque()
        # Positions in bytes of the stream.
        self._begin = 0  # the first thing kept
        self._end = 0
        self._acknowledged = 0

    @property
    def begin_ms(self) -> int:
        """All audio from this millisecond on is kept."""
        n_samples = -(-self._begin // self._block_bytes)
        return -(-n_samples * 1000 // self._rate_hz)

    @property
    def n_unacknowledged_bytes(self) -> int:
        """Number of bytes of audio that were sent and not acknowledged."""
        return self._end - self._acknowledged

    def push(self, data: bytes | str) -> None:
        """Keep sent audio, cut anywhere, or a sent message."""
        self._kept.append(data)
        if isinstance(data, bytes):
            self._end += len(data)

    def answered(self, message: str) -> None:
        """Forget a message that has arrived, because its answer has."""
        if message in self._kept:
            self._kept.remove(message)

    def acknowledge(self, received_ms: int) -> None:
        """Note that the server has all audio up to here. While it runs, it asks for nothing before this point."""
        self._acknowledged = max(self._acknowledged, min(self._position(received_ms), self._end))
        self._forget_before(self._acknowledged - self._position(MAX_ACKNOWLEDGED_MS))

    def since(self, received_ms: int) -> Iterator[bytes | str]:
        """Yield everything from here on, for a server that has the audio before this point."""
        position, at = self._position(received_ms), self._begin
        for data in list(self._kept):
            if isinstance(data, str):
                # A message exactly at this position may still be on its way.
                if at >= position:
                    yield data
                continue
            if at + len(data) > position:
                yield data[max(0, position - at) :]
            at += len(data)

    def _forget_before(self, position: int) -> None:
        while self._kept:
            first = self._kept[0]
            n_bytes = len(first) if isinstance(first, bytes) else 0
            if self._begin + n_bytes > position or (isinstance(first, str) and self._begin == position):
                break
            self._kept.popleft()
            self._begin += n_bytes

    def _position(self, at_ms: int) -> int:
        return samples_of(at_ms, self._rate_hz) * self._block_bytes
