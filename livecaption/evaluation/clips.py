"""Read the manifest of a directory of recordings: the text of each, and the times of its words.

The manifest, `manifest.jsonl`, has one JSON object per line. Required fields are `id` and `file`. Optional ones are
`language`, `reference`, `reference_trust`, `tags`, `speech_start`, `speech_end`, `segments` and `words_aligned`.
A segment may have a `speaker`. Times are in seconds.
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
from livecaption.evaluation.speaker_errors import Stretch

SEPARATE_SPEECH_MS = 1000
"""Shortest pause after a segment that must lead to a final. An utterance may continue over shorter ones."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording. Times are in ms from its beginning.

    Attributes:
        id: unique name.
        path: file of the recording.
        language: ISO 639-1 code; None: unknown, or there is no speech.
        reference: spoken text; empty: there is no speech; None: not known well enough to score.
        speech_start_ms: beginning of the first speech.
        speech_ends_ms: ends of speech that are followed by a pause.
        words: words with their times, if these are known.
        tags: properties of the recording.
        turns: who speaks when; empty: that is not known.
    """

    id: str
    path: Path
    language: str | None = None
    reference: str | None = None
    speech_start_ms: float | None = None
    speech_ends_ms: tuple[float, ...] = ()
    words: tuple[SpokenWord, ...] = ()
    tags: tuple[str, ...] = ()
    turns: tuple[Stretch, ...] = ()


def read_manifest(directory: Path) -> list[Clip]:
    """Return the clips of `directory`.

    Raises:
        OSError: the manifest cannot be read.
        ValueError: an entry is malformed.
    """
    lines = (directory / "manifest.jsonl").read_text().splitlines()
    try:
        return [clip(json.loads(line), directory) for line in lines if line.strip()]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"an entry of the manifest is malformed ({type(error).__name__}: {error})") from None


def read_pcm(path: Path) -> bytes:
    """Return the audio of a file: 16-bit, mono, 16 kHz. The file is a container, or such samples if it ends in `.s16`.

    Raises:
        OSError: the file cannot be read.
        InvalidAudio: the file is not audio.
    """
    if path.suffix == ".s16":
        return path.read_bytes()
    with path.open("rb") as file:
        return b"".join((samples * 32767).astype("<i2").tobytes() for samples in decode_container(file))


def choose(clips: Sequence[Clip], patterns: Sequence[str]) -> list[Clip]:
    """Return the clips whose id or tag matches a pattern (`*`, `?`); by default all English ones with timed words."""
    if not patterns:
        return [clip for clip in clips if clip.language == "en" and clip.reference and clip.words]
    return [clip for clip in clips if any(fnmatch(name, p) for name in (clip.id, *clip.tags) for p in patterns)]


def clip(entry: Mapping[str, Any], directory: Path) -> Clip:
    """Return the clip of an entry of the manifest.

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
        turns=tuple(
            Stretch(
                1000 * segment.get("speech_start", segment["start"]),
                1000 * segment.get("speech_end", segment["end"]),
                segment["speaker"],
            )
            for segment in entry.get("segments") or ()
            if segment.get("speaker")
        ),
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
