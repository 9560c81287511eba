import io
import struct
from typing import Any

import av
import numpy as np
import pytest

from livecaption.audio.container import PIECE_S, decode_container
from livecaption.audio.formats import Samples
from livecaption.errors import InvalidAudio
from tests.support.cases import for_each, spread
from tests.support.containers import QUICKLY, WriteOnly, flac_of_silence


class Pipe(io.RawIOBase):
    """Bytes that come in pieces and cannot be sought, as from a socket."""

    def __init__(self, data: bytes, piece_bytes: int = 700, error: Exception | None = None) -> None:
        self.data = data
        self.piece_bytes = piece_bytes
        self.error = error
        self.n_read = 0

    def readable(self) -> bool:
        return True

    def read(self, n_bytes: int = -1) -> bytes:
        piece = self.data[self.n_read : self.n_read + min(n_bytes, self.piece_bytes)]
        self.n_read += len(piece)
        if self.error and not piece:
            raise self.error
        return piece


N_SAMPLES = 16_000
"""One second at the rate that containers are decoded to."""
INNER = slice(4000, 12_000)


def tone(sample_rate_hz: int, duration_s: float = 1.0) -> Samples:
    time_s = np.arange(round(sample_rate_hz * duration_s)) / sample_rate_hz
    return (0.5 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)


def encode(
    container: str,
    codec: str,
    sample_rate_hz: int,
    options: dict[str, str] | None = None,
    *,
    live: bool = False,
    channels: int = 1,
    sample_format: str | None = None,
) -> bytes:
    """One second of 440 Hz."""
    file = WriteOnly() if live else io.BytesIO()
    with av.open(file, "w", format=container, options=options or {}) as output:
        layout = "mono" if channels == 1 else "stereo"
        stream = output.add_stream(codec, rate=sample_rate_hz, layout=layout, options=QUICKLY.get(codec, {}))
        if sample_format:
            stream.format = sample_format
        samples = np.repeat(tone(sample_rate_hz)[np.newaxis], channels, axis=0)
        for start in range(0, samples.shape[1], 960):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[:, start : start + 960]), format="fltp", layout=layout
            )
            frame.sample_rate = sample_rate_hz
            frame.pts = start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return bytes(file.written) if live else file.getvalue()


FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "200000"}

CONTAINERS = {
    "wav": lambda: encode("wav", "pcm_s16le", 44_100, channels=2),
    "wav of floats": lambda: encode("wav", "pcm_f32le", 16_000),
    "wav of bytes": lambda: encode("wav", "pcm_u8", 16_000),
    "wav of 24 bits": lambda: encode("wav", "pcm_s24le", 48_000, channels=2),
    "wav through a pipe": lambda: encode("wav", "pcm_s16le", 16_000, live=True),
    "webm": lambda: encode("webm", "libopus", 48_000),
    "webm as recorders send it": lambda: encode(
        "webm", "libopus", 48_000, {"live": "1", "cluster_time_limit": "100"}, live=True
    ),
    "ogg": lambda: encode("ogg", "libopus", 48_000, {"page_duration": "100000"}, live=True),
    "flac": lambda: encode("flac", "flac", 48_000, sample_format="s16"),
    "mp3": lambda: encode("mp3", "libmp3lame", 44_100, channels=2),
    "fragmented mp4": lambda: encode("mp4", "aac", 44_100, FRAGMENTED, live=True),
    "aac": lambda: encode("adts", "aac", 44_100),
    "aiff": lambda: encode("aiff", "pcm_s16be", 44_100, channels=2),
    "au": lambda: encode("au", "pcm_s16be", 16_000),
    "avi": lambda: encode("avi", "pcm_s16le", 16_000),
    "caf": lambda: encode("caf", "pcm_s16le", 48_000, live=True),
    "mpeg-ts": lambda: encode("mpegts", "aac", 44_100),
    "mp4 with its index in front": lambda: encode("mp4", "aac", 44_100, {"moov_size": "2048"}),
}
encoded = {}


def container_of(name: str) -> bytes:
    if name not in encoded:
        encoded[name] = CONTAINERS[name]()
    return encoded[name]


def decode(data: bytes, **how: Any) -> Samples:
    return np.concatenate([np.empty(0, np.float32), *decode_container(Pipe(data, **how))])


def peak_hz(samples: Samples) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    return np.argmax(spectrum) * 16_000 / samples.size


def decode_what_can_be(data: bytes, **how: Any) -> tuple[Samples, tuple[str, bool] | None]:
    """(samples, error): all that came before the error, or None."""
    decoded = [np.empty(0, np.float32)]
    try:
        decoded.extend(decode_container(Pipe(data, **how)))
    except InvalidAudio as error:
        return np.concatenate(decoded), (error.code, error.fatal)
    return np.concatenate(decoded), None


@for_each("name", CONTAINERS)
def test_audio_of_a_container_is_decoded_as_it_was_encoded(name: str) -> None:
    samples = decode(container_of(name))
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(N_SAMPLES, abs=2000)
    assert peak_hz(samples[INNER]) == pytest.approx(440, abs=1)
    assert np.abs(samples[INNER]).max() == pytest.approx(0.5, rel=0.1)


def test_the_end_is_not_held_back() -> None:
    """Neither by the decoder nor by the resampler."""
    assert len(decode(container_of("wav"))) == N_SAMPLES


def test_a_rate_that_changes_on_the_way_is_followed() -> None:
    """Radio streams do this, where a jingle of another rate is put in."""
    bare = {"write_xing": "0", "id3v2_version": "0"}
    parts = [encode("mp3", "libmp3lame", rate_hz, bare, live=True) for rate_hz in (44_100, 22_050)]
    samples = decode(b"".join(parts))
    # A decoder that starts afresh gives some 200 samples more; what the first resampler still held is 420.
    assert len(samples) == pytest.approx(sum(len(decode(part)) for part in parts), abs=300)
    for inner in (samples[INNER], samples[N_SAMPLES:][INNER]):
        assert peak_hz(inner) == pytest.approx(440, abs=1)


@for_each("name", spread(CONTAINERS, 6))
def test_bytes_cut_anywhere_give_the_same_audio(name: str) -> None:
    data = container_of(name)
    for piece_bytes, sent in ((1, data[:3000]), (333, data)):  # all of it one by one would take seconds
        whole, fault = decode_what_can_be(sent, piece_bytes=len(sent))
        decoded, fault_when_cut = decode_what_can_be(sent, piece_bytes=piece_bytes)
        assert fault_when_cut == fault
        assert np.array_equal(decoded, whole)


@for_each("name", spread(CONTAINERS, 6))
def test_a_container_that_ends_early_gives_what_it_held(name: str) -> None:
    data = container_of(name)
    whole = decode(data)
    for part in (0.5, 0.77, 0.98):
        decoded, error = decode_what_can_be(data[: round(part * len(data))])
        assert error in (None, ("truncated_audio", False))
        assert len(decoded) >= (part - 0.35) * len(whole)
        # The resampler's last 10 ms would be other if more had followed, and a flush rounds in another way.
        np.testing.assert_allclose(decoded[:-160], whole[: len(decoded) - 160], atol=1e-5)


@for_each("name", ["webm as recorders send it", "ogg", "fragmented mp4", "wav of floats", "mp3"])
def test_audio_comes_while_the_rest_is_still_being_sent(name: str) -> None:
    """Half a second after it was sent."""
    data = container_of(name)
    pipe = Pipe(data, piece_bytes=100)
    n_decoded = 0
    for piece in decode_container(pipe):
        n_sent = pipe.n_read / len(data) * N_SAMPLES
        assert n_sent - n_decoded <= 0.5 * 16_000
        n_decoded += piece.size


def test_a_wav_of_16_bits_begins_when_64_kib_are_there() -> None:
    pipe = Pipe(container_of("wav"))
    next(decode_container(pipe))
    assert pipe.n_read <= 66_300


def test_rubbish_is_refused_before_all_of_it_has_come() -> None:
    pipe = Pipe(np.random.default_rng(0).bytes(2_000_000), piece_bytes=4000)
    with pytest.raises(InvalidAudio):
        next(decode_container(pipe))
    assert pipe.n_read <= 1_100_000


def silent_film() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 32), np.uint8), format="yuv420p")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


REFUSED = {
    "nothing": lambda: b"",
    "one byte": lambda: b"R",
    "rubbish": lambda: np.random.default_rng(0).bytes(100_000),
    "zeros": lambda: bytes(100_000),
    "text": lambda: b"The quick brown fox jumps over the lazy dog. " * 1000,
    "a playlist": lambda: b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
    "a list of files": lambda: b"ffconcat version 1.0\nfile /etc/hostname\n",
    "a head alone": lambda: container_of("webm")[:100],
    "a film without sound": silent_film,
    "an unknown codec": lambda: container_of("webm").replace(b"A_OPUS", b"A_XYZW"),
    "an mp4 with its index at the end": lambda: encode("mp4", "aac", 44_100),
    "another format": lambda: encode("ac3", "ac3", 48_000),
    "a rate out of range": lambda: container_of("wav of floats").replace(
        (16_000).to_bytes(4, "little"), (200).to_bytes(4, "little"), 1
    ),
}


@for_each("what", REFUSED)
def test_a_container_that_cannot_be_decoded_is_refused(what: str) -> None:
    with pytest.raises(InvalidAudio) as refusal:
        decode(REFUSED[what]())
    assert (refusal.value.code, refusal.value.fatal) == ("invalid_container", True)


@for_each("name", spread(CONTAINERS, 6))
def test_a_damaged_container_raises_nothing_but_our_errors(name: str) -> None:
    for seed, n_bytes in enumerate((1, 8, 64)):
        chance = np.random.default_rng([list(CONTAINERS).index(name), seed])
        data = bytearray(container_of(name))
        for _ in range(n_bytes):
            data[chance.integers(len(data) if chance.random() < 0.5 else 400)] = chance.integers(256)
        decoded, error = decode_what_can_be(bytes(data))
        assert error in (None, ("invalid_container", True), ("truncated_audio", False))
        assert np.isfinite(decoded).all()


def test_damage_is_reported_after_all_that_could_be_decoded() -> None:
    data = bytearray(container_of("fragmented mp4"))
    data[len(data) // 2 : len(data) // 2 + 300] = np.random.default_rng(0).bytes(300)
    decoded, error = decode_what_can_be(bytes(data))
    assert error == ("truncated_audio", False)
    assert len(decoded) > N_SAMPLES / 2


def test_values_that_are_not_finite_become_silence() -> None:
    data = bytearray(container_of("wav of floats"))
    data[-4000:] = np.array([np.nan, np.inf, -np.inf, 1e30], "<f4").tobytes() * 250
    samples = decode(bytes(data))
    assert set(samples[-1000:].tolist()) == {0.0, 1.0}


def test_a_source_that_can_seek_may_have_its_index_at_the_end() -> None:
    samples = np.concatenate(list(decode_container(io.BytesIO(encode("mp4", "aac", 44_100)))))
    assert len(samples) == pytest.approx(N_SAMPLES, abs=2000)


@for_each("name", ["webm", "mp3", "wav of floats"])
@for_each("kind", [ConnectionAbortedError, ValueError])
def test_an_error_of_the_source_comes_out_as_it_is(name: str, kind: type[Exception]) -> None:
    """The stream was aborted: that is not the container's fault."""
    data = container_of(name)
    for part in (0, 0.01, 0.5, 1):
        with pytest.raises(kind, match="the peer is gone"):
            decode(data[: round(part * len(data))], error=kind("the peer is gone"))


def test_a_source_that_returns_too_much_is_stopped() -> None:
    """Its bytes would be written beyond FFmpeg's memory."""

    class Generous(Pipe):
        def read(self, n_bytes: int = -1) -> bytes:
            return bytes(n_bytes + 1)

    with pytest.raises(RuntimeError, match="more bytes"):
        list(decode_container(Generous(b"")))


def test_a_reader_may_stop_in_the_middle() -> None:
    pipe = Pipe(container_of("webm"))
    pieces = decode_container(pipe)
    assert next(pieces).size > 0
    pieces.close()  # type: ignore[attr-defined]
    assert not pipe.closed


@for_each(("name", "duration_s"), [("wav", 1.0), ("flac", 1.0), ("mp3", 1.0), ("webm as recorders send it", None)])
def test_the_length_is_reported_where_the_head_has_it(name: str, duration_s: float | None) -> None:
    opened = []
    list(decode_container(io.BytesIO(container_of(name)), opened.append))
    assert [contents.duration_s for contents in opened] == [duration_s and pytest.approx(duration_s, abs=0.1)]


def test_a_file_that_is_no_container_has_no_length() -> None:
    durations = []
    with pytest.raises(InvalidAudio):
        list(decode_container(io.BytesIO(b"not audio"), durations.append))
    assert durations == []


def surround(container: str, codec: str, sample_format: str, layout: str, level_of_channel: list[float]) -> bytes:
    """One second of 440 Hz in which each channel has a level of its own."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=48_000, layout=layout, options=QUICKLY.get(codec, {}))
        samples = 2 * np.outer(np.array(level_of_channel, np.float32), tone(48_000))
        frame = av.AudioFrame.from_ndarray(samples.T.reshape(1, -1).copy(), format="flt", layout=layout)
        frame.sample_rate = 48_000
        fitting = av.AudioResampler(sample_format, layout, 48_000, 1024)
        for part in [*fitting.resample(frame), *fitting.resample(None), None]:
            output.mux(stream.encode(part))
    return file.getvalue()


SURROUND = {
    "7.1 wav, interleaved": ("wav", "pcm_s16le", "s16", "7.1"),
    "7.1 flac": ("flac", "flac", "s16", "7.1"),
    "7.1 aac": ("adts", "aac", "fltp", "7.1"),
    "7.1 opus": ("webm", "libopus", "flt", "7.1"),
    "5.1 aac": ("adts", "aac", "fltp", "5.1"),
}


@for_each("name", spread(SURROUND, 2))
def test_all_channels_are_averaged(name: str) -> None:
    """Eight planes are all that FFmpeg's frame has room for, with no null pointer behind them."""
    container, codec, sample_format, layout = SURROUND[name]
    n_channels = 8 if layout == "7.1" else 6
    levels = [0.0] * n_channels
    levels[0], levels[1], levels[-1] = 0.4, 0.4, 0.2  # of the low-frequency channel a lossy codec keeps nothing
    data = surround(container, codec, sample_format, layout, levels)
    samples = np.concatenate(list(decode_container(io.BytesIO(data))))
    assert len(samples) == pytest.approx(N_SAMPLES, abs=1500)
    assert np.abs(samples[INNER]).max() == pytest.approx(1.0 / n_channels, rel=0.15)


@for_each("n_channels", [9, 16, 32])
def test_more_channels_than_eight_are_refused(n_channels: int) -> None:
    format_chunk = struct.pack(
        "<4sIHHIIHH", b"fmt ", 16, 1, n_channels, 16_000, 32_000 * n_channels, 2 * n_channels, 16
    )
    audio = bytes(2 * n_channels * 16_000)
    data_chunk = struct.pack("<4sI", b"data", len(audio)) + audio
    wav = struct.pack("<4sI4s", b"RIFF", 4 + len(format_chunk + data_chunk), b"WAVE") + format_chunk + data_chunk
    decoded, error = decode_what_can_be(wav)
    assert (len(decoded), error) == (0, ("invalid_container", True))


def test_pieces_are_short_however_long_the_frames_are() -> None:
    """A recording that is silent has 8 s of 8 kHz in 13 bytes of FLAC."""
    pieces = [len(piece) for piece in decode_container(io.BytesIO(flac_of_silence(n_frames=3)))]
    assert sum(pieces) == pytest.approx(3 * 65_535 * 2, abs=1)
    assert max(pieces) <= 1.1 * PIECE_S * 16_000  # what the resampler held comes with one of them


def test_a_decoder_that_is_not_on_the_list_is_not_reached() -> None:
    data = encode("matroska", "wavpack", 16_000, sample_format="fltp")
    assert decode_what_can_be(data)[1] == ("invalid_container", True)
