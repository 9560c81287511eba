"""Turn voices into the numbers at the end of an answer, and back, checked. Pure.

The embeddings are float32, one after the other: 0.8 kB for a voice of the installed network.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from livecaption.recognition import MAX_EMBEDDING, MAX_VOICES, Voice

LENGTH_TOLERANCE = 1e-3
"""Greatest distance of the length of an embedding from 1. One that is not finite has no such length."""


@dataclass(frozen=True, slots=True)
class VoiceHeader:
    """A voice without its embedding, and how many numbers that has."""

    start_ms: int
    end_ms: int
    n_numbers: int


def voice_headers(voices: Sequence[Voice]) -> tuple[VoiceHeader, ...]:
    """Return the headers of a hypothesis' voices."""
    return tuple(VoiceHeader(voice.start_ms, voice.end_ms, len(voice.embedding)) for voice in voices)


def voice_numbers(voices: Sequence[Voice]) -> bytes:
    """Return the embeddings of a hypothesis' voices."""
    return b"".join(np.ascontiguousarray(voice.embedding, np.float32).tobytes() for voice in voices)


def read_voices(headers: Sequence[Sequence[VoiceHeader]], numbers: bytes) -> tuple[bytes, list[tuple[Voice, ...]]]:
    """Return the numbers before the embeddings, and the voices of each hypothesis.

    Raises:
        ValueError: the numbers at the end are no embeddings, or the voices are not in order.
    """
    sizes = [header.n_numbers for each in headers for header in each]
    if not sizes:
        return numbers, [()] * len(headers)  # as in most answers
    # The embeddings of a network have all the same size. Others could not be compared.
    if max(map(len, headers)) > MAX_VOICES or not 1 <= max(sizes) <= MAX_EMBEDDING:
        raise ValueError("no such voices")
    if len(set(sizes)) > 1:
        raise ValueError("embeddings of several sizes")
    begin = len(numbers) - 4 * sum(sizes)
    if begin < 0:
        raise ValueError("voices and headers disagree")
    embeddings = iter(np.split(np.frombuffer(numbers[begin:], np.float32), np.cumsum(sizes)[:-1]))
    voices = [
        tuple(_voice(header, next(embeddings), before) for header, before in zip(each, (None, *each), strict=False))
        for each in headers
    ]
    return numbers[:begin], voices


def _voice(header: VoiceHeader, embedding: npt.NDArray[np.float32], before: VoiceHeader | None) -> Voice:
    if not (before.end_ms if before else 0) <= header.start_ms < header.end_ms:
        raise ValueError("voices overlap")
    if not abs(float(np.linalg.norm(embedding.astype(np.float64))) - 1.0) <= LENGTH_TOLERANCE:
        raise ValueError("an embedding has the length 1")
    return Voice(header.start_ms, header.end_ms, embedding.copy())
