"""Tracks of any rate are decoded at their presentation time."""

import functools
import io

import numpy as np
import pytest

from livecaption.audio.accepted import FILES
from livecaption.audio.container import decode_container
from livecaption.audio.formats import Samples
from livecaption.audio.track import PIECE_S
from tests.support.cases import for_each, spread
from tests.support.containers import Track, container, loud_spans, tone


class Stream(io.BytesIO):
    """Bytes that cannot be sought, as from a client."""

    def seekable(self) -> bool:
        return False


FRAGMENTED = {"movflags": "frag_keyframe+delay_moov+default_base_moof", "frag_duration": "200000"}
FORMATS: dict[str, tuple[str, str, dict[str, str]]] = {
    "matroska": ("matroska", "pcm_s16le", {}),
    "matroska of opus": ("matroska", "libopus", {}),
    "webm": ("webm", "libopus", {}),
    "mp4": ("mp4", "aac", {}),
    "fragmented mp4": ("mp4", "aac", FRAGMENTED),
    "mpeg-ts": ("mpegts", "aac", {}),
    "flv": ("flv", "aac", {}),
    "nut": ("nut", "pcm_s16le", {}),
}
IN_FILES_ONLY = ("mp4", "flv", "nut")
LATE = [(name, True) for name in FORMATS] + [
    # The clock of a broadcast begins anywhere: of a stream, nobody knows what came before its first audio.
    (name, False)
    for name in FORMATS
    if name not in (*IN_FILES_ONLY, "mpeg-ts")
]
WITH_HOLES = [(name, True) for name in FORMATS] + [(name, False) for name in FORMATS if name not in IN_FILES_ONLY]


@functools.cache
def encoded(name: str, **track: object) -> bytes:
    muxer, codec, options = FORMATS[name]
    rate_hz = 44_100 if name == "flv" else 48_000
    picture = name in ("matroska", "mp4", "mpeg-ts")
    return container(
        muxer,
        [Track(tone(rate_hz), codec, rate_hz, **track)],
        options=options,
        picture=picture,
    )


def decode(data: bytes, *, as_file: bool) -> Samples:
    source = io.BytesIO(data) if as_file else Stream(data)
    pieces = list(decode_container(source, accepted=FILES)) if as_file else list(decode_container(source))
    assert max(map(len, pieces)) <= 1.1 * PIECE_S * 16_000
    return np.concatenate(pieces)


@for_each(("name", "as_file"), spread(LATE, 5))
def test_audio_that_begins_late_is_at_its_time(name: str, as_file: bool) -> None:
    spans = loud_spans(decode(encoded(name, begin_s=4.9), as_file=as_file))
    assert spans == [(pytest.approx(4.9, abs=0.1), pytest.approx(5.9, abs=0.15))]


@for_each(("name", "as_file"), spread(WITH_HOLES, 5))
def test_a_hole_in_the_time_stamps_is_silence(name: str, as_file: bool) -> None:
    first, second = loud_spans(decode(encoded(name, hole=(0.5, 10.0)), as_file=as_file))
    assert first == (pytest.approx(0.0, abs=0.1), pytest.approx(0.5, abs=0.1))
    assert second == (pytest.approx(10.5, abs=0.1), pytest.approx(11.0, abs=0.15))


def test_a_hole_is_exact() -> None:
    data = container("matroska", [Track(tone(), hole=(0.5, 10.0))])
    assert loud_spans(decode(data, as_file=True)) == [(0.0, 0.5), (10.5, 11.0)]


@pytest.mark.parametrize("offset_s", [20, 50_000])
def test_a_broadcast_begins_with_its_own_clock(offset_s: int) -> None:
    track = Track(tone(), "aac", begin_s=4.9)
    data = container("mpegts", [track], picture=True, options={"output_ts_offset": str(offset_s)})
    assert loud_spans(decode(data, as_file=True)) == [(pytest.approx(4.9, abs=0.1), pytest.approx(5.9, abs=0.15))]


@pytest.mark.parametrize("begin_s", [93_600.0, 1800.0])
def test_a_stream_that_was_joined_on_its_way_begins_at_once(begin_s: float) -> None:
    assert loud_spans(decode(encoded("webm", begin_s=begin_s), as_file=False))[0][0] < 0.1


def test_a_hole_that_is_no_pause_is_closed() -> None:
    samples = decode(encoded("webm", hole=(0.5, 100_000.0)), as_file=False)
    assert len(samples) == pytest.approx(16_000, abs=2000)


@for_each("codec", ["pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_u8"])
@for_each("rate_hz", [6000, 8000, 96_000, 192_000])
def test_wavs_of_all_widths_and_rates_are_read(codec: str, rate_hz: int) -> None:
    data = container("wav", [Track(tone(rate_hz, 0.25), codec, rate_hz)])
    samples = decode(data, as_file=False)
    assert len(samples) == 4000
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.02)


@for_each(("name", "codec"), [("wav", "pcm_s16le"), ("flac", "flac"), ("webm", "libopus"), ("mp3", "mp3")])
def test_channels_that_cancel_each_other_do_not_become_silence(name: str, codec: str) -> None:
    channels = np.stack((tone(), -tone()))
    data = container(name, [Track(channels, codec, layout="stereo")])
    samples = decode(data, as_file=False)
    assert np.abs(samples[8000:]).max() == pytest.approx(0.5, rel=0.1)
