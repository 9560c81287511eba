"""Name the person or the channel of a caption, as people read it, and cut finals into their turns. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from livecaption.events import CaptionWord, Final

Names = Mapping[int, str]
"""The names of speakers who have one, by their numbers."""
NO_NAMES: Names = MappingProxyType({})
NOBODY = "Speaker ?"
"""The speaker of words that nobody is certain of."""


def speaker_name(speaker: int | None, names: Names = NO_NAMES) -> str:
    """Return the name of a speaker, or the number."""
    return NOBODY if speaker is None else names.get(speaker, f"Speaker {speaker}")


def channel_name(channel: int) -> str:
    """Return the name of a channel for people, who count from 1."""
    return f"Channel {channel + 1}"


def open_label(channel: int | None, names: Names, *, is_speaker: bool) -> str:
    """Return the name of a channel while an utterance is open, which has no turns; empty: no channel is distinguished.

    Args:
        channel: the channel.
        names: the names of speakers.
        is_speaker: whether each channel is a speaker, as far as that is known. One that has a name is one.
    """
    if channel is None:
        return ""
    speaker = channel + 1
    return speaker_name(speaker, names) if is_speaker or speaker in names else channel_name(channel)


def label(final: Final, names: Names = NO_NAMES) -> str:
    """Return the name of the one who speaks in a turn, or of its channel; empty: neither is distinguished.

    Args:
        final: a piece of `in_turns`.
        names: the names of speakers.
    """
    if final.turns:
        return speaker_name(final.turns[0].speaker, names)
    return "" if final.channel is None else channel_name(final.channel)


def prefix(name: str) -> str:
    """Return what stands before the words of this speaker or channel; empty for an empty name."""
    return name and f"{name}: "


def in_turns(final: Final) -> list[Final]:
    """Cut a final into pieces of one speaker each. Each is a final with its own text, times and words.

    A turn has the words up to the first one of the next speaker. Characters do not say where a turn ends: the text may
    have other ones than the words, because committed words stay where the engine has changed its mind.
    """
    if final.turns is None or len(final.turns) < 2:
        return [final]
    words = list(final.words or ())
    pieces = []
    for turn, following in zip(final.turns, (*final.turns[1:], None), strict=True):
        of_turn: list[CaptionWord] = []
        while words and (following is None or words[0].speaker != following.speaker):
            of_turn.append(words.pop(0))
        pieces.append(
            replace(
                final,
                text=turn.text.strip(),
                start_ms=turn.start_ms,
                end_ms=turn.end_ms,
                words=None if final.words is None else tuple(of_turn),
                turns=(turn,),
            )
        )
    return pieces


def n_characters(text: str) -> int:
    """Count the characters that are not spaces."""
    return len("".join(text.split()))
