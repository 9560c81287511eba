"""Make containers of all kinds from recordings: valid, damaged and malicious ones. Deterministic."""

import io
import random
import struct
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from livecaption.audio import SAMPLE_RATE_HZ

FRAME_SAMPLES = 1024
HEAD_BYTES = 400
"""Part of a container that gets half of all damage, because a header influences decoding more than the data."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of container, with FFmpeg's names of container and codec."""

    container: str
    codec: str
    sample_rate_hz: int = 48_000
    layout: str = "mono"
    options: MappingProxyType[str, str] = field(default_factory=lambda: MappingProxyType({}))


KINDS = {
    "wav": Kind("wav", "pcm_s16le", 16_000),
    "webm of opus": Kind("webm", "libopus"),
    "ogg of opus": Kind("ogg", "libopus"),
    "flac": Kind("flac", "flac", 16_000),
    "mp3": Kind("mp3", "libmp3lame", 44_100, "stereo"),
    "fragmented mp4 of aac": Kind(
        "mp4",
        "aac",
        44_100,
        options=MappingProxyType({"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "200000"}),
    ),
    "adts of aac": Kind("adts", "aac", 44_100),
    "7.1 adts of aac": Kind("adts", "aac", layout="7.1"),
}


def encode(pcm: bytes, kind: Kind) -> bytes:
    """Encode 16-bit PCM, mono, 16 kHz into a container."""
    file = io.BytesIO()
    samples = np.frombuffer(pcm, "<i2")
    with av.open(file, "w", format=kind.container, options=dict(kind.options)) as output:
        stream: Any = output.add_stream(kind.codec, rate=kind.sample_rate_hz, layout=kind.layout)
        fitting = av.AudioResampler(stream.format, kind.layout, kind.sample_rate_hz, FRAME_SAMPLES)
        for part in [*fitting.resample(_frame(samples)), *fitting.resample(None), None]:
            output.mux(stream.encode(part))
    return file.getvalue()


def _frame(samples: npt.NDArray[np.int16]) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
    frame.sample_rate = SAMPLE_RATE_HZ
    return frame


def mutate(container: bytes, seed: int) -> bytes:
    """Overwrite 1 to 256 bytes of a container, half of them in its header. The same seed gives the same bytes."""
    chance = random.Random(seed)
    mutant = bytearray(container)
    for _ in range(4 ** chance.randrange(5)):
        end = len(mutant) if chance.random() < 0.5 else min(HEAD_BYTES, len(mutant))
        mutant[chance.randrange(end)] = chance.randrange(256)
    return bytes(mutant)


def flac_of_silence(n_frames: int) -> bytes:
    """Make a FLAC of silence that has 13 bytes for each frame of 8.2 s (65,535 samples at 8 kHz).

    It has constant subframes, 8 bits per sample and one channel (RFC 9639). At most 65,536 frames are possible.
    """
    stream_info = struct.pack(">HH", 65_535, 65_535) + bytes(6) + (8000 << 44 | 7 << 36).to_bytes(8, "big") + bytes(16)
    parts = [b"fLaC\x80\x00\x00\x22" + stream_info]
    for number in range(n_frames):
        head = b"\xff\xf8\x74\x02" + _coded(number) + b"\xff\xfe"
        frame = head + bytes([_crc(head, 0x07, 8)]) + bytes(2)
        parts.append(frame + struct.pack(">H", _crc(frame, 0x8005, 16)))
    return b"".join(parts)


def _coded(number: int) -> bytes:
    """Encode a number as UTF-8 encodes a character, including surrogates."""
    return chr(number).encode("utf-8", "surrogatepass")


def _crc(data: bytes, polynomial: int, n_bits: int) -> int:
    top, mask, value = 1 << n_bits - 1, (1 << n_bits) - 1, 0
    for byte in data:
        value ^= byte << n_bits - 8
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
    return value
