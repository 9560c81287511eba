"""Containers that are made to do harm."""

import struct


def flac_of_silence(n_frames: int) -> bytes:
    """Make a FLAC of 13 bytes for each 65,535 samples at 8 kHz, which are 8.2 s; at most 65,536 frames.

    RFC 9639: constant subframes, 8 bits a sample, one channel.
    """
    stream_info = struct.pack(">HH", 65_535, 65_535) + bytes(6) + (8000 << 44 | 7 << 36).to_bytes(8, "big") + bytes(16)
    parts = [b"fLaC\x80\x00\x00\x22" + stream_info]
    for number in range(n_frames):
        head = b"\xff\xf8\x74\x02" + _coded(number) + b"\xff\xfe"
        frame = head + bytes([_crc(head, 0x07, 8)]) + bytes(2)
        parts.append(frame + struct.pack(">H", _crc(frame, 0x8005, 16)))
    return b"".join(parts)


def _coded(number: int) -> bytes:
    """As UTF-8 codes a character, surrogates included."""
    return chr(number).encode("utf-8", "surrogatepass")


def _crc(data: bytes, polynomial: int, n_bits: int) -> int:
    top, mask, value = 1 << n_bits - 1, (1 << n_bits) - 1, 0
    for byte in data:
        value ^= byte << n_bits - 8
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
    return value
