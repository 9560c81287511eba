"""Bytes as they come in -> 16 kHz float32 mono -> 20 ms frames. Pure: no clock, no sockets, no threads.

The units of stream time are here, because everybody counts in them and they cost no import.
"""

SAMPLE_RATE_HZ = 16_000
"""What Whisper and the VAD hear. Stream time counts samples of this rate since the stream began."""

FRAME_MS = 20
"""The WebRTC VAD takes 10, 20 or 30 ms. 10 costs twice as many calls; 30 makes every endpoint coarser."""

FRAME_SAMPLES = SAMPLE_RATE_HZ * FRAME_MS // 1000


def samples_of(duration_ms: int, sample_rate_hz: int = SAMPLE_RATE_HZ) -> int:
    """Milliseconds -> samples, of stream time unless another rate is named; rounded down."""
    return duration_ms * sample_rate_hz // 1000


def ms_of(n_samples: int, sample_rate_hz: int = SAMPLE_RATE_HZ) -> int:
    """Samples, of stream time unless another rate is named, -> milliseconds, rounded down."""
    return n_samples * 1000 // sample_rate_hz
