"""Distribute recordings over many streams, and split the events of a stream by recording. Pure."""

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat

import numpy as np

from livecaption.audio.formats import Samples
from livecaption.evaluation.clips import Clip
from livecaption.evaluation.latency import Received
from livecaption.events import Final, Partial

GAP_MS = 1500
"""Silence after each recording. It is longer than any hangover, so no utterance spans two recordings."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A clip with its audio.

    Attributes:
        pcm: audio in 16-bit, mono, 16 kHz.
        duration_ms: duration of `pcm`.
    """

    clip: Clip
    pcm: bytes
    duration_ms: int

    @property
    def samples(self) -> Samples:
        """The audio as float32 [n_samples], -1..1."""
        return np.frombuffer(self.pcm, "<i2").astype(np.float32) / np.float32(32768)


@dataclass(frozen=True, slots=True)
class Play:
    """A recording at its place in a stream, in ms of stream time; `GAP_MS` of silence follow."""

    recording: Recording
    begin_ms: int

    @property
    def over_ms(self) -> int:
        """The end of the silence after it."""
        return self.begin_ms + self.recording.duration_ms + GAP_MS


def deal(recordings: Sequence[Recording], n_streams: int, duration_ms: int) -> list[list[Play]]:
    """Return for each stream the plays that fill `duration_ms`; the last one may be longer.

    The recordings are shuffled, and the stream that is free first gets the next one. All are therefore played about
    equally often. A run with more streams plays the same recordings plus additional ones. The same arguments give the
    same plays.
    """
    chance = random.Random(0)
    rounds = chain.from_iterable(chance.sample(recordings, len(recordings)) for _ in repeat(None))
    playlists: list[list[Play]] = [[] for _ in range(n_streams)]
    free = [(0, stream) for stream in range(n_streams)]
    while free[0][0] < duration_ms:
        begin_ms, stream = free[0]
        play = Play(next(rounds), begin_ms)
        playlists[stream].append(play)
        heapq.heapreplace(free, (play.over_ms, stream))
    return playlists


def split(received: Sequence[Received], plays: Sequence[Play]) -> list[list[Received]]:
    """Return the captions of each play, with times from its beginning.

    An utterance belongs to a play if it begins in the play, or at most half of the silence before or after it.
    """
    captions: list[list[Received]] = [[] for _ in plays]
    for item in received:
        event = item.event
        if not isinstance(event, Partial | Final):
            continue
        for mine, play in zip(captions, plays, strict=True):
            begin_ms = play.begin_ms
            if begin_ms - GAP_MS // 2 <= event.start_ms < play.over_ms - GAP_MS // 2:
                moved = replace(event, start_ms=event.start_ms - begin_ms, end_ms=event.end_ms - begin_ms)
                mine.append(Received(item.at_ms - begin_ms, moved))
    return captions
