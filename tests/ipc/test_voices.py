"""Voices at the end of an answer: they come out as they went in, and anything else is refused."""

from dataclasses import replace

import numpy as np
import pytest

from livecaption.ipc.voices import VoiceHeader, read_voices, voice_headers, voice_numbers
from livecaption.recognition import MAX_EMBEDDING, MAX_VOICES, Voice
from tests.support.cases import for_each

ADA = Voice(100, 1_200, np.float32([0.6, 0.8]))
BOB = Voice(1_200, 2_400, np.float32([0.0, -1.0]))
HEADERS = voice_headers([ADA, BOB])
NUMBERS = voice_numbers([ADA, BOB])


def test_voices_come_out_as_they_went_in_and_the_numbers_before_them_are_left() -> None:
    left, voices = read_voices([(), HEADERS, HEADERS[:1]], b"1234" + NUMBERS + voice_numbers([ADA]))
    assert left == b"1234"
    assert [[(v.start_ms, v.end_ms, v.embedding.tolist()) for v in each] for each in voices] == [
        [],
        [(100, 1_200, ADA.embedding.tolist()), (1_200, 2_400, [0.0, -1.0])],
        [(100, 1_200, ADA.embedding.tolist())],
    ]


def test_an_answer_without_voices_has_no_numbers_of_them() -> None:
    assert read_voices([(), ()], b"1234") == (b"1234", [(), ()])


@for_each(
    "headers",
    [
        tuple(replace(header, n_numbers=0) for header in HEADERS),
        tuple(replace(header, n_numbers=-1) for header in HEADERS),
        tuple(replace(header, n_numbers=MAX_EMBEDDING + 1) for header in HEADERS),
        tuple(replace(header, n_numbers=3) for header in HEADERS),
        (replace(HEADERS[0], n_numbers=3), HEADERS[1]),
        (replace(HEADERS[0], n_numbers=1), replace(HEADERS[1], n_numbers=3)),
        (replace(HEADERS[0], start_ms=-1), HEADERS[1]),
        (replace(HEADERS[0], start_ms=1_200), HEADERS[1]),
        (replace(HEADERS[0], end_ms=1_201), HEADERS[1]),
        (replace(HEADERS[0], start_ms=2_400, end_ms=2_500), HEADERS[1]),
    ],
)
def test_voices_that_overlap_or_have_no_embedding_are_refused(headers: tuple[VoiceHeader, ...]) -> None:
    assert read_voices([HEADERS], NUMBERS)
    with pytest.raises(ValueError, match=r"voices|embedding"):
        read_voices([headers], NUMBERS)


@for_each("numbers", [[0.6, 0.7], [0.0, 0.0], [float("nan"), 0.8], [float("inf"), 0.0], [1e30, 1e30]])
def test_an_embedding_whose_length_is_not_1_is_refused(numbers: list[float]) -> None:
    embedding = np.float32(numbers)
    with pytest.raises(ValueError, match="length 1"):
        read_voices([voice_headers([ADA])], embedding.tobytes())


def test_no_window_has_more_voices_than_seconds() -> None:
    voices = [Voice(1000 * i, 1000 * i + 1000, BOB.embedding) for i in range(MAX_VOICES + 1)]
    assert read_voices([voice_headers(voices[:-1])], voice_numbers(voices[:-1]))
    with pytest.raises(ValueError, match="no such voices"):
        read_voices([voice_headers(voices)], voice_numbers(voices))
