"""Speech from scripts such as "silence 300ms, speech 800ms": voiced flags, or sound that the VAD detects as voice."""

import functools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from livecaption.audio import FRAME_MS


def parse(script: str) -> Iterator[tuple[bool, int]]:
    """Return (voiced, duration_ms) for each part."""
    for part in script.split(","):
        kind, duration = part.split()
        if kind not in ("silence", "speech"):
            raise ValueError(f"neither silence nor speech: {kind}")
        yield kind == "speech", int(duration.removesuffix("ms"))


def voiced_flags(script: str) -> list[bool]:
    """Return one flag for each frame of 20 ms."""
    flags: list[bool] = []
    for voiced, duration_ms in parse(script):
        n_frames, rest = divmod(duration_ms, FRAME_MS)
        if rest:
            raise ValueError(f"{duration_ms} ms are not frames of {FRAME_MS} ms")
        flags += [voiced] * n_frames
    return flags


def sound(script: str, sample_rate_hz: int = 16_000) -> npt.NDArray[np.float32]:
    """Return float32 [n_samples]: a vowel of 40 harmonics with faint noise."""
    return _sound(script, sample_rate_hz).copy()


@functools.cache
def _sound(script: str, sample_rate_hz: int) -> npt.NDArray[np.float32]:
    noise = np.random.default_rng(0)
    parts = []
    for voiced, duration_ms in parse(script):
        n_samples = duration_ms * sample_rate_hz // 1000
        part = noise.normal(scale=1e-4, size=n_samples)
        parts.append(part + np.resize(_vowel(sample_rate_hz), n_samples) if voiced else part)
    return np.concatenate(parts).astype(np.float32)


@functools.cache
def _vowel(sample_rate_hz: int) -> npt.NDArray[np.float64]:
    """Return one second of a voiced sound, which is as long as its period."""
    time_s = np.arange(sample_rate_hz) / sample_rate_hz
    phase = 2 * np.pi * (130 * time_s + 2 * np.sin(2 * np.pi * 3 * time_s))
    vowel = np.zeros(len(phase))
    for harmonic in range(1, 41):
        formants = sum(np.exp(-(((130 * harmonic - peak_hz) / 200) ** 2)) for peak_hz in (500, 1500, 2500))
        vowel += 0.15 * (0.02 + formants) * np.sin(harmonic * phase)
    return vowel


def pcm_s16le(samples: npt.NDArray[np.float32]) -> bytes:
    """Return the bytes that a publisher would send."""
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
