"""Turn received bytes into 16 kHz float32 mono samples, and samples into 20 ms frames. Pure: no clock, no sockets.

The units of stream time are defined here, because every package uses them and they need no imports.
"""

SAMPLE_RATE_HZ = 16_000
"""The sample rate that Whisper and the VAD take. Stream time counts samples of this rate since the stream began."""

FRAME_MS = 20
"""Frame length in ms. The WebRTC VAD takes 10, 20 or 30 ms. 10 doubles the calls; 30 makes every endpoint coarser."""

FRAME_SAMPLES = SAMPLE_RATE_HZ * FRAME_MS // 1000


def samples_of(duration_ms: int, sample_rate_hz: int = SAMPLE_RATE_HZ) -> int:
    """Convert milliseconds to samples, rounded down. The rate is that of stream time by default."""
    return duration_ms * sample_rate_hz // 1000


def ms_of(n_samples: int, sample_rate_hz: int = SAMPLE_RATE_HZ) -> int:
    """Convert samples to milliseconds, rounded down. The rate is that of stream time by default."""
    return n_samples * 1000 // sample_rate_hz
