"""Decode the packets of one audio track to samples at 16 kHz, at their presentation time, if it can be decoded."""

from collections.abc import Container, Iterator
from typing import Any

import numpy as np
from av.audio.plane import AudioPlane

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.audio.downmix import Downmixer
from livecaption.audio.formats import MAX_CHANNELS, Samples, make_finite
from livecaption.audio.resampling import Resampler
from livecaption.audio.timeline import Placed, Timeline

MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 384_000
"""Sample rates of containers: from dictation machines to studios. Below, there is no speech."""

PIECE_S = 0.5
"""Audio in one piece, at most, in s, of all channels together. A FLAC frame may hold 65,535 samples (8 s at 8 kHz) in
14 bytes."""

SAMPLE_FORMATS = {
    "u8": ("u1", 2**7, 2**7),
    "s16": ("<i2", 0, 2**15),
    "s32": ("<i4", 0, 2**31),
    "s64": ("<i8", 0, 2**63),
    "flt": ("<f4", 0, 1),
    "dbl": ("<f8", 0, 1),
}
"""Sample formats by FFmpeg's name for the interleaved kind: dtype, value of silence, value of full scale."""


def n_channels_of(stream: Any) -> int:
    """Return the number of channels of a track; 0: its header does not state it."""
    return int(stream.codec_context.layout.nb_channels)


def fault_of(stream: Any, codecs: Container[str], *, apart: bool) -> str:
    """Say why a track cannot be decoded, as far as its header shows it; empty: it can be.

    Args:
        stream: the track.
        codecs: decoders that its bytes may reach, by FFmpeg's names.
        apart: its channels are kept apart.
    """
    codec = "that FFmpeg does not support" if stream.codec_context is None else str(stream.codec_context.codec.name)
    if codec not in codecs:
        return f"its audio has the codec {codec}, which is not supported here"
    rate_hz, n_channels = stream.codec_context.sample_rate, n_channels_of(stream)
    if rate_hz and not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        return f"its audio has a sample rate of {rate_hz} Hz; it may have {MIN_RATE_HZ} to {MAX_RATE_HZ}"
    if n_channels > MAX_CHANNELS or (apart and not n_channels):
        return f"its audio has {n_channels} channels; it may have 1 to {MAX_CHANNELS}"
    return ""


class TrackAudio:
    """The audio of one track: frames in, samples at 16 kHz out. It goes on when another container follows.

    Args:
        timeline: places frames by their time stamps.
        n_channels: channels that are kept apart; None: they are mixed.
    """

    def __init__(self, timeline: Timeline, n_channels: int | None = None) -> None:
        self.timeline = timeline
        self._n_apart = n_channels
        self._rate_hz = 0
        self._n_channels = 0
        self._downmixer: Downmixer | None = None
        self._resampler: Resampler | None = None

    def convert(self, frame: Any) -> Iterator[Samples]:
        """Yield float32, 16 kHz, -1..1, in pieces of at most `PIECE_S`: mono, or [n_samples, n_channels].

        Raises:
            ValueError: too many channels, or a sample rate out of range.
        """
        rate_hz, n_channels = frame.sample_rate, frame.layout.nb_channels
        if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
            raise ValueError("sample rate out of range")
        if not 1 <= n_channels <= (self._n_apart or MAX_CHANNELS):
            raise ValueError("number of channels out of range")
        if rate_hz != self._rate_hz:
            yield from self.flush()
            self._rate_hz = rate_hz
            self._resampler = Resampler(rate_hz, self._n_apart)
            self._n_channels = 0
        if n_channels != self._n_channels:
            self._n_channels = n_channels
            self._downmixer = Downmixer(n_channels, rate_hz) if self._n_apart is None else None
        if self._downmixer is not None:
            samples = self._downmixer.push(_channels(frame))
        else:
            # A frame with fewer channels leaves the others silent.
            missing = self._n_apart - n_channels
            samples = np.pad(_channels(frame).astype(np.float32), ((0, 0), (0, missing)))
        at_s = None if frame.pts is None or not frame.time_base else float(frame.pts * frame.time_base)
        yield from self._pass(self.timeline.place(samples, at_s, len(samples) / rate_hz))

    def flush(self) -> Iterator[Samples]:
        """Yield what was held back."""
        yield from self._pass(self.timeline.flush())
        if self._resampler is not None:
            yield from self._cut(self._resampler.flush())

    def _pass(self, placed: list[Placed]) -> Iterator[Samples]:
        piece = int(self._rate_hz * PIECE_S / (self._n_apart or 1))
        for silence_s, samples in placed:
            assert self._resampler is not None  # there was a frame
            if silence_s:
                yield from self._cut(self._resampler.flush())
                yield from self._silence(silence_s)
            for start in range(0, len(samples), piece):
                yield from self._cut(self._resampler.push(samples[start : start + piece]))

    def _cut(self, samples: Samples) -> Iterator[Samples]:
        """Cut samples of several channels into pieces, because the resampler holds some back and gives them later."""
        if self._n_apart is None:
            yield samples
            return
        piece = int(PIECE_S * SAMPLE_RATE_HZ / self._n_apart)
        for start in range(0, len(samples), piece):
            yield samples[start : start + piece]

    def _silence(self, duration_s: float) -> Iterator[Samples]:
        n_channels = self._n_apart or 1
        piece: Samples = np.zeros((int(PIECE_S * SAMPLE_RATE_HZ / n_channels), n_channels), np.float32)
        if self._n_apart is None:
            piece = piece.reshape(-1)
        n_pieces, n_rest = divmod(round(duration_s * SAMPLE_RATE_HZ), len(piece))
        for _ in range(n_pieces):
            yield piece
        yield piece[:n_rest]


def _channels(frame: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Convert one decoded frame to float64 [n_samples, n_channels], -1..1, at its own rate.

    PyAV's `frame.planes`, and with it `to_ndarray`, counts planes up to the first null pointer. FFmpeg ends the list of
    eight and more channels without one. PyAV then read the memory after it as audio, or crashed the process.
    """
    n_channels, n_samples = frame.layout.nb_channels, frame.samples
    dtype, zero, full_scale = SAMPLE_FORMATS[frame.format.packed.name]
    if frame.format.is_planar:
        planes = [
            np.frombuffer(memoryview(AudioPlane(frame, channel)), dtype, n_samples) for channel in range(n_channels)
        ]
        values = np.stack(planes, axis=1)
    else:
        interleaved = np.frombuffer(memoryview(AudioPlane(frame, 0)), dtype, n_samples * n_channels)
        values = interleaved.reshape(n_samples, n_channels)
    if values.dtype.kind == "f":
        values = values.copy()
        make_finite(values)
    return (values.astype(np.float64) - zero) / full_scale
