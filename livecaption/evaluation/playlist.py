"""Recordings -> what each of many streams plays, and when; events of a stream -> those of each recording. Pure."""

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
"""Silence after each recording: longer than any pause that an utterance goes on over, so none spans two of them."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A clip with its audio.

    Attributes:
        pcm: 16-bit, mono, 16 kHz.
        duration_ms: of `pcm`.
    """

    clip: Clip
    pcm: bytes
    duration_ms: int

    @property
    def samples(self) -> Samples:
        """The same as float32 [n_samples], -1..1."""
        return np.frombuffer(self.pcm, "<i2").astype(np.float32) / np.float32(32768)


@dataclass(frozen=True, slots=True)
class Play:
    """A recording at its place in a stream, in ms of stream time; `GAP_MS` of silence follow."""

    recording: Recording
    begin_ms: int

    @property
    def over_ms(self) -> int:
        """When the silence behind it has been said too."""
        return self.begin_ms + self.recording.duration_ms + GAP_MS


def deal(recordings: Sequence[Recording], n_streams: int, duration_ms: int) -> list[list[Play]]:
    """For each stream what fills `duration_ms`; the last play may be too long.

    The recordings are shuffled and the stream that is free first plays the next one, so all are played about equally
    often, and more streams play what fewer play, and more. The same arguments give the same plays.
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
    """For each play its captions, with times counted from its beginning.

    An utterance belongs to a play if it begins nearer to it than to the others: in the second half of the silence
    before it, or in it, or in the first half of the silence behind it.
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
