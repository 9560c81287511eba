"""Convert bytes of PCM to float32 mono samples at the rate they were recorded with.

The module defines the encodings and the form of their samples. Containers (`container`) and other sample rates
(`resampling`) have modules of their own.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from livecaption.audio.downmix import Downmixer
from livecaption.errors import InvalidAudio, InvalidMessage

Samples = npt.NDArray[np.float32]
"""float32 [n_samples], mono, -1..1."""

SAMPLE_BYTES = {"pcm_s16le": 2, "pcm_f32le": 4, "mulaw": 1, "alaw": 1}
CONTAINER = "auto"
"""This encoding is not PCM but a file format that states its own rate and channels."""
ENCODINGS = (*SAMPLE_BYTES, CONTAINER)

MIN_SAMPLE_RATE_HZ = 8_000
MAX_SAMPLE_RATE_HZ = 96_000
MAX_CHANNELS = 8


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """Format of a stream's bytes.

    Attributes:
        encoding: one of `ENCODINGS`.
        sample_rate_hz: 8000..96000. Ignored for a container, which states its own.
        channels: 1..8, interleaved. Ignored for a container, which states its own.

    Raises:
        InvalidMessage: `unsupported_encoding`, `unsupported_sample_rate` or `unsupported_channels`.
    """

    encoding: str = "pcm_s16le"
    sample_rate_hz: int = 16_000
    channels: int = 1

    def __post_init__(self) -> None:
        # The values come from JSON, so they may have any type. bool is an int, and is refused.
        if type(self.encoding) is not str or self.encoding not in ENCODINGS:
            raise InvalidMessage(f"encoding must be one of {', '.join(ENCODINGS)}", code="unsupported_encoding")
        if type(self.sample_rate_hz) is not int or not MIN_SAMPLE_RATE_HZ <= self.sample_rate_hz <= MAX_SAMPLE_RATE_HZ:
            raise InvalidMessage(
                f"the sample rate must be an integer from {MIN_SAMPLE_RATE_HZ} to {MAX_SAMPLE_RATE_HZ}",
                code="unsupported_sample_rate",
            )
        if type(self.channels) is not int or not 1 <= self.channels <= MAX_CHANNELS:
            raise InvalidMessage(
                f"the number of channels must be an integer from 1 to {MAX_CHANNELS}", code="unsupported_channels"
            )


class PcmDecoder:
    """Decoder of one stream's PCM to mono samples. The bytes may be cut anywhere. Channels are mixed (see `downmix`).

    Attributes:
        non_finite_samples: number of NaN and infinities so far, which were replaced by 0.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        if audio_format.encoding == CONTAINER:
            raise ValueError("a container is not PCM: see livecaption.audio.container")
        self.non_finite_samples = 0
        self._encoding = audio_format.encoding
        self._channels = audio_format.channels
        self._block_bytes = SAMPLE_BYTES[audio_format.encoding] * audio_format.channels
        self._downmixer = Downmixer(audio_format.channels, audio_format.sample_rate_hz)
        self._rest = b""
        self._n_skipped_bytes = 0

    def push(self, data: bytes | bytearray | memoryview) -> Samples:
        """Decode to float32 [n_samples], mono, -1..1, at the stream's rate. The bytes are not kept."""
        if self._n_skipped_bytes:
            n_skipped = min(self._n_skipped_bytes, len(data))
            self._n_skipped_bytes -= n_skipped
            data = data[n_skipped:]
        if self._rest:
            data = self._rest + data
        n_blocks, n_rest = divmod(len(data), self._block_bytes)
        self._rest = bytes(data[len(data) - n_rest :])
        interleaved = self._decode(data, n_blocks * self._channels)
        return self._downmixer.push(interleaved.reshape(n_blocks, self._channels))

    def rewind(self, n_samples: int) -> None:
        """Expect the last `n_samples` again: skip them when they come, and drop a sample that was cut."""
        self._rest = b""
        self._n_skipped_bytes = n_samples * self._block_bytes

    def flush(self) -> None:
        """End the stream.

        Raises:
            InvalidAudio: `truncated_audio`, not fatal: the stream ended within a sample, which is dropped.
        """
        n_rest, self._rest = len(self._rest), b""
        if n_rest:
            raise InvalidAudio(
                f"{n_rest} bytes were left at the end; a sample has {self._block_bytes}",
                code="truncated_audio",
                fatal=False,
            )

    def _decode(self, data: bytes | bytearray | memoryview, n_values: int) -> Samples:
        match self._encoding:
            case "pcm_s16le":
                return np.frombuffer(data, "<i2", n_values).astype(np.float32) * np.float32(2.0**-15)
            case "pcm_f32le":
                samples = np.frombuffer(data, "<f4", n_values).astype(np.float32)
                self.non_finite_samples += make_finite(samples)
                return samples
            case "mulaw":
                return MULAW[np.frombuffer(data, np.uint8, n_values)]
            case _:
                return ALAW[np.frombuffer(data, np.uint8, n_values)]


def make_finite(samples: Samples) -> int:
    """Replace NaN and infinities by 0 and clip the rest to -1..1, in place. Return how many were not finite."""
    finite = np.isfinite(samples)
    n_non_finite = samples.size - int(np.count_nonzero(finite))
    if n_non_finite:
        samples[~finite] = 0.0
    np.clip(samples, -1.0, 1.0, out=samples)
    return n_non_finite


def _mulaw_table() -> Samples:
    """Return ITU-T G.711 (11/88) table 2: inverted bits, 3 bits of segment, 4 of step, a bias of 33 (in 14 bits)."""
    code = ~np.arange(256) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    return (np.where(code & 0x80, -magnitude, magnitude) / 2.0**15).astype(np.float32)


def _alaw_table() -> Samples:
    """Return ITU-T G.711 (11/88) table 1: even bits inverted, 3 bits of segment, 4 of step.

    Segment 0 has no hidden bit.
    """
    code = np.arange(256) ^ 0x55
    segment = (code & 0x70) >> 4
    step = ((code & 0x0F) << 4) + 8
    magnitude = np.where(segment == 0, step, (step + 0x100) << np.maximum(segment - 1, 0))
    return (np.where(code & 0x80, magnitude, -magnitude) / 2.0**15).astype(np.float32)


MULAW = _mulaw_table()
ALAW = _alaw_table()
