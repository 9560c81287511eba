"""Make a conversation with short turns out of a recording of several speakers. Pure.

Turns last 1.5 to 6 s, and the gaps between them mostly 0.05 to 0.35 s, in which no utterance ends. The same recording
and the same seed make the same conversation.
"""

from collections.abc import Sequence

import numpy as np

from livecaption.audio import SAMPLE_RATE_HZ, samples_of
from livecaption.audio.formats import Samples
from livecaption.evaluation.clips import Clip
from livecaption.evaluation.playlist import Recording
from livecaption.evaluation.speaker_errors import Stretch

TURN_S = (1.5, 6.0)
GAP_S = (0.05, 0.35)
LONG_GAP_S = (0.8, 2.0)
LONG_GAP_SHARE = 0.15
RAMP_SAMPLES = 160
"""Samples over which a piece becomes loud and soft, so that nothing clicks."""
NOISE_DB = -62
"""The room's noise in dB of full scale, which fills the gaps."""

Piece = tuple[int, int]


def fast_turns(recording: Recording, speakers: Sequence[str], chance: np.random.Generator, name: str) -> Recording:
    """Return a conversation of these speakers, with its turns.

    Args:
        recording: recording whose clip has turns.
        speakers: people in it.
        chance: decides who speaks next, and for how long.
        name: the id of the conversation.
    """
    sound = recording.samples
    pieces = {
        speaker: [
            piece for turn in recording.clip.turns if turn.speaker == speaker for piece in _pieces(sound, turn, chance)
        ]
        for speaker in speakers
    }
    parts = [np.zeros(SAMPLE_RATE_HZ, np.float32)]
    at, last = SAMPLE_RATE_HZ, ""
    turns = []
    while any(pieces.values()):
        others = [speaker for speaker in speakers if pieces[speaker] and speaker != last]
        choices = others or [speaker for speaker in speakers if pieces[speaker]]
        last = choices[int(chance.integers(len(choices)))]
        begin, end = pieces[last].pop(0)
        turns.append(Stretch(_ms(at), _ms(at + end - begin), last))
        gap = int(chance.uniform(*GAP_S) * SAMPLE_RATE_HZ)
        if chance.random() < LONG_GAP_SHARE:
            gap = int(chance.uniform(*LONG_GAP_S) * SAMPLE_RATE_HZ)
        piece = sound[begin:end].copy()
        ramp = np.linspace(0, 1, RAMP_SAMPLES, dtype=np.float32)
        piece[:RAMP_SAMPLES] *= ramp
        piece[-RAMP_SAMPLES:] *= ramp[::-1]
        parts += [piece, np.zeros(gap, np.float32)]
        at += end - begin + gap
    made = np.concatenate(parts)
    made += chance.normal(0, 10 ** (NOISE_DB / 20), len(made)).astype(np.float32)
    pcm = (made.clip(-1, 1) * 32767).astype("<i2").tobytes()
    clip = Clip(name, recording.clip.path, recording.clip.language, turns=tuple(turns))
    return Recording(clip, pcm, round(_ms(len(made))))


def _pieces(sound: Samples, turn: Stretch, chance: np.random.Generator) -> list[Piece]:
    """Cut a turn where it is quiet."""
    begin, end = (int(edge_ms * SAMPLE_RATE_HZ / 1000) for edge_ms in (turn.start_ms, turn.end_ms))
    pieces: list[Piece] = []
    half, smooth = samples_of(500), samples_of(100)
    while end - begin > TURN_S[0] * SAMPLE_RATE_HZ:
        wanted = int(chance.uniform(*TURN_S) * SAMPLE_RATE_HZ)
        if end - begin < wanted + TURN_S[0] * SAMPLE_RATE_HZ:
            return [*pieces, (begin, end)]
        first = begin + wanted - half
        energies = np.convolve(sound[first : first + 2 * half] ** 2, np.ones(smooth), "valid")
        cut = first + int(energies.argmin()) + smooth // 2
        pieces.append((begin, cut))
        begin = cut
    return pieces


def _ms(n_samples: int) -> float:
    return n_samples * 1000 / SAMPLE_RATE_HZ
