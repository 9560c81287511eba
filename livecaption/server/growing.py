"""The WebVTT of running sessions is kept, so that only new finals are laid out."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from aiohttp import web

from livecaption.captions.labels import Names
from livecaption.captions.layout import LINE_LENGTHS
from livecaption.captions.transcript import GrowingVtt
from livecaption.events import Final

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
    """The growing WebVTT of each running session that a client has requested. Used by the event loop."""

    def __init__(self) -> None:
        self._growing: OrderedDict[tuple[str, int], GrowingTranscript] = OrderedDict()

    def of(self, session_id: str, line_length: int) -> GrowingTranscript:
        growing = self._growing.setdefault((session_id, line_length), GrowingTranscript(line_length))
        self._growing.move_to_end((session_id, line_length))
        if len(self._growing) > MAX_GROWING:
            self._growing.popitem(last=False)
        return growing

    def forget(self, session_id: str) -> None:
        for line_length in LINE_LENGTHS:
            self._growing.pop((session_id, line_length), None)


GROWING: web.AppKey[GrowingTranscripts] = web.AppKey("growing transcripts", GrowingTranscripts)
