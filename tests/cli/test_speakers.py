"""`transcribe` and `listen` with `--speakers`: they ask for speakers, and name them where another one speaks."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Ended, Peer, Serve, final, livecaption_command


def turn(speaker: int | None, text: str, start_ms: int, end_ms: int) -> dict[str, Any]:
    return {"speaker": speaker, "text": text, "start_ms": start_ms, "end_ms": end_ms}


MEETING = [
    final("Are we complete? Nearly.", 0, 3000, 0)
    | {"turns": [turn(1, "Are we complete? ", 0, 1900), turn(2, "Nearly.", 2000, 3000)]},
    {"type": "name", "speaker": 2, "name": "Bob"},
    final("Ada is late.", 3500, 5000, 1) | {"turns": [turn(2, "Ada is late.", 3500, 5000)]},
    final("Then begin.", 5500, 6000, 2) | {"turns": [turn(1, "Then begin.", 5500, 6000)]},
]


@pytest.mark.parametrize(("wish", "asked"), [(("--speakers",), True), (("--speakers", "3"), 3)])
async def test_transcribe_asks_for_speakers_and_prints_each_where_another_one_speaks(
    serve: Serve, recording: Path, wish: tuple[str, ...], asked: bool | int
) -> None:
    peer = await serve(Peer(MEETING))
    ended = await livecaption_command("transcribe", recording, "--server", peer.url, *wish)
    printed = "Speaker 1: Are we complete?\nSpeaker 2: Nearly. Ada is late.\nSpeaker 1: Then begin.\n"
    assert ended == Ended(0, printed, "")
    assert peer.starts[0]["speakers"] is asked if asked is True else peer.starts[0]["speakers"] == asked


async def test_transcribe_writes_speakers_into_each_format(serve: Serve, recording: Path, tmp_path: Path) -> None:
    peer = await serve(Peer(MEETING))
    formats = ("--format", "vtt,srt,json", "--output-dir", str(tmp_path))
    ended = await livecaption_command("transcribe", recording, "--server", peer.url, "--speakers", *formats)
    assert ended.code == 0
    stem = recording.stem
    assert "<v Speaker 2>Nearly." in (tmp_path / f"{stem}.vtt").read_text()
    assert "Speaker 2: Nearly." in (tmp_path / f"{stem}.srt").read_text()
    captions = json.loads((tmp_path / f"{stem}.json").read_text())["captions"]
    assert [[turn["speaker"] for turn in each["turns"]] for each in captions] == [[1, 2], [2], [1]]


async def test_listen_prints_each_turn_and_the_newest_name_of_a_speaker_where_another_one_speaks(
    serve: Serve, recording: Path
) -> None:
    peer = await serve(Peer(MEETING))
    ended = await livecaption_command("listen", recording, "--server", peer.url, "--speakers")
    assert ended.stdout == (
        "00:00 Speaker 1: Are we complete?\n00:02 Speaker 2: Nearly.\n00:03 Bob: Ada is late.\n"
        "00:05 Speaker 1: Then begin.\n"
    )


async def test_speakers_are_not_asked_for_without_the_option(serve: Serve, recording: Path) -> None:
    peer = await serve(Peer([final("Alone.")]))
    ended = await livecaption_command("transcribe", recording, "--server", peer.url)
    assert ended == Ended(0, "Alone.\n", "")
    assert "speakers" not in peer.starts[0]


@pytest.mark.parametrize("number", ["0", "51", "two", "-1"])
async def test_a_number_of_people_that_is_none_is_refused(recording: Path, number: str) -> None:
    ended = await livecaption_command("transcribe", recording, f"--speakers={number}")
    assert ended.code == 2
    assert "is not a number of people from 1 to 50" in ended.stderr


async def test_a_file_behind_the_option_is_taken_for_the_number_and_the_message_has_the_remedy(
    recording: Path,
) -> None:
    ended = await livecaption_command("transcribe", "--speakers", recording)
    assert ended.code == 2
    assert "a file must stand before this option" in ended.stderr
