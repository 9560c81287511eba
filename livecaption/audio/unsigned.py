"""Unsigned 8-bit samples, as old WAV files have them, as 16-bit ones. Pure."""

_SIGNED = bytes(value ^ 0x80 for value in range(256))


def widened(data: bytes) -> bytes:
    """Return unsigned 8-bit samples, whose silence is 128, as `pcm_s16le`."""
    wide = bytearray(2 * len(data))
    wide[1::2] = data.translate(_SIGNED)
    return bytes(wide)
