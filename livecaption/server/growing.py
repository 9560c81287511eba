"""The WebVTT of running sessions is kept, so that only new finals are laid out."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from aiohttp import web

from livecaption.captions.labels import Names
from livecaption.captions.layout import LINE_LENGTHS
from livecaption.captions.transcript import GrowingVtt
from livecaption.events import Final
from livecaption.server.exports import KEEP_S

MAX_GROWING = 64
"""Sessions whose WebVTT is kept. An hour of speech has 100 KB."""


class GrowingTranscript:
    """The WebVTT of a running session, with the cues that cannot change any more."""

    def __init__(self, line_length: int) -> None:
        self._vtt = GrowingVtt(line_length)
        self._changing = threading.Lock()

    def news(self, finals: Sequence[Final]) -> Sequence[Final]:
        """Return the finals that may not be in the WebVTT yet."""
        return [final for final in finals if final.utterance not in self._vtt.utterances]

    def text(self, names: Names, finals: Iterable[Final]) -> str:
        """Add these finals, with these names of speakers, and return the whole text. Called in threads."""
        with self._changing:
            for final in finals:
                if final.utterance not in self._vtt.utterances:
                    self._vtt.push(final, names)
            return self._vtt.text


class GrowingTranscripts:
    """The growing WebVTT of each running session that a client has requested. Used by the event loop.

    Args:
        keep_s: how long each of them is kept without being requested. Of a session that is over none is requested, so
            it goes no later than the session.
    """

    def __init__(self, *, keep_s: float = KEEP_S) -> None:
        self._keep_s = keep_s
        self._growing: OrderedDict[tuple[str, int], tuple[GrowingTranscript, asyncio.TimerHandle]] = OrderedDict()

    def of(self, session_id: str, line_length: int) -> GrowingTranscript:
        key = session_id, line_length
        growing = self._drop(key) or GrowingTranscript(line_length)
        self._growing[key] = growing, asyncio.get_running_loop().call_later(self._keep_s, self._drop, key)
        if len(self._growing) > MAX_GROWING:
            self._drop(next(iter(self._growing)))
        return growing

    def forget(self, session_id: str) -> None:
        for line_length in LINE_LENGTHS:
            self._drop((session_id, line_length))

    def _drop(self, key: tuple[str, int]) -> GrowingTranscript | None:
        if key not in self._growing:
            return None
        growing, timer = self._growing.pop(key)
        timer.cancel()
        return growing


GROWING: web.AppKey[GrowingTranscripts] = web.AppKey("growing transcripts", GrowingTranscripts)
