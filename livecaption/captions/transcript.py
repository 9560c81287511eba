"""Write the finals of a session, in spoken order, as plain text, SubRip, WebVTT or JSON.

A transcript is the sequence of its finals without those that have no text. `layout` decides what subtitles look like.
If channels were kept apart, their finals are in the order of their starts, and the channel of each is named. Speakers
are named where another one speaks.

Pure. It does not depend on partials, files or the place where a transcript is kept.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from livecaption.captions.labels import NO_NAMES, Names, in_turns, label, prefix
from livecaption.captions.layout import DEFAULT_LINE_LENGTH, Cue, GrowingCues, cues
from livecaption.events import Final, Spoken, Turn
from livecaption.messages import plain

PARAGRAPH_PAUSE_MS = 2000
"""Pause in ms that begins a new paragraph of plain text. Utterances end after some 500 ms of silence, which is a breath
and not yet the end of a thought. Shorter: more paragraphs. Longer: long blocks of text."""

VTT_HEADER = "WEBVTT\n\n"


def in_spoken_order(finals: Iterable[Final]) -> list[Final]:
    """Sort finals that are in the order of their events, in which one of another channel may come too early."""
    return sorted(finals, key=lambda final: (0 if final.channel is None else final.start_ms, final.utterance))


@dataclass(frozen=True, slots=True)
class Part:
    """One stream of a transcript.

    Attributes:
        started_at_ms: when it began, in ms on a clock of all parts.
        duration_ms: the length of its audio, no less than that of its finals.
        finals: in spoken order.
        n_speakers: the highest number of a speaker in it.
        names: the names of its speakers.
    """

    started_at_ms: int
    duration_ms: int
    finals: Iterable[Final]
    n_speakers: int = 0
    names: Names = field(default_factory=dict, hash=False)

    @property
    def n_numbers(self) -> int:
        """The numbers that its speakers take up. A channel may have a name before anybody has spoken in it."""
        return max((self.n_speakers, *self.names))


class Timed(Protocol):
    """Parts have a time on the clock, and a length."""

    @property
    def started_at_ms(self) -> int: ...
    @property
    def duration_ms(self) -> int: ...


def beginnings_ms(parts: Iterable[Timed]) -> list[int]:
    """Return when each part begins: at its time on the clock, but not before the end of the part before it.

    Audio of a recording is sent faster than it lasts, so the next part may start while the clock is behind. A clock may
    also be set back.
    """
    began_at_ms: list[int] = []
    end_ms = 0
    for part in parts:
        began_at_ms.append(max(part.started_at_ms, end_ms))
        end_ms = began_at_ms[-1] + part.duration_ms
    return began_at_ms


def in_sequence(parts: Sequence[Part]) -> Iterator[Final]:
    """Join the finals of several streams to one transcript, with one count of utterances, and one of speakers.

    Times of the transcript begin with the first stream.
    """
    began_at_ms = beginnings_ms(parts)
    n_utterances = n_speakers = 0
    for part, part_began_at_ms in zip(parts, began_at_ms, strict=True):
        first_utterance, shift_ms = n_utterances, part_began_at_ms - began_at_ms[0]
        for final in part.finals:
            n_utterances = max(n_utterances, first_utterance + final.utterance + 1)
            moved = final.later(shift_ms)
            yield replace(moved, utterance=first_utterance + final.utterance, **_renumbered(moved, n_speakers))
        n_speakers += part.n_numbers


def names_in_sequence(parts: Iterable[Part]) -> Names:
    """Return the names of the speakers of `in_sequence`."""
    names: dict[int, str] = {}
    n_speakers = 0
    for part in parts:
        names |= {n_speakers + speaker: name for speaker, name in part.names.items()}
        n_speakers += part.n_numbers
    return names


def _renumbered(final: Final, by: int) -> dict[str, Any]:
    """Return the turns and words of a final with greater numbers of speakers."""

    def renumbered(part: Spoken) -> Spoken:
        return part if part.speaker is None else replace(part, speaker=part.speaker + by)

    if not by or final.turns is None:
        return {}
    return {
        "turns": tuple(map(renumbered, final.turns)),
        "words": final.words and tuple(map(renumbered, final.words)),
    }


def in_track(finals: Iterable[Final], track: str | None) -> Iterator[Final]:
    """Return the finals in a language, without other translations. An original stands where there is none.

    None: the originals, with all translations.
    """
    for final in finals:
        text = next((each.text for each in final.translations or () if each.language == track), None)
        if text is not None:
            yield replace(
                final, text=text, language=track, words=None, translations=None, turns=_translated(final, text)
            )
        else:
            yield final if track is None else replace(final, translations=None)


def _translated(final: Final, text: str) -> tuple[Turn, ...] | None:
    """Return the turns of a translation. Which of its words are whose is known only if one person speaks."""
    if not final.turns:
        return final.turns
    speaker = final.turns[0].speaker if len(final.turns) == 1 else None
    return (Turn(speaker, text, final.start_ms, final.end_ms),)


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


def to_text(finals: Iterable[Final], names: Names = NO_NAMES) -> str:
    """Return paragraphs, one on each line. A pause of `PARAGRAPH_PAUSE_MS` or another speaker or channel begins one.

    A speaker is named where another one has spoken before, and a channel in each of its paragraphs.
    """
    text = voice = ""
    end_ms = 0
    for final in _spoken(finals):
        for turn in in_turns(final):
            voice_before, voice = voice, label(turn, names)
            begins = not text or turn.start_ms - end_ms >= PARAGRAPH_PAUSE_MS or voice != voice_before
            if text:
                text += "\n" if begins else " "
            is_named = begins and (turn.turns is None or voice != voice_before)
            text += prefix(voice) + turn.text if is_named else turn.text
            end_ms = turn.end_ms
    return text + "\n" if text else ""


def to_srt(finals: Iterable[Final], line_length: int = DEFAULT_LINE_LENGTH, names: Names = NO_NAMES) -> str:
    """Return SubRip that nearly every player and editor reads.

    SubRip has no escapes. An arrow in the text would end the cue in some players, so it becomes `→`. Nor has it a place
    for a speaker, so the name of a speaker or channel stands in the first line.
    """
    return "".join(
        f"{number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n"
        + "\n".join(cue.lines).replace("-->", "→")
        + "\n\n"
        for number, cue in enumerate(cues(finals, line_length, names, labelled=True), start=1)
    )


def to_vtt(finals: Iterable[Final], line_length: int = DEFAULT_LINE_LENGTH, names: Names = NO_NAMES) -> str:
    """Return WebVTT (W3C), as browsers read it. A speaker or a channel is the voice of its cues."""
    return VTT_HEADER + vtt_blocks(cues(finals, line_length, names))


class GrowingVtt:
    """WebVTT of a session that goes on. Text is only appended.

    Where no speaker has got a name meanwhile, it equals the result of `to_vtt` at the end.

    Attributes:
        text: the WebVTT so far.
        utterances: the numbers of the finals so far.
    """

    def __init__(self, line_length: int = DEFAULT_LINE_LENGTH) -> None:
        self.text = VTT_HEADER
        self.utterances: set[int] = set()
        self._cues = GrowingCues(line_length)

    def push(self, final: Final, names: Names = NO_NAMES) -> None:
        """Take the next final. A name that is given later counts for later cues."""
        self.utterances.add(final.utterance)
        self.text += vtt_blocks(self._cues.push(final, names))


def to_json(finals: Iterable[Final], names: Names = NO_NAMES) -> str:
    """Return an object with the whole `text`, and with `captions`, which have the fields of `final` on the wire.

    It has `names` if speakers have some.
    """
    spoken = []
    captions = []
    # One by one, because the caller may give finals slowly and must not wait for all of them together.
    for final in _spoken(finals):
        spoken.append(final)
        captions.append("\n    " + json.dumps(plain(final), ensure_ascii=False, indent=2).replace("\n", "\n    "))
    text = json.dumps(to_text(spoken, names).strip(), ensure_ascii=False)
    named = f'  "names": {json.dumps(dict(sorted(names.items())), ensure_ascii=False)},\n' if names else ""
    listed = "[" + ",".join(captions) + "\n  ]" if captions else "[]"
    return f'{{\n  "text": {text},\n{named}  "captions": {listed}\n}}\n'


FORMATS: dict[str, Callable[[Iterable[Final], int, Names], str]] = {
    "txt": lambda finals, _, names: to_text(finals, names),
    "srt": to_srt,
    "vtt": to_vtt,
    "json": lambda finals, _, names: to_json(finals, names),
}
"""Writers by the file extension of their format. They take finals, the columns of a line, and names of speakers."""


def lay_out_as(name: str, line_length: int, track: str | None, names: Names, finals: Iterable[Final]) -> str:
    """Return the transcript in this format and language."""
    return FORMATS[name](in_track(finals, track), line_length, names)


def _spoken(finals: Iterable[Final]) -> Iterator[Final]:
    return (final for final in finals if final.text.strip())


def vtt_blocks(shown: Sequence[Cue]) -> str:
    """Return cues as WebVTT, without its header."""
    return "".join(
        f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n"
        + (f"<v {_escape(cue.voice)}>" if cue.voice else "")
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
