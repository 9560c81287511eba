import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.audio.formats import AudioFormat, PcmDecoder
from livecaption.errors import InvalidAudio, InvalidMessage
from tests.support.cases import for_each
from tests.support.properties import StageProperties


@for_each("encoding", ["opus", "pcm_s16be", "PCM_S16LE", "", None, 1, True, ["mulaw"], {}])
def test_an_unknown_encoding_is_refused(encoding: object) -> None:
    with pytest.raises(InvalidMessage) as refusal:
        AudioFormat(encoding=encoding)
    assert refusal.value.code == "unsupported_encoding"


@for_each("sample_rate_hz", [7999, 96_001, 0, -16_000, 16_000.0, "16000", True, None, [16_000]])
def test_a_sample_rate_out_of_range_or_of_another_type_is_refused(sample_rate_hz: object) -> None:
    with pytest.raises(InvalidMessage) as refusal:
        AudioFormat(sample_rate_hz=sample_rate_hz)
    assert refusal.value.code == "unsupported_sample_rate"


@for_each("channels", [0, 9, -1, 1.0, "2", True, None])
def test_a_number_of_channels_out_of_range_or_of_another_type_is_refused(channels: object) -> None:
    with pytest.raises(InvalidMessage) as refusal:
        AudioFormat(channels=channels)
    assert refusal.value.code == "unsupported_channels"


@for_each(("sample_rate_hz", "channels"), [(8000, 1), (96_000, 8)])
@for_each("encoding", ["pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "mulaw", "alaw", "auto"])
def test_every_format_of_the_protocol_is_accepted(encoding: str, sample_rate_hz: int, channels: int) -> None:
    audio_format = AudioFormat(encoding, sample_rate_hz, channels)
    assert (audio_format.encoding, audio_format.sample_rate_hz, audio_format.channels) == (
        encoding,
        sample_rate_hz,
        channels,
    )


def test_a_container_is_not_decoded_as_pcm() -> None:
    with pytest.raises(ValueError, match="container"):
        PcmDecoder(AudioFormat("auto"))


def test_pcm_s16le_is_scaled_to_one() -> None:
    samples = PcmDecoder(AudioFormat("pcm_s16le")).push(np.array([-32768, -1, 0, 16384, 32767], "<i2").tobytes())
    assert samples.dtype == np.float32
    assert samples.tolist() == [-1.0, -1 / 32768, 0.0, 0.5, 32767 / 32768]


def test_pcm_s24le_is_scaled_to_one() -> None:
    data = bytes.fromhex("000080 ffffff 000000 000040 ffff7f")
    samples = PcmDecoder(AudioFormat("pcm_s24le")).push(data)
    assert samples.dtype == np.float32
    assert samples.tolist() == [-1.0, -1 / 2**23, 0.0, 0.5, 1 - 1 / 2**23]


def test_pcm_s32le_is_scaled_to_one() -> None:
    samples = PcmDecoder(AudioFormat("pcm_s32le")).push(np.array([-(2**31), 0, 2**30, 2**31 - 1], "<i4").tobytes())
    assert samples.dtype == np.float32
    assert samples.tolist() == [-1.0, 0.0, 0.5, 1.0]


@pytest.mark.parametrize(("encoding", "dtype"), [("pcm_f32le", "<f4"), ("pcm_f64le", "<f8")])
def test_floats_are_clipped_to_one(encoding: str, dtype: str) -> None:
    largest = np.finfo(dtype).max
    samples = PcmDecoder(AudioFormat(encoding)).push(np.array([-3.0, -1.0, 0.25, 1.5, largest], dtype).tobytes())
    assert samples.dtype == np.float32
    assert samples.tolist() == [-1.0, -1.0, 0.25, 1.0, 1.0]


@pytest.mark.parametrize(("encoding", "dtype"), [("pcm_f32le", "<f4"), ("pcm_f64le", "<f8")])
def test_floats_that_are_not_finite_are_silence_and_counted(encoding: str, dtype: str) -> None:
    decoder = PcmDecoder(AudioFormat(encoding))
    assert decoder.push(np.array([np.nan, np.inf, -np.inf, 0.5], dtype).tobytes()).tolist() == [0.0, 0.0, 0.0, 0.5]
    assert decoder.non_finite_samples == 3


def test_values_that_are_not_finite_become_silence_and_are_counted() -> None:
    decoder = PcmDecoder(AudioFormat("pcm_f32le", channels=2))
    pcm = np.array([np.nan, 0.5, np.inf, -np.inf, 0.25, 0.75], "<f4").tobytes()
    assert decoder.push(pcm).tolist() == [0.25, 0.0, 0.5]
    assert decoder.push(pcm[:4] * 2).tolist() == [0.0]
    assert decoder.non_finite_samples == 5


@for_each("encoding", ["pcm_s16le", "pcm_f32le", "mulaw", "alaw"])
def test_channels_are_averaged(encoding: str) -> None:
    """Every channel counts as much as every other."""
    chance = np.random.default_rng(1)
    pcm = chance.uniform(-1, 1, 800).astype("<f4").tobytes() if encoding == "pcm_f32le" else chance.bytes(1600)
    alone = PcmDecoder(AudioFormat(encoding)).push(pcm)
    for channels in (1, 2, 3, 8):
        mixed = PcmDecoder(AudioFormat(encoding, channels=channels)).push(pcm)
        n_whole = len(alone) // channels * channels
        np.testing.assert_allclose(mixed, alone[:n_whole].reshape(-1, channels).mean(axis=1), atol=1e-6)


@for_each("sample_rate_hz", [8000, 16_000, 48_000])
def test_channels_that_cancel_each_other_do_not_become_silence(sample_rate_hz: int) -> None:
    tone = 8000 * np.sin(np.arange(sample_rate_hz) * 2 * np.pi * 440 / sample_rate_hz)
    pcm = np.stack((tone, -tone), axis=1).astype("<i2")
    decoder = PcmDecoder(AudioFormat("pcm_s16le", sample_rate_hz, channels=2))
    samples = decoder.push(pcm.tobytes())
    assert np.array_equal(samples[sample_rate_hz // 10 :] * 32768, pcm[sample_rate_hz // 10 :, 0])


# All 256 codes in order as FFmpeg 5.1 decodes them: every 17th, and the CRC-32 of all as 16-bit little-endian.
MULAW_REFERENCE = (
    [-32124, -15484, -7420, -3516, -1628, -716, -276, -64, 23932, 11388, 5372, 2492, 1116, 460, 148, 0],
    210008735,
)
ALAW_REFERENCE = (
    [-5504, -2624, -24064, -11520, -280, -8, -1248, -592, 7552, 3648, 32256, 15616, 408, 136, 1760, 848],
    2641774167,
)


@pytest.mark.parametrize(("encoding", "reference"), [("mulaw", MULAW_REFERENCE), ("alaw", ALAW_REFERENCE)])
def test_g711_is_decoded_as_in_the_standard(encoding: str, reference: tuple[list[int], int]) -> None:
    samples = PcmDecoder(AudioFormat(encoding)).push(bytes(range(256))) * 32768
    assert samples[::17].tolist() == reference[0]
    assert zlib.crc32(samples.astype("<i2").tobytes()) == reference[1]


def test_the_decoder_takes_memoryviews_without_keeping_them() -> None:
    buffer = bytearray(np.array([1, 2, 3], "<i2").tobytes())
    decoder = PcmDecoder(AudioFormat("pcm_s16le"))
    first = decoder.push(memoryview(buffer)[:3])
    buffer[:] = bytes(6)
    buffer.clear()  # fails while anybody holds on to it
    assert (first * 32768).tolist() == [1]
    assert (decoder.push(b"\x00") * 32768).tolist() == [2]


@given(st.binary(max_size=40), st.lists(st.integers(0, 40), max_size=6))
def test_any_bytes_in_any_chunks_decode_to_the_same_samples(pcm: bytes, cuts: list[int]) -> None:
    decoder = PcmDecoder(AudioFormat("pcm_s16le", channels=3))
    cuts = sorted(cuts)
    parts = [decoder.push(pcm[start:end]) for start, end in zip([0, *cuts], [*cuts, len(pcm)], strict=True)]
    assert np.concatenate(parts).tolist() == PcmDecoder(AudioFormat("pcm_s16le", channels=3)).push(pcm).tolist()


def test_a_decoder_that_is_rewound_skips_what_it_has_and_takes_a_cut_sample_again() -> None:
    decoder = PcmDecoder(AudioFormat("pcm_s16le", channels=2))
    data = np.arange(40, dtype="<i2").tobytes()
    before = decoder.push(data[:22])  # five samples and half of one
    decoder.rewind(2)
    again = [decoder.push(data[12:13]), decoder.push(data[13:30]), decoder.push(data[30:])]
    expected = PcmDecoder(AudioFormat("pcm_s16le", channels=2)).push(data)
    np.testing.assert_array_equal(np.concatenate([before, *again]), expected)


def test_part_of_a_sample_at_the_end_is_reported_once_and_dropped() -> None:
    decoder = PcmDecoder(AudioFormat("pcm_s16le", channels=2))
    assert decoder.push(bytes(7)).size == 1
    with pytest.raises(InvalidAudio) as refusal:
        decoder.flush()
    assert (refusal.value.code, refusal.value.fatal) == ("truncated_audio", False)
    decoder.flush()
    assert (decoder.push(np.array([1, 3], "<i2").tobytes()) * 32768).tolist() == [2]


# Samples of two bytes, of four, and of one, which is never cut apart but its frame is.
@pytest.mark.parametrize(
    "audio_format",
    [AudioFormat("pcm_s16le"), AudioFormat("pcm_f32le", channels=8), AudioFormat("mulaw", channels=3)],
    ids=lambda f: f"{f.encoding}-{f.channels}",
)
class TestPcmDecoderProperties(StageProperties):
    @pytest.fixture(autouse=True)
    def _format(self, audio_format: AudioFormat) -> None:
        self.format = audio_format

    def stream(self) -> bytes:
        return np.random.default_rng(0).bytes(6001)

    def run(self, chunks: Iterable[bytes]) -> list[Any]:
        decoder = PcmDecoder(self.format)
        output = [value for chunk in chunks for value in decoder.push(chunk).tolist()]
        try:
            decoder.flush()
        except InvalidAudio as error:
            output.append(error.code)
        return [*output, decoder.non_finite_samples]

    def check_complete(self, stream: bytes, output: list[Any]) -> None:
        n_bytes = {"pcm_s16le": 2, "pcm_f32le": 4}.get(self.format.encoding, 1) * self.format.channels
        assert sum(isinstance(value, float) for value in output) == len(stream) // n_bytes
        assert ("truncated_audio" in output) == (len(stream) % n_bytes > 0)
