"""A stream is cut where another container begins, and nowhere else."""

import functools

import numpy as np
import pytest

from livecaption.audio.pieces import BEGINNING_BYTES, piece_of
from livecaption.audio.wav import WavRepair
from tests.support.cases import for_each
from tests.support.containers import Track, container, tone, wav

FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "200000"}
CONTAINERS: dict[str, tuple[str, str, dict[str, str]]] = {
    "webm": ("webm", "libopus", {}),
    "webm of a recorder": ("webm", "libopus", {"live": "1"}),
    "matroska": ("matroska", "pcm_s16le", {}),
    "mp4": ("mp4", "aac", {"moov_size": "4096"}),
    "fragmented mp4": ("mp4", "aac", FRAGMENTED),
    "aiff": ("aiff", "pcm_s16be", {}),
}


@functools.cache
def encoded(name: str) -> bytes:
    muxer, codec, options = CONTAINERS[name]
    live = name in ("webm of a recorder", "fragmented mp4")
    return container(muxer, [Track(tone(), codec)], options=options, live=live)


def cut(data: bytes, chunk_bytes: int) -> list[bytes]:
    """Return the bytes of each container."""
    pieces, at = [], 0
    rest: bytes | None = data[:BEGINNING_BYTES]
    at = BEGINNING_BYTES
    while rest is not None:
        piece = piece_of(rest)
        assert piece is not None
        passed = piece.push(rest)
        while piece.rest is None and at < len(data):
            passed += piece.push(data[at : at + chunk_bytes])
            at += chunk_bytes
        pieces.append(passed if piece.rest is not None else passed + piece.finish())
        rest = piece.rest
    return pieces


@pytest.mark.parametrize("name", CONTAINERS)
@for_each("chunk_bytes", [1, 333, 4096, 1_000_000])
def test_each_container_has_its_own_bytes(name: str, chunk_bytes: int) -> None:
    data = encoded(name)
    if chunk_bytes == 1:
        data = data[:3000]
    pieces = cut(data * 3, chunk_bytes)
    assert len(pieces) == 3
    # FFmpeg may have got the four bytes before `ftyp` as the end of the container before.
    n_early = 4 if "mp4" in name else 0
    for piece in pieces:
        assert piece[: len(data)] == data
        assert len(piece) <= len(data) + n_early


@for_each("name", CONTAINERS)
def test_all_bytes_are_passed_on_at_once(name: str) -> None:
    """Bytes that waited for the next message would delay captions."""
    data = encoded(name)
    piece = piece_of(data[:BEGINNING_BYTES])
    assert piece is not None
    assert piece.push(data) == data


def test_bytes_like_a_beginning_are_no_beginning() -> None:
    data = encoded("webm")
    doubtful = [b"\x1a", b"\x1a\x45\xdf", b"\x1a\x45\xdf\xa3" + bytes(90), b"\x1a\x45\xdf\xa3" * 30]
    assert cut(data + b"".join(doubtful), 7) == [data + b"".join(doubtful)]
    mp4 = encoded("fragmented mp4") + b"some" + b"ftyp" * 20 + bytes(20) + b"f"
    assert cut(mp4, 7) == [mp4]


def test_a_wav_is_repaired_on_its_way() -> None:
    assert isinstance(piece_of(wav(bytes(100))), WavRepair)


@for_each("head", [b"", b"RIFF1234AVI LIST", b"OggS" + bytes(100), b"fLaC" + bytes(100), bytes(200)])
def test_others_are_not_cut(head: bytes) -> None:
    """FFmpeg goes on by itself where another Ogg, FLAC, MP3 or ADTS begins."""
    assert piece_of(head) is None


@for_each(("name", "is_cut"), [("webm", True), ("mp4", False), ("aiff", False)])
def test_a_file_that_may_have_to_be_read_from_its_end_is_not_cut(name: str, is_cut: bool) -> None:
    assert (piece_of(encoded(name)[:BEGINNING_BYTES], can_seek=True) is not None) == is_cut


def test_rubbish_raises_nothing() -> None:
    chance = np.random.default_rng(0)
    for name in CONTAINERS:
        head = encoded(name)[:BEGINNING_BYTES]
        piece = piece_of(head)
        assert piece is not None, name
        piece.push(head)
        for _ in range(50):
            if piece.rest is None:
                piece.push(chance.bytes(100) + b"\x1a\x45\xdf\xa3ftypFORM"[: chance.integers(12)])
