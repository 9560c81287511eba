"""Broadcasts by RTMP: an encoder sends them to an address, where FFmpeg listens."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from livecaption.audio.container import Contents
from livecaption.decoding.broadcast import decode_broadcast
from livecaption.errors import InvalidAudio


@contextmanager
def encoder(port: int, seconds: float) -> Iterator[str]:
    """Let an encoder send a tone to the address."""
    url = f"rtmp://127.0.0.1:{port}/live/secret-key"
    with subprocess.Popen([sys.executable, "-m", "tests.support.encoder", url, str(seconds)]) as process:
        yield url
        process.terminate()


def test_the_tone_of_an_encoder_is_decoded_up_to_its_end(unused_tcp_port: int) -> None:
    contents: list[Contents] = []
    with encoder(unused_tcp_port, 1.5) as url:
        samples = np.concatenate(list(decode_broadcast(f"{url}?listen=1", contents.append)))
    assert contents == [Contents(None, 1, 1, 1)]
    assert 1.2 < len(samples) / 16_000 < 1.7
    spectrum = np.abs(np.fft.rfft(samples[4000:20_000]))
    assert np.argmax(spectrum) == 440  # in steps of 1 Hz
    assert np.abs(samples[4000:20_000]).max() == pytest.approx(0.5, abs=0.1)


def test_an_address_at_which_nobody_answers_is_refused_without_its_secret(unused_tcp_port: int) -> None:
    with pytest.raises(InvalidAudio, match="no broadcast could be received") as refused:
        list(decode_broadcast(f"rtmp://127.0.0.1:{unused_tcp_port}/live/secret-key"))
    assert refused.value.code == "invalid_container"
    assert "secret-key" not in str(refused.value)
    assert "refused" in str(refused.value)


def test_only_rtmp_is_fetched() -> None:
    for place in ("file:///etc/hostname", "/etc/hostname", "http://127.0.0.1:9/x.flv", "udp://127.0.0.1:9"):
        with pytest.raises(InvalidAudio, match=r"Invalid argument|Protocol not found|whitelist"):
            list(decode_broadcast(place))
