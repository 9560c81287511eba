"""WAVs whose stated length is wrong, and WAVs one after the other, become one WAV with all of the audio."""

import random
import struct
from collections.abc import Iterable

import numpy as np
import pytest

from livecaption.audio.wav import WavRepair
from tests.support.cases import for_each
from tests.support.containers import wav
from tests.support.properties import StageProperties

CHANCE = np.random.default_rng(0)
AUDIO = CHANCE.bytes(8000)
LIST = b"LIST" + struct.pack("<I", 12) + b"INFOIART\0\0\0\0"


def repaired(data: bytes, chunk_bytes: int = 100_000) -> tuple[bytes, bytes | None]:
    """Return the audio that FFmpeg gets, and the first bytes of the next WAV."""
    repair = WavRepair()
    passed = b""
    for begin in range(0, len(data), chunk_bytes):
        if repair.rest is not None:
            break
        passed += repair.push(data[begin : begin + chunk_bytes])
    passed += repair.finish()
    begin = passed.index(b"data") + 8
    return passed[begin:], repair.rest


@for_each("stated_bytes", [0, 1, 320, 7999, 8000, 8001, 2**31 - 1, 2**31, 2**32 - 100, 2**32 - 1])
def test_all_audio_is_read_with_any_stated_length(stated_bytes: int) -> None:
    assert repaired(wav(AUDIO, stated_bytes=stated_bytes)) == (AUDIO, None)


@pytest.mark.parametrize("audio", [AUDIO, AUDIO[:-1]])
def test_chunks_behind_the_audio_are_no_audio(audio: bytes) -> None:
    padding = bytes(len(audio) % 2)
    after = padding + LIST + b"id3 " + struct.pack("<I", 2) + b"ab" + LIST
    assert repaired(wav(audio, after=after)) == (audio, None)


def test_a_second_chunk_of_audio_is_read() -> None:
    more = b"data" + struct.pack("<I", len(AUDIO)) + AUDIO
    assert repaired(wav(AUDIO, after=LIST + more + LIST)) == (AUDIO + AUDIO, None)


@for_each("stated_bytes", [None, 0, 100, 2**32 - 1])
def test_wavs_one_after_the_other_become_one(stated_bytes: int | None) -> None:
    pieces = [AUDIO[begin : begin + 1000] for begin in range(0, 8000, 1000)]
    data = b"".join(wav(piece, stated_bytes=stated_bytes) for piece in pieces)
    assert repaired(data) == (AUDIO, None)


def test_metadata_between_wavs_is_dropped() -> None:
    assert repaired(wav(AUDIO, after=LIST) * 3) == (AUDIO * 3, None)


def test_a_wav_that_was_cut_within_a_sample_does_not_shift_the_next_one() -> None:
    stereo = wav(AUDIO[:-3], n_channels=2, stated_bytes=2**32 - 1)
    assert repaired(stereo + wav(AUDIO, n_channels=2)) == (AUDIO[:-3] + bytes(3) + AUDIO, None)


def test_a_wav_of_another_format_ends_this_one() -> None:
    other = wav(AUDIO, sample_rate_hz=8000)
    audio, rest = repaired(wav(AUDIO) + other)
    assert audio == AUDIO
    assert rest is not None
    assert repaired(rest) == (AUDIO, None)


def test_the_64_bit_length_of_a_long_file_counts() -> None:
    """RF64 (EBU Tech 3306): the length is in a chunk of its own, and the usual one is all ones."""
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 0, len(AUDIO), 0, 0)
    plain = wav(AUDIO, stated_bytes=2**32 - 1, after=LIST)
    data = b"RF64" + plain[4:12] + ds64 + plain[12:]
    assert repaired(data) == (AUDIO, None)


def test_the_first_header_is_passed_on_unchanged() -> None:
    data = wav(AUDIO)
    long = data[:12] + b"JUNK" + struct.pack("<I", 5000) + bytes(5000) + data[12:]
    for whole in (data, long):
        repair = WavRepair()
        assert b"".join(repair.push(whole[at : at + 7]) for at in range(0, len(whole), 7)) + repair.finish() == whole


@for_each(("stated_bytes", "duration_s"), [(None, 0.25), (320, 0.01), (0, None), (2**31 - 1, None), (2**32 - 1, None)])
def test_the_length_is_known_if_one_is_stated(stated_bytes: int | None, duration_s: float | None) -> None:
    repair = WavRepair()
    repair.push(wav(AUDIO, stated_bytes=stated_bytes))
    assert repair.duration_s == duration_s


def test_audio_is_passed_on_at_once() -> None:
    """Only bytes that may be a header wait, and behind the stated length the nine that show what follows."""
    repair = WavRepair()
    repair.push(wav(b"", stated_bytes=4000))
    assert repair.push(AUDIO[:3000]) == AUDIO[:3000]
    assert repair.push(AUDIO[3000:4000]) == AUDIO[3000:4000]
    assert repair.push(AUDIO[4000:4008]) == b""
    assert repair.push(AUDIO[4008:4100]) == AUDIO[4000:4100]
    assert repair.push(b"RIFF") == b""
    assert repair.push(b"1234AVI ") == b"RIFF1234AVI "


def test_rubbish_raises_nothing() -> None:
    chance = random.Random(0)
    whole = (wav(AUDIO[:40], after=LIST) + wav(AUDIO[:20], sample_rate_hz=8000)) * 2
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 4, 16))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        repair = WavRepair()
        for byte in data:
            if repair.rest is None:
                repair.push(bytes([byte]))
        repair.finish()


class TestWavRepairProperties(StageProperties):
    def stream(self) -> bytes:
        pieces = [wav(AUDIO[:333], stated_bytes=100, after=LIST), wav(AUDIO[:300], after=LIST), wav(AUDIO[:400])]
        return b"".join(pieces * 3) + wav(AUDIO, sample_rate_hz=8000)

    def run(self, chunks: Iterable[bytes]) -> list[bytes]:
        repair = WavRepair()
        passed = b""
        rest = None
        for chunk in chunks:
            if rest is not None:
                rest += chunk
                continue
            passed += repair.push(chunk)
            rest = repair.rest
        return [passed + repair.finish(), rest or b""]

    def check_complete(self, stream: bytes, output: list[bytes]) -> None:
        n_audio = sum(map(len, output))
        assert n_audio <= len(stream)
        assert n_audio >= len(stream) - 6 * (44 + len(LIST)) - 3 * 44
