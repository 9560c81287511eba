"""Write the finals of a session, in spoken order, as plain text, SubRip, WebVTT or JSON.

A transcript is the sequence of its finals without those that have no text. `layout` decides what subtitles look like.

Pure. It does not depend on partials, files or the place where a transcript is kept.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict

from livecaption.captions.layout import DEFAULT_LINE_LENGTH, Cue, GrowingCues, cues
from livecaption.events import Final

PARAGRAPH_PAUSE_MS = 2000
"""Pause in ms that begins a new paragraph of plain text. Utterances end after some 500 ms of silence, which is a breath
and not yet the end of a thought. Shorter: more paragraphs. Longer: long blocks of text."""

VTT_HEADER = "WEBVTT\n\n"


def to_text(finals: Iterable[Final]) -> str:
    """Return paragraphs, one on each line. A pause of `PARAGRAPH_PAUSE_MS` begins a new one."""
    text = ""
    end_ms = 0
    for final in _spoken(finals):
        if text:
            text += "\n" if final.start_ms - end_ms >= PARAGRAPH_PAUSE_MS else " "
        text += final.text
        end_ms = final.end_ms
    return text + "\n" if text else ""


def to_srt(finals: Iterable[Final], line_length: int = DEFAULT_LINE_LENGTH) -> str:
    """Return SubRip that nearly every player and editor reads.

    SubRip has no escapes. An arrow in the text would end the cue in some players, so it becomes `→`.
    """
    return "".join(
        f"{number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n"
        + "\n".join(cue.lines).replace("-->", "→")
        + "\n\n"
        for number, cue in enumerate(cues(finals, line_length), start=1)
    )


def to_vtt(finals: Iterable[Final], line_length: int = DEFAULT_LINE_LENGTH) -> str:
    """Return WebVTT (W3C), as browsers read it."""
    return VTT_HEADER + _vtt_blocks(cues(finals, line_length))


class GrowingVtt:
    """WebVTT of a session that goes on. Text is only appended; at the end it equals the result of `to_vtt`.

    Attributes:
        text: the WebVTT so far.
        last_utterance: number of the newest final's utterance; -1 if there was none.
    """

    def __init__(self, line_length: int = DEFAULT_LINE_LENGTH) -> None:
        self.text = VTT_HEADER
        self.last_utterance = -1
        self._cues = GrowingCues(line_length)

    def push(self, final: Final) -> None:
        """Take the next final."""
        self.last_utterance = final.utterance
        self.text += _vtt_blocks(self._cues.push(final))


def to_json(finals: Iterable[Final]) -> str:
    """Return an object with the whole `text`, and with `captions`, which have the fields of `final` on the wire."""
    spoken = []
    captions = []
    # One by one, because the caller may give finals slowly and must not wait for all of them together.
    for final in _spoken(finals):
        spoken.append(final)
        caption = {name: value for name, value in asdict(final).items() if (name, value) != ("words", None)}
        captions.append("\n    " + json.dumps(caption, ensure_ascii=False, indent=2).replace("\n", "\n    "))
    text = json.dumps(to_text(spoken).strip(), ensure_ascii=False)
    listed = "[" + ",".join(captions) + "\n  ]" if captions else "[]"
    return f'{{\n  "text": {text},\n  "captions": {listed}\n}}\n'


FORMATS: dict[str, Callable[[Iterable[Final], int], str]] = {
    "txt": lambda finals, _: to_text(finals),
    "srt": to_srt,
    "vtt": to_vtt,
    "json": lambda finals, _: to_json(finals),
}
"""Writers by the file extension of their format. They take finals and the columns of a line."""


def _spoken(finals: Iterable[Final]) -> Iterator[Final]:
    return (final for final in finals if final.text.strip())


def _vtt_blocks(shown: Sequence[Cue]) -> str:
    return "".join(
        f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n" + "\n".join(map(_escape, cue.lines)) + "\n\n"
        for cue in shown
    )


def _clock(at_ms: int, separator: str) -> str:
    """Format a time as `01:02:03.004`, or with a comma."""
    seconds, ms = divmod(at_ms, 1000)
    minutes, second = divmod(seconds, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}{separator}{ms:03}"


def _escape(line: str) -> str:
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
