"""A manifest of recordings -> clips: what was said in each, and when.

The manifest, `manifest.jsonl`, holds a JSON object a line with `id`, `file` and, as far as known,
`language`, `reference`, `reference_trust`, `tags`, `speech_start`, `speech_end`, `segments` and
`words_aligned`; times in seconds.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from typing import Any

from livecaption.audio.container import decode_container
from livecaption.evaluation.latency import SpokenWord

SEPARATE_SPEECH_MS = 1000
"""A pause from which on the end of a segment must be followed by a final; over shorter ones an
utterance may go on."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording. Times in ms from its beginning.

    Attributes:
        language: ISO 639-1 code; None: unknown, or nobody speaks.
        reference: what is said; empty: nothing; None: not known well enough to score.
        speech_start_ms: when the first speech begins.
        speech_ends_ms: the ends of speech that a pause follows.
        words: what is said and when, where that is known.
        tags: what it is an example of.
    """

    id: str
    path: Path
    language: str | None = None
    reference: str | None = None
    speech_start_ms: float | None = None
    speech_ends_ms: tuple[float, ...] = ()
    words: tuple[SpokenWord, ...] = ()
    tags: tuple[str, ...] = ()


def read_manifest(directory: Path) -> list[Clip]:
    """The clips of `directory`.

    Raises:
        OSError: there is no readable manifest.
        ValueError: an entry is malformed.
    """
    lines = (directory / "manifest.jsonl").read_text().splitlines()
    return [clip(json.loads(line), directory) for line in lines if line.strip()]


def read_pcm(path: Path) -> bytes:
    """The audio of a file in any container: 16-bit, mono, 16 kHz.

    Raises:
        OSError: it cannot be read.
        InvalidAudio: it is no audio.
    """
    with path.open("rb") as file:
        return b"".join((samples * 32767).astype("<i2").tobytes() for samples in decode_container(file))


def choose(clips: Sequence[Clip], patterns: Sequence[str]) -> list[Clip]:
    """Clips whose id or a tag is like one of the patterns (`*`, `?`); by default those in English with known words."""
    if not patterns:
        return [clip for clip in clips if clip.language == "en" and clip.reference and clip.words]
    return [clip for clip in clips if any(fnmatch(name, p) for name in (clip.id, *clip.tags) for p in patterns)]


def clip(entry: Mapping[str, Any], directory: Path) -> Clip:
    """The clip of an entry of the manifest.

    Raises:
        ValueError: the entry has no `id` or no `file`.
    """
    if not {"id", "file"} <= entry.keys():
        raise ValueError("an entry of the manifest lacks id or file")
    reference = entry.get("reference")
    if entry.get("reference_trust") == "machine":
        reference = None
    elif "no-speech" in entry.get("tags", ()):
        reference = ""
    speech_start_ms, speech_ends_ms = _speech(entry)
    return Clip(
        id=entry["id"],
        path=directory / entry["file"],
        language=entry.get("language"),
        reference=reference,
        speech_start_ms=speech_start_ms,
        speech_ends_ms=speech_ends_ms,
        words=tuple(SpokenWord(word["w"], word["end"] * 1000) for word in entry.get("words_aligned", ())),
        tags=tuple(entry.get("tags", ())),
    )


def _speech(entry: Mapping[str, Any]) -> tuple[float | None, tuple[float, ...]]:
    spans_ms = [
        (span["speech_start"] * 1000, span["speech_end"] * 1000)
        for span in entry.get("segments") or [entry]
        if span.get("speech_end") is not None
    ]
    if not spans_ms:
        return None, ()
    ends_ms = [end for (_, end), (start, _) in pairwise(spans_ms) if start - end >= SEPARATE_SPEECH_MS]
    return spans_ms[0][0], (*ends_ms, spans_ms[-1][1])
