"""Write the finals of a session, in spoken order, as plain text, SubRip, WebVTT or JSON.

A transcript is the sequence of its finals without those that have no text. `layout` decides what subtitles look like.
If channels were kept apart, their finals are in the order of their starts, and the channel of each is named.

Pure. It does not depend on partials, files or the place where a transcript is kept.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace

from livecaption.captions.layout import DEFAULT_LINE_LENGTH, Cue, GrowingCues, cues
from livecaption.events import Final

PARAGRAPH_PAUSE_MS = 2000
"""Pause in ms that begins a new paragraph of plain text. Utterances end after some 500 ms of silence, which is a breath
and not yet the end of a thought. Shorter: more paragraphs. Longer: long blocks of text."""

VTT_HEADER = "WEBVTT\n\n"
OPTIONAL = ("words", "channel", "translations")
"""Fields of a final that are left out if they are None."""


def in_spoken_order(finals: Iterable[Final]) -> list[Final]:
    """Sort finals that are in the order of their events, in which one of another channel may come too early."""
    return sorted(finals, key=lambda final: (0 if final.channel is None else final.start_ms, final.utterance))


def in_sequence(parts: Iterable[tuple[int, Iterable[Final]]]) -> Iterator[Final]:
    """Join the finals of several streams to one transcript, with one count of utterances.

    Args:
        parts: the streams in their order: when each began, in ms on a clock of all, and its finals in spoken order.
            Times of the transcript begin with the first stream.
    """
    begin_ms: int | None = None
    n_utterances = 0
    for started_at_ms, finals in parts:
        begin_ms = started_at_ms if begin_ms is None else begin_ms
        first_utterance, shift_ms = n_utterances, started_at_ms - begin_ms
        for final in finals:
            n_utterances = max(n_utterances, first_utterance + final.utterance + 1)
            yield replace(final.later(shift_ms), utterance=first_utterance + final.utterance)


def in_track(finals: Iterable[Final], track: str | None) -> Iterator[Final]:
    """Return the finals in a language, without other translations. An original stands where there is none.

    None: the originals, with all translations.
    """
    for final in finals:
        text = next((each.text for each in final.translations or () if each.language == track), None)
        if text is not None:
            yield replace(final, text=text, language=track, words=None, translations=None)
        else:
            yield final if track is None else replace(final, translations=None)


def settled_in_track(
    finals: Iterable[Final], track: str | None, *, is_over: bool, open_since_ms: int | None = None
) -> list[Final]:
    """Return finals of a session up to the first whose text may change, or before which another one may come.

    They are in one order while the session runs and once it is stored: that of their ends, then of their channels.
    A translation comes after its final. One that is missing although a later final of its channel has its own does not
    come any more, so the original stands there.

    Args:
        finals: in any order; those that are left out are later ones of the same order.
        track: a language; None: the originals.
        is_over: whether nothing follows.
        open_since_ms: the earliest start of an utterance that has no final yet; None: there is none.
    """
    ordered = sorted(finals, key=_by_end)
    if not is_over:
        translated: set[int | None] = set()  # channels with a translation of this final or of a later one
        for at in reversed(range(len(ordered))):
            final = ordered[at]
            if track is not None and _is_in(final, track):
                translated.add(final.channel)
            may_be_preceded = final.channel is not None and open_since_ms is not None and final.end_ms > open_since_ms
            if may_be_preceded or (track is not None and final.channel not in translated):
                del ordered[at:]
    return list(in_track(ordered, track))


def _by_end(final: Final) -> tuple[int, int, int]:
    # Mixed channels have one utterance after the other.
    return (0, 0, final.utterance) if final.channel is None else (final.end_ms, final.channel, final.utterance)


def _is_in(final: Final, track: str) -> bool:
    return final.language == track or any(text.language == track for text in final.translations or ())


def channel_name(channel: int) -> str:
    """Return the name of a channel for people, who count from 1."""
    return f"Channel {channel + 1}"


def to_text(finals: Iterable[Final]) -> str:
    """Return paragraphs, one on each line. A pause of `PARAGRAPH_PAUSE_MS` or another channel begins a new one."""
    text = ""
    end_ms, channel = 0, None
    for final in _spoken(finals):
        begins = not text or final.start_ms - end_ms >= PARAGRAPH_PAUSE_MS or final.channel != channel
        if text:
            text += "\n" if begins else " "
        text += label(final.channel) + final.text if begins else final.text
        end_ms, channel = final.end_ms, final.channel
    return text + "\n" if text else ""


def label(channel: int | None) -> str:
    """Return what stands before the words of a channel; empty if the channels are mixed."""
    return "" if channel is None else f"{channel_name(channel)}: "


def to_srt(finals: Iterable[Final], line_length: int = DEFAULT_LINE_LENGTH) -> str:
    """Return SubRip that nearly every player and editor reads.

    SubRip has no escapes. An arrow in the text would end the cue in some players, so it becomes `→`. Nor has it a place
    for a speaker, so the name of a channel stands in the first line.
    """
    return "".join(
        f"{number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n"
        + "\n".join(cue.lines).replace("-->", "→")
        + "\n\n"
        for number, cue in enumerate(cues(finals, line_length, label), start=1)
    )


def to_vtt(finals: Iterable[Final], line_length: int = DEFAULT_LINE_LENGTH) -> str:
    """Return WebVTT (W3C), as browsers read it. A channel is the voice of its cues."""
    return VTT_HEADER + vtt_blocks(cues(finals, line_length))


class GrowingVtt:
    """WebVTT of a session that goes on. Text is only appended; at the end it equals the result of `to_vtt`.

    Attributes:
        text: the WebVTT so far.
        utterances: the numbers of the finals so far.
    """

    def __init__(self, line_length: int = DEFAULT_LINE_LENGTH) -> None:
        self.text = VTT_HEADER
        self.utterances: set[int] = set()
        self._cues = GrowingCues(line_length)

    def push(self, final: Final) -> None:
        """Take the next final."""
        self.utterances.add(final.utterance)
        self.text += vtt_blocks(self._cues.push(final))


def to_json(finals: Iterable[Final]) -> str:
    """Return an object with the whole `text`, and with `captions`, which have the fields of `final` on the wire."""
    spoken = []
    captions = []
    # One by one, because the caller may give finals slowly and must not wait for all of them together.
    for final in _spoken(finals):
        spoken.append(final)
        caption = {name: value for name, value in asdict(final).items() if name not in OPTIONAL or value is not None}
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


def lay_out_as(name: str, line_length: int, track: str | None, finals: Iterable[Final]) -> str:
    """Return the transcript in this format and language."""
    return FORMATS[name](in_track(finals, track), line_length)


def _spoken(finals: Iterable[Final]) -> Iterator[Final]:
    return (final for final in finals if final.text.strip())


def vtt_blocks(shown: Sequence[Cue]) -> str:
    """Return cues as WebVTT, without its header."""
    return "".join(
        f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n"
        + ("" if cue.channel is None else f"<v {channel_name(cue.channel)}>")
        + "\n".join(map(_escape, cue.lines))
        + "\n\n"
        for cue in shown
    )


def _clock(at_ms: int, separator: str) -> str:
    """Format a time as `01:02:03.004`, or with a comma."""
    seconds, ms = divmod(at_ms, 1000)
    minutes, second = divmod(seconds, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}{separator}{ms:03}"


def _escape(line: str) -> str:
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
