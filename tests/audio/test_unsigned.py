"""Unsigned 8-bit samples."""

import numpy as np

from livecaption.audio.unsigned import widened


def test_silence_is_in_the_middle() -> None:
    assert np.frombuffer(widened(bytes([0, 128, 255])), "<i2").tolist() == [-32768, 0, 32512]
    assert widened(b"") == b""
