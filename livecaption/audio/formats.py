"""Convert bytes of PCM to float32 mono samples at the rate they were recorded with.

The module defines the encodings and the form of their samples. Containers (`container`) and other sample rates
(`resampling`) have modules of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from livecaption.audio.downmix import Downmixer
from livecaption.errors import InvalidAudio, InvalidMessage

Samples = npt.NDArray[np.float32]
"""float32 [n_samples], mono, -1..1; where channels are kept apart, [n_samples, n_channels]."""

Bytes = bytes | bytearray | memoryview

SAMPLE_BYTES = {
    "pcm_s16le": 2,
    "pcm_s24le": 3,
    "pcm_s32le": 4,
    "pcm_f32le": 4,
    "pcm_f64le": 8,
    "mulaw": 1,
    "alaw": 1,
}
CONTAINER = "auto"
"""This encoding is not PCM but a file format that states its own rate and channels."""
ENCODINGS = (*SAMPLE_BYTES, CONTAINER)

MIN_SAMPLE_RATE_HZ = 8_000
MAX_SAMPLE_RATE_HZ = 96_000
MAX_CHANNELS = 8

ChannelMode = Literal["mix", "separate"]
CHANNEL_MODES: tuple[ChannelMode, ...] = ("mix", "separate")
"""The channels of a stream are mixed to one, or are captioned apart from each other."""


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
            raise InvalidMessage(
                f"encoding must be one of {', '.join(ENCODINGS)}; a stream of Opus needs a container, such as Ogg or "
                f"WebM, and the encoding {CONTAINER}",
                code="unsupported_encoding",
            )
        if type(self.sample_rate_hz) is not int or not MIN_SAMPLE_RATE_HZ <= self.sample_rate_hz <= MAX_SAMPLE_RATE_HZ:
            raise InvalidMessage(
                f"the sample rate must be an integer from {MIN_SAMPLE_RATE_HZ} to {MAX_SAMPLE_RATE_HZ}",
                code="unsupported_sample_rate",
            )
        if type(self.channels) is not int or not 1 <= self.channels <= MAX_CHANNELS:
            raise InvalidMessage(
                f"the number of channels must be an integer from 1 to {MAX_CHANNELS}", code="unsupported_channels"
            )

    @property
    def bytes_per_s(self) -> int:
        """Bytes of a second of PCM."""
        return SAMPLE_BYTES[self.encoding] * self.channels * self.sample_rate_hz


class PcmDecoder:
    """Decoder of one stream's PCM. The bytes may be cut anywhere.

    Args:
        audio_format: the format of the bytes.
        channel_mode: `mix`: the samples are mono (see `downmix`). `separate`: [n_samples, n_channels].

    Attributes:
        non_finite_samples: number of NaN and infinities so far, which were replaced by 0.
    """

    def __init__(self, audio_format: AudioFormat, channel_mode: ChannelMode = "mix") -> None:
        if audio_format.encoding == CONTAINER:
            raise ValueError("a container is not PCM: see livecaption.audio.container")
        self.non_finite_samples = 0
        self._read = READERS[audio_format.encoding]
        self._channels = audio_format.channels
        self._block_bytes = SAMPLE_BYTES[audio_format.encoding] * audio_format.channels
        self._is_mono = channel_mode == "mix" and audio_format.channels == 1
        self._downmixer = (
            None if channel_mode == "separate" else Downmixer(audio_format.channels, audio_format.sample_rate_hz)
        )
        self._rest = b""
        self._n_skipped_bytes = 0

    def push(self, data: Bytes) -> Samples:
        """Decode to float32, -1..1, at the stream's rate. The bytes are not kept."""
        if self._n_skipped_bytes:
            n_skipped = min(self._n_skipped_bytes, len(data))
            self._n_skipped_bytes -= n_skipped
            data = data[n_skipped:]
        if self._rest:
            data = self._rest + data
        n_blocks, n_rest = divmod(len(data), self._block_bytes)
        self._rest = bytes(data[len(data) - n_rest :]) if n_rest else b""
        interleaved, n_non_finite = self._read(data, n_blocks * self._channels)
        self.non_finite_samples += n_non_finite
        if self._is_mono:
            return interleaved
        channels = interleaved.reshape(n_blocks, self._channels)
        return channels if self._downmixer is None else self._downmixer.push(channels)

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


def make_finite(samples: npt.NDArray[np.floating[Any]]) -> int:
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


Reader = Callable[[Bytes, int], tuple[Samples, int]]
"""Reads so many values of an encoding; returns them, and how many of them were NaN or infinite."""


def _integers(dtype: str) -> Reader:
    scale = np.float32(2.0 ** (1 - 8 * np.dtype(dtype).itemsize))

    def read(data: Bytes, n_values: int) -> tuple[Samples, int]:
        samples = np.frombuffer(data, dtype, n_values).astype(np.float32)
        samples *= scale
        return samples, 0

    return read


def _integers_of_24_bits(data: Bytes, n_values: int) -> tuple[Samples, int]:
    """Read the three bytes of a value as the upper three of four."""
    values = np.zeros((n_values, 4), np.uint8)
    values[:, 1:] = np.frombuffer(data, np.uint8, 3 * n_values).reshape(n_values, 3)
    return _integers("<i4")(values.tobytes(), n_values)


def _floats(dtype: str) -> Reader:
    def read(data: Bytes, n_values: int) -> tuple[Samples, int]:
        values = np.frombuffer(data, dtype, n_values).copy()
        n_non_finite = make_finite(values)
        return values.astype(np.float32), n_non_finite

    return read


def _table(levels: Samples) -> Reader:
    return lambda data, n_values: (levels[np.frombuffer(data, np.uint8, n_values)], 0)


READERS: dict[str, Reader] = {
    "pcm_s16le": _integers("<i2"),
    "pcm_s24le": _integers_of_24_bits,
    "pcm_s32le": _integers("<i4"),
    "pcm_f32le": _floats("<f4"),
    "pcm_f64le": _floats("<f8"),
    "mulaw": _table(_mulaw_table()),
    "alaw": _table(_alaw_table()),
}
"""A reader for each encoding of `SAMPLE_BYTES`."""
