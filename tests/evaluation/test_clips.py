"""The meaning of the manifest of recordings for their scores."""

import json
from pathlib import Path
from typing import Any

import pytest

from livecaption.evaluation.clips import Clip, choose, clip, read_manifest
from livecaption.evaluation.latency import SpokenWord

ENTRY = {"id": "a", "file": "audio/a.flac"}


def test_a_clip_has_the_times_of_its_speech_and_words_in_milliseconds() -> None:
    entry = ENTRY | {
        "language": "en",
        "reference": "Hello",
        "speech_start": 0.25,
        "speech_end": 1.5,
        "words_aligned": [{"w": "Hello", "start": 0.25, "end": 1.5}],
    }
    assert clip(entry, Path("data")) == Clip(
        "a", Path("data/audio/a.flac"), "en", "Hello", 250.0, (1500.0,), (SpokenWord("Hello", 1500.0),)
    )


@pytest.mark.parametrize(
    ("fields", "reference"),
    [
        ({}, None),
        ({"reference": "Hello", "reference_trust": "machine"}, None),
        ({"reference": None, "language": None, "tags": ["no-speech"]}, ""),
    ],
)
def test_only_a_trusted_reference_is_scored(fields: dict[str, Any], reference: str | None) -> None:
    """Without speech the reference is empty, so every word is an error."""
    assert clip(ENTRY | fields, Path()).reference == reference


def test_a_final_is_expected_after_each_segment_that_a_pause_follows() -> None:
    segments = [
        {"speech_start": 1.0, "speech_end": 2.0},
        {"speech_start": 2.9, "speech_end": 4.0},
        {"speech_start": 5.0, "speech_end": 6.0},
    ]
    made = clip(ENTRY | {"segments": segments}, Path())
    assert (made.speech_start_ms, made.speech_ends_ms) == (1000.0, (4000.0, 6000.0))


def test_an_entry_without_a_file_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks id or file"):
        clip({"id": "a"}, Path())


def test_a_manifest_holds_a_clip_in_each_line(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text(json.dumps(ENTRY) + "\n" + json.dumps(ENTRY | {"id": "b"}) + "\n")
    assert [clip.id for clip in read_manifest(tmp_path)] == ["a", "b"]


CHOICES = [
    Clip("a-1", Path(), "en", "Hello", words=(SpokenWord("Hello", 500),), tags=("clean",)),
    Clip("a-2", Path(), "en", "Hello", tags=("noisy",)),
    Clip("b-1", Path(), "de", "Hallo", words=(SpokenWord("Hallo", 500),), tags=("clean",)),
    Clip("b-2", Path(), "en", None, words=(SpokenWord("Hello", 500),)),
]


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        ([], ["a-1"]),
        (["a-*"], ["a-1", "a-2"]),
        (["clean"], ["a-1", "b-1"]),
        (["b-?", "noisy"], ["a-2", "b-1", "b-2"]),
        (["nothing"], []),
    ],
)
def test_clips_are_chosen_by_ids_and_tags_and_by_default_english_with_known_words(
    patterns: list[str], chosen: list[str]
) -> None:
    assert [clip.id for clip in choose(CHOICES, patterns)] == chosen
