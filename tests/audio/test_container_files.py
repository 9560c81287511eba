"""Real files have several tracks and many formats, and clients send containers one after the other."""

import functools
import io
from collections.abc import Sequence

import numpy as np
import pytest

from livecaption.audio.accepted import FILES
from livecaption.audio.container import PIECE_S, PROBE_S, Contents, decode_container
from livecaption.audio.formats import Samples
from livecaption.errors import InvalidAudio
from tests.support.cases import for_each, spread
from tests.support.containers import Track, container, dts_of_silence, loud_spans, tone, wav

SILENCE = np.zeros(48_000, np.float32)


class Stream(io.BytesIO):
    """Bytes that cannot be sought, as from a client."""

    def seekable(self) -> bool:
        return False


def decode(data: bytes) -> Samples:
    return np.concatenate([np.empty(0, np.float32), *decode_container(Stream(data))])


def decode_file(data: bytes, track: int | None = None) -> tuple[Samples, Contents]:
    contents: list[Contents] = []
    pieces = list(decode_container(io.BytesIO(data), contents.append, accepted=FILES, track=track))
    assert len(contents) == 1
    return np.concatenate(pieces), contents[0]


def what_can_be_decoded(data: bytes, *, as_file: bool) -> tuple[Samples, str | None]:
    """Return the samples before the error, and its code."""
    heard = [np.empty(0, np.float32)]
    try:
        heard.extend(decode_container(io.BytesIO(data), accepted=FILES) if as_file else decode_container(Stream(data)))
    except InvalidAudio as error:
        return np.concatenate(heard), error.code
    return np.concatenate(heard), None


def pitch_hz(samples: Samples) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    return round(float(np.argmax(spectrum) * 16_000 / samples.size), -1)


def refusal(data: bytes, *, as_file: bool = False, track: int | None = None) -> str:
    source = io.BytesIO(data) if as_file else Stream(data)
    how = {"accepted": FILES} if as_file else {}
    with pytest.raises(InvalidAudio) as refused:
        list(decode_container(source, track=track, **how))
    assert (refused.value.code, refused.value.fatal) == ("invalid_container", True)
    assert len(refused.value.message) <= 200  # messages of a decoder process are bounded
    return refused.value.message


# Tracks

LOW, HIGH = tone(hz=200.0), tone(hz=800.0)


def film(tracks: Sequence[Track], name: str = "matroska") -> bytes:
    return container(name, tracks, picture=True)


@pytest.mark.parametrize("name", ["matroska", "mp4"])
@pytest.mark.parametrize(
    ("channels", "defaults", "number", "hz"),
    [
        ((LOW, HIGH), (True, False), 1, 200),
        ((LOW, HIGH), (False, True), 2, 800),
        ((SILENCE, HIGH), (True, False), 2, 800),
        ((LOW, SILENCE), (False, True), 1, 200),
        ((SILENCE, SILENCE), (False, True), 2, 0),
        ((SILENCE, LOW, HIGH), (True, False, False), 2, 200),
    ],
    ids=["default", "second is default", "first is silent", "default is silent", "all are silent", "three"],
)
def test_the_default_track_is_decoded_or_the_first_with_sound(
    name: str, channels: tuple[Samples, ...], defaults: tuple[bool, ...], number: int, hz: float
) -> None:
    codec = "pcm_s16le" if name == "matroska" else "aac"
    tracks = [Track(each, codec, default=flag) for each, flag in zip(channels, defaults, strict=True)]
    data = film(tracks, name)
    samples, contents = decode_file(data)
    assert (contents.track, contents.n_tracks, pitch_hz(samples)) == (number, len(tracks), hz)
    assert len(samples) == pytest.approx(16_000, abs=1500)
    if name == "matroska":
        assert np.array_equal(decode(data), samples)


def test_a_broadcast_has_no_default_track() -> None:
    samples, contents = decode_file(film([Track(SILENCE, "aac"), Track(HIGH, "aac")], "mpegts"))
    assert (contents.track, pitch_hz(samples)) == (2, 800)


def test_any_track_can_be_asked_for() -> None:
    data = film([Track(LOW, default=True), Track(HIGH), Track(SILENCE)])
    assert [pitch_hz(decode_file(data, number)[0]) for number in (1, 2, 3)] == [200, 800, 0]
    assert decode_file(data, 2)[1].track == 2


def test_a_track_that_does_not_exist_is_refused_with_their_number() -> None:
    data = film([Track(LOW), Track(HIGH)])
    assert refusal(data, as_file=True, track=3) == "there is no audio track 3; the last one is 2"


def test_a_default_track_that_is_silent_for_long_gives_way() -> None:
    """A stream must not wait for its end."""
    long = np.zeros(int((PROBE_S + 5) * 16_000), np.float32)
    loud = np.resize(tone(16_000, hz=800.0), long.size)
    data = film([Track(long, sample_rate_hz=16_000, default=True), Track(loud, sample_rate_hz=16_000)])
    assert pitch_hz(decode(data)) == 800


def test_a_default_track_that_begins_to_sound_in_time_is_decoded_from_its_beginning() -> None:
    late = np.concatenate((np.zeros(int((PROBE_S - 3) * 16_000), np.float32), tone(16_000, hz=200.0)))
    loud = np.resize(tone(16_000, hz=800.0), late.size)
    data = film([Track(late, sample_rate_hz=16_000, default=True), Track(loud, sample_rate_hz=16_000)])
    samples, contents = decode_file(data)
    assert contents.track == 1
    assert loud_spans(samples) == [(pytest.approx(PROBE_S - 3, abs=0.05), pytest.approx(PROBE_S - 2, abs=0.05))]


def test_a_track_that_cannot_be_decoded_costs_no_other_one() -> None:
    late = np.concatenate((SILENCE, SILENCE, LOW))
    many = Track(np.stack([HIGH] * 16), layout="hexadecagonal")
    samples, contents = decode_file(film([Track(late, default=True), many]))
    assert (contents.track, contents.n_tracks, pitch_hz(samples[32_000:])) == (1, 2, 200)


# Formats

LOCAL = {
    "flv": ("flv", "aac", 44_100),
    "flv of mp3": ("flv", "libmp3lame", 44_100),
    "mpg": ("mpeg", "mp2", 48_000),
    "vob": ("vob", "ac3", 48_000),
    "ac3": ("ac3", "ac3", 48_000),
    "eac3": ("eac3", "eac3", 48_000),
    "wv": ("wv", "wavpack", 48_000),
    "tta": ("tta", "tta", 48_000),
    "nut": ("nut", "pcm_s16le", 48_000),
    "voc": ("voc", "pcm_u8", 8000),
    "voc of 16 bits": ("voc", "pcm_s16le", 16_000),
    "sox": ("sox", "pcm_s32le", 48_000),
    "wav of adpcm": ("wav", "adpcm_yamaha", 16_000),
}
NAMED = {
    "flv": "it looks like FLV",
    "flv of mp3": "it looks like FLV",
    "mpg": "it looks like MPEG program stream",
    "vob": "it looks like MPEG program stream",
    "ac3": "it looks like AC-3",
    "eac3": "it looks like AC-3",
    "wv": "it looks like WavPack",
    "tta": "it looks like TTA",
    "nut": "it looks like NUT",
    "voc": "it looks like VOC",
    "voc of 16 bits": "it looks like VOC",
    "sox": "it looks like SoX",
    "wav of adpcm": "codec adpcm_yamaha",
}


@functools.cache
def local(name: str) -> bytes:
    muxer, codec, rate_hz = LOCAL[name]
    return container(muxer, [Track(tone(rate_hz), codec, rate_hz)], picture=name in ("mpg", "vob"))


@for_each("name", LOCAL)
def test_a_file_of_any_common_format_is_read(name: str) -> None:
    samples, _ = decode_file(local(name))
    assert pitch_hz(samples) == 440
    assert len(samples) == pytest.approx(16_000, abs=2000)


def test_dts_is_read() -> None:
    samples, _ = decode_file(dts_of_silence(100))
    assert len(samples) == pytest.approx(100 * 512 / 3, abs=1)
    assert "DTS" in refusal(dts_of_silence(100))


def test_a_film_of_a_studio_is_read() -> None:
    samples, _ = decode_file(container("mxf", [Track(tone())], picture=True))
    assert (pitch_hz(samples), len(samples)) == (440, 16_000)


@for_each("name", LOCAL)
def test_a_stream_of_a_format_for_files_is_refused_by_its_name(name: str) -> None:
    assert NAMED[name] in refusal(local(name))


@for_each(
    ("data", "what"),
    [
        (b"%PDF-1.7" + bytes(1000), "PDF"),
        (b"PK\x03\x04" + bytes(1000), "ZIP"),
        (b"The quick brown fox jumps over the lazy dog. " * 100, "text"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n", "playlist"),
    ],
)
@for_each("as_file", [True, False])
def test_a_file_that_is_no_audio_is_named(data: bytes, what: str, as_file: bool) -> None:
    assert what in refusal(data, as_file=as_file)


@for_each(
    ("data", "what"),
    [
        (wav(bytes(18_000), n_channels=9), "its audio has 9 channels; it may have 1 to 8"),
        (
            wav(bytes(8000), sample_rate_hz=400_000),
            "its audio has a sample rate of 400000 Hz; it may have 4000 to 384000",
        ),
    ],
)
@for_each("as_file", [True, False])
def test_audio_out_of_range_is_refused_with_the_reason(data: bytes, what: str, as_file: bool) -> None:
    assert refusal(data, as_file=as_file) == what


def test_an_mp4_that_is_no_stream_is_refused_with_the_reason() -> None:
    assert "index at the end" in refusal(container("mp4", [Track(tone(), "aac")]))


@for_each("name", spread(LOCAL, 5))
def test_a_damaged_file_raises_nothing_but_our_errors(name: str) -> None:
    for seed, n_bytes in enumerate((1, 8, 64)):
        chance = np.random.default_rng([list(LOCAL).index(name), seed])
        data = bytearray(local(name))
        for _ in range(n_bytes):
            data[chance.integers(len(data) if chance.random() < 0.5 else 400)] = chance.integers(256)
        samples, code = what_can_be_decoded(bytes(data), as_file=True)
        assert np.isfinite(samples).all()
        assert code in (None, "invalid_container", "truncated_audio")


# Wrong lengths, and containers one after the other

PCM = (tone(16_000) * 32767).astype("<i2").tobytes()


@for_each("stated_bytes", [0, 2, 16_000, 2**31 - 1, 2**31, 2**32 - 100, 2**32 - 1])
def test_a_wav_of_any_stated_length_is_read_to_its_end(stated_bytes: int) -> None:
    data = wav(PCM, stated_bytes=stated_bytes)
    whole = decode(wav(PCM))
    assert np.array_equal(decode_file(data)[0], whole)
    assert np.array_equal(decode(data), whole)


@for_each("stated_bytes", [None, 0, 2**32 - 1])
@for_each("rate_hz", [16_000, 44_100])
def test_pieces_that_are_whole_wavs_are_one_stream(rate_hz: int, stated_bytes: int | None) -> None:
    """Not a bit differs from one WAV: a resampler that began again would click at each piece."""
    piece_bytes = rate_hz // 4 * 2
    pieces = [
        wav(PCM[begin : begin + piece_bytes], sample_rate_hz=rate_hz, stated_bytes=stated_bytes)
        for begin in range(0, len(PCM), piece_bytes)
    ]
    data = b"".join(pieces)
    whole = decode(wav(PCM, sample_rate_hz=rate_hz))
    assert np.array_equal(decode_file(data)[0], whole)
    assert np.array_equal(decode(data), whole)


def test_pieces_of_different_rates_are_all_read() -> None:
    data = wav(PCM) + wav((tone(8000) * 32767).astype("<i2").tobytes(), sample_rate_hz=8000) + wav(PCM)
    samples = decode(data)
    assert len(samples) == pytest.approx(48_000, abs=100)
    assert [pitch_hz(samples[begin : begin + 14_000]) for begin in (1000, 17_000, 33_000)] == [440] * 3


def test_a_short_first_piece_costs_nothing_of_the_next_one() -> None:
    """Both begin in the bytes by which the kind is recognized."""
    short = wav(PCM[:100], sample_rate_hz=8000)
    assert len(decode(short + wav(PCM))) == pytest.approx(16_000 + 100, abs=10)


FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "200000"}
PIECES: dict[str, tuple[str, str, dict[str, str]]] = {
    "webm": ("webm", "libopus", {}),
    "webm of a recorder": ("webm", "libopus", {"live": "1"}),
    "fragmented mp4": ("mp4", "aac", FRAGMENTED),
    "mp4 with its index in front": ("mp4", "aac", {"moov_size": "4096"}),
    "aiff": ("aiff", "pcm_s16be", {}),
    "ogg": ("ogg", "libopus", {}),
    "flac": ("flac", "flac", {}),
    "adts": ("adts", "aac", {}),
    "mpeg-ts": ("mpegts", "aac", {}),
}


@functools.cache
def piece(name: str) -> bytes:
    muxer, codec, options = PIECES[name]
    live = name in ("webm of a recorder", "fragmented mp4")
    return container(muxer, [Track(tone(), codec)], options=options, live=live)


@for_each("name", spread(PIECES, 4))
def test_pieces_that_are_whole_containers_are_all_read(name: str) -> None:
    one = decode(piece(name))
    assert len(decode(piece(name) * 3)) == pytest.approx(3 * len(one), abs=1000)


def test_each_piece_has_a_clock_of_its_own() -> None:
    first = container("matroska", [Track(tone(duration_s=0.5))])
    second = container("matroska", [Track(tone(duration_s=0.6), hole=(0.1, 0.4))])
    assert loud_spans(decode(first + second)) == [(0.0, 0.6), (1.0, 1.5)]


def test_a_first_piece_without_audio_costs_no_other_one() -> None:
    good = piece("webm of a recorder")
    header = good[: good.index(b"\x1f\x43\xb6\x75")]
    samples, code = what_can_be_decoded(header + good, as_file=False)
    assert code == "truncated_audio"
    assert np.array_equal(samples, decode(good))


def test_a_damaged_piece_costs_no_other_one() -> None:
    good = piece("webm of a recorder")
    bad = good[:300] + np.random.default_rng(0).bytes(len(good) - 300)
    samples, code = what_can_be_decoded(good + bad + good, as_file=False)
    assert code == "truncated_audio"
    assert len(samples) >= 31_000


# Channels that are kept apart


def decode_apart(data: bytes, *, as_file: bool = True) -> tuple[Samples, Contents]:
    contents: list[Contents] = []
    source = io.BytesIO(data) if as_file else Stream(data)
    pieces = list(decode_container(source, contents.append, accepted=FILES, channel_mode="separate"))
    assert all(piece.size <= PIECE_S * 16_000 for piece in pieces)  # so that each fits into a message
    return np.concatenate(pieces), contents[0]


def pitches_hz(samples: Samples) -> list[float]:
    return [pitch_hz(channel) for channel in samples.T]


@for_each(
    ("name", "codec", "layout", "rate_hz"),
    [
        ("wav", "pcm_s16le", "stereo", 16_000),
        ("wav", "pcm_s16le", "5.1", 4_000),
        ("wav", "pcm_s16le", "5.1", 44_100),
        ("ogg", "libopus", "stereo", 48_000),
        ("flac", "flac", "stereo", 44_100),
        ("matroska", "aac", "stereo", 44_100),
        ("mp3", "libmp3lame", "stereo", 44_100),
    ],
)
def test_channels_that_are_kept_apart_are_those_of_the_container(
    name: str, codec: str, layout: str, rate_hz: int
) -> None:
    n_channels = 6 if layout == "5.1" else 2
    hz = [300.0 + 100 * number for number in range(n_channels)]
    channels = np.stack([tone(rate_hz, 1.0, each) for each in hz])
    data = container(name, [Track(channels, codec, rate_hz, layout)])
    for as_file in (True, False):
        samples, contents = decode_apart(data, as_file=as_file)
        assert (samples.shape[1], contents.n_channels) == (n_channels, n_channels)
        assert pitches_hz(samples[4000:-4000]) == pytest.approx(hz, abs=10)


def test_mixed_channels_are_one() -> None:
    channels = np.stack([tone(16_000, 1.0), tone(16_000, 1.0)])
    samples, contents = decode_file(container("wav", [Track(channels, sample_rate_hz=16_000, layout="stereo")]))
    assert (samples.ndim, contents.n_channels) == (1, 1)


def test_a_hole_is_silent_in_all_channels() -> None:
    channels = np.stack([tone(16_000, 4.0, 300.0), tone(16_000, 4.0, 500.0)])
    track = Track(channels, sample_rate_hz=16_000, layout="stereo", hole=(2.0, 10.0))
    samples, _ = decode_apart(container("matroska", [track]))
    assert samples.shape[0] == pytest.approx(14 * 16_000, abs=2000)
    assert not samples[5 * 16_000 : 9 * 16_000].any()
    assert pitches_hz(samples[-16_000:]) == pytest.approx([300, 500], abs=10)


def test_a_piece_with_fewer_channels_leaves_the_others_silent() -> None:
    """Each of these is a whole file, as some clients send their audio."""
    stereo = np.stack([tone(16_000, 2.0, 300.0), tone(16_000, 2.0, 500.0)])
    data = container("ogg", [Track(stereo, "flac", 16_000, "stereo")])
    data += container("ogg", [Track(tone(16_000, 2.0), "flac", 16_000)])
    samples, contents = decode_apart(data, as_file=False)
    assert contents.n_channels == 2
    assert pitches_hz(samples[:24_000]) == pytest.approx([300, 500], abs=10)
    assert pitch_hz(samples[40_000:, 0]) == pytest.approx(440, abs=10)
    assert not samples[40_000:, 1].any()


STEREO = Track(np.stack((LOW, HIGH)), layout="stereo")
SIXTEEN = Track(np.stack([HIGH] * 16), layout="hexadecagonal", default=True)


def test_a_track_with_too_many_channels_to_keep_apart_costs_no_other_one() -> None:
    samples, contents = decode_apart(film([SIXTEEN, STEREO]))
    assert (contents.track, contents.n_tracks, contents.n_channels) == (2, 2, 2)
    assert pitches_hz(samples) == pytest.approx([200, 800], abs=10)


@pytest.mark.parametrize(("tracks", "asked"), [([SIXTEEN], None), ([SIXTEEN, STEREO], 1)])
def test_too_many_channels_to_keep_apart_are_refused_if_no_other_track_may_be_taken(
    tracks: list[Track], asked: int | None
) -> None:
    source = io.BytesIO(film(tracks))
    with pytest.raises(InvalidAudio, match="its audio has 16 channels; it may have 1 to 8"):
        list(decode_container(source, accepted=FILES, track=asked, channel_mode="separate"))
