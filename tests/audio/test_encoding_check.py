"""Bytes that are not of the declared encoding are noticed, and all others pass."""

import functools
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from livecaption.audio.encoding_check import AGREEING_PARTS, MAX_COMPARED_PARTS, PART_MS, EncodingCheck
from livecaption.audio.formats import SAMPLE_BYTES, AudioFormat, PcmDecoder
from tests.support.cases import for_each, spread

CLIPS = sorted((Path(__file__).parent.parent / "data").glob("*.flac"))
RATE_HZ = 16_000
CHUNK_BYTES = 1280

Array = npt.NDArray[np.float64]
Encode = Callable[[Array], bytes]


def integers(dtype: str, n_bits: int = 16) -> Encode:
    """Return an encoder to integers of the dtype, with so many significant bits."""
    shift = 8 * np.dtype(dtype).itemsize - n_bits

    def encode(samples: Array) -> bytes:
        values = np.clip(np.round(samples * 2.0 ** (n_bits - 1)), -(2 ** (n_bits - 1)), 2 ** (n_bits - 1) - 1)
        return (values.astype(np.int64) << shift).astype(dtype).tobytes()

    return encode


def s24le(samples: Array) -> bytes:
    return np.frombuffer(integers("<i4", 24)(samples), np.uint8).reshape(-1, 4)[:, 1:].tobytes()


def g711(encoding: str) -> Encode:
    levels = PcmDecoder(AudioFormat(encoding)).push(bytes(range(256)))
    order = np.argsort(levels)

    def encode(samples: Array) -> bytes:
        nearest = np.clip(np.searchsorted(levels[order], samples), 0, 255)
        return order[nearest].astype(np.uint8).tobytes()

    return encode


ENCODERS: dict[str, Encode] = {
    "pcm_s16le": integers("<i2"),
    "pcm_s24le": s24le,
    "pcm_s32le": integers("<i4", 24),
    "pcm_f32le": lambda samples: samples.astype("<f4").tobytes(),
    "pcm_f64le": lambda samples: samples.astype("<f8").tobytes(),
    "mulaw": g711("mulaw"),
    "alaw": g711("alaw"),
}
FOREIGN: dict[str, Encode] = {
    "big-endian 16-bit integers": integers(">i2"),
    "big-endian 32-bit floats": lambda samples: samples.astype(">f4").tobytes(),
}


@functools.cache
def read(clip: Path) -> Array:
    """Return the samples of a clip, float64 [n_samples]."""
    samples: Array = soundfile.read(clip)[0]
    samples.flags.writeable = False
    return samples


def hints(data: bytes, declared: str = "pcm_s16le", channels: int = 1) -> list[str]:
    """Return all hints of the check about a stream that comes in messages."""
    check = EncodingCheck(AudioFormat(declared, RATE_HZ, channels))
    return [hint for at in range(0, len(data), CHUNK_BYTES) if (hint := check.push(data[at : at + CHUNK_BYTES]))]


SOME_CLIPS = spread(CLIPS, 4)


@for_each("declared", SAMPLE_BYTES)
def test_speech_in_the_declared_encoding_passes(declared: str) -> None:
    found = {clip.stem: hints(ENCODERS[declared](read(clip)), declared) for clip in SOME_CLIPS}
    assert found == {clip.stem: [] for clip in SOME_CLIPS}


@for_each("sent", ["pcm_f32le", "pcm_s24le", "pcm_s32le", *FOREIGN])
def test_other_samples_sent_as_16_bit_integers_are_named(sent: str) -> None:
    encode = {**ENCODERS, **FOREIGN}[sent]
    found = {clip.stem: hints(encode(read(clip))) for clip in SOME_CLIPS}
    assert found == {clip.stem: [f"pcm_s16le was declared, but the audio looks like {sent}"] for clip in SOME_CLIPS}


@for_each("declared", ["pcm_f32le", "pcm_s24le", "mulaw"])
def test_16_bit_integers_sent_as_something_else_are_named(declared: str) -> None:
    [hint] = hints(ENCODERS["pcm_s16le"](read(CLIPS[0])), declared)
    assert hint.endswith("looks like pcm_s16le")


def test_16_bit_integers_in_32_bits_are_named_by_the_zeros_between_them() -> None:
    [hint] = hints(integers("<i4", 16)(read(CLIPS[0])))
    assert hint.endswith("looks like pcm_s32le")


def test_the_hint_comes_within_two_seconds_of_speech() -> None:
    speech = FOREIGN["big-endian 16-bit integers"](read(CLIPS[0])[RATE_HZ:])
    assert hints(speech[: 2 * RATE_HZ * 2])


def test_stereo_is_judged_by_channel() -> None:
    left, right = read(CLIPS[0])[:80_000], read(CLIPS[1])[:74_000]
    both = np.stack((left[:74_000], right), axis=1).reshape(-1)
    assert hints(ENCODERS["pcm_s16le"](both), channels=2) == []
    assert len(hints(FOREIGN["big-endian 16-bit integers"](both), channels=2)) == 1


def wav_header(rate_hz: int, channels: int) -> bytes:
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", 0, b"WAVE", b"fmt ", 16, 1, channels, rate_hz, 2 * channels * rate_hz, 2 * channels, 16, b"data", 0),
    )


def test_a_wav_file_is_named_with_the_rate_and_channels_of_its_header() -> None:
    speech = ENCODERS["pcm_s16le"](read(CLIPS[0]))
    [hint] = hints(wav_header(44_100, 2) + speech)
    assert hint == (
        "pcm_s16le was declared, but the audio begins like a WAV file (44100 Hz, channels: 2): "
        "send it with the encoding auto"
    )


@for_each(
    ("beginning", "kind"),
    [
        (b"\x1aE\xdf\xa3", "a WebM or Matroska file"),
        (b"OggS\0\2", "an Ogg file"),
        (b"fLaC", "a FLAC file"),
        (b"ID3\4", "an MP3 file"),
        (b"\0\0\0\x20ftypisom", "an MP4 file"),
        (b"FORM\0\0\0\0AIFF", "an AIFF file"),
    ],
)
def test_a_file_is_named_by_its_signature(beginning: bytes, kind: str) -> None:
    [hint] = hints(beginning + bytes(20_000))
    assert f"begins like {kind}: " in hint


def test_a_signature_in_the_middle_of_a_stream_is_a_coincidence() -> None:
    check = EncodingCheck(AudioFormat(), first_sample=RATE_HZ)
    assert check.push(b"OggS" + bytes(20_000)) == ""


def test_compressed_audio_without_a_container_is_named() -> None:
    [hint] = hints(np.random.default_rng(1).bytes(100_000))
    assert "compressed audio" in hint


def test_noise_and_silence_pass() -> None:
    noise = np.random.default_rng(1).normal(size=10 * RATE_HZ)
    for rms in (0.0, 1e-4, 0.01, 0.1, 0.3):
        assert hints(ENCODERS["pcm_s16le"](rms * noise)) == [], rms


def sine(pitch_hz: float) -> Array:
    """Return a tone, which is long enough for a false alarm."""
    n_samples = (AGREEING_PARTS + 1) * PART_MS * RATE_HZ // 1000
    tone: Array = np.sin(2 * np.pi * pitch_hz * np.arange(n_samples) / RATE_HZ)
    return tone


@for_each("declared", SAMPLE_BYTES)
def test_a_tone_that_longer_samples_would_fold_into_a_low_one_passes(declared: str) -> None:
    for pitch_hz in spread((440, 2000, 3907, 4000, 4030, 4154, 5274, 5333, 7950), 3):
        tone = sine(pitch_hz)
        for level in (0.3, 1.0):
            assert hints(ENCODERS[declared](level * tone), declared) == [], (pitch_hz, level)


def test_loud_audio_of_24_bits_is_not_called_compressed() -> None:
    speech = read(CLIPS[0])
    loud = np.clip(speech * 0.35 / np.sqrt(np.mean(speech**2)), -1, 1)
    noise = np.random.default_rng(1).uniform(-1e-4, 1e-4, len(loud))  # in the lowest bits
    assert hints(s24le(loud * 0.999 + noise), "pcm_s24le") == []


@given(st.floats(20, 7990), st.floats(0, 1), st.booleans())
def test_a_tone_of_any_pitch_level_and_form_passes(pitch_hz: float, level: float, is_square: bool) -> None:
    tone = sine(pitch_hz)
    assert hints(ENCODERS["pcm_s16le"](level * (np.sign(tone) if is_square else tone))) == []


def test_speech_that_goes_on_after_a_reconnection_is_read_at_whole_samples_again() -> None:
    speech = ENCODERS["pcm_f32le"](read(CLIPS[0])[RATE_HZ : 3 * RATE_HZ])
    check = EncodingCheck(AudioFormat())
    assert check.push(speech[:10_003]) == ""
    # 4997 samples of 16 bits are not a whole number of 32-bit floats.
    check.rewind(4997)
    assert check.push(speech[2 * 4997 :])


def test_a_stream_that_sounds_as_declared_is_not_judged_for_ever() -> None:
    check = EncodingCheck(AudioFormat())
    assert check.push(ENCODERS["pcm_s16le"](read(CLIPS[0]))) == ""
    assert check.push(FOREIGN["big-endian 16-bit integers"](read(CLIPS[0]))) == ""


def test_noise_is_not_compared_for_ever() -> None:
    check = EncodingCheck(AudioFormat())
    noise = np.random.default_rng(1).normal(scale=0.3, size=(MAX_COMPARED_PARTS + 1) * PART_MS * RATE_HZ // 1000)
    assert check.push(ENCODERS["pcm_s16le"](noise)) == ""
    assert check.push(FOREIGN["big-endian 16-bit integers"](read(CLIPS[0]))) == ""
