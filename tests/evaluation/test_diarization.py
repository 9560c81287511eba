"""The command that measures who is named in captions."""

import json
from pathlib import Path

import pytest
import soundfile

from livecaption.evaluation.diarization import errors_of, main, table, with_fast_turns
from livecaption.evaluation.latency import Received
from livecaption.evaluation.speaker_errors import SpeakerErrors
from livecaption.events import CaptionWord, Final, Turn
from tests.evaluation.test_fast_turns import recording
from tests.support.speaker_model import installed_network

DATA = Path(__file__).parent.parent / "data"


def final(*parts: tuple[int | None, int, int]) -> Received:
    turns = tuple(Turn(speaker, "word ", start_ms, end_ms) for speaker, start_ms, end_ms in parts)
    words = tuple(CaptionWord("word", start_ms, end_ms, 0.9, speaker) for speaker, start_ms, end_ms in parts)
    start_ms, end_ms = turns[0].start_ms, turns[-1].end_ms
    return Received(0, Final(0, "word " * len(parts), start_ms, end_ms, "en", 0.9, 0, words=words, turns=turns))


def test_turns_and_words_of_finals_are_compared_with_the_reference() -> None:
    received = [final((1, 0, 9_000)), final((2, 10_000, 19_000), (1, 20_000, 29_000)), final((None, 30_000, 39_000))]
    errors = errors_of(recording(), received)
    assert (errors.total_ms, errors.unnamed_ms, errors.confused_ms) == (36_000, 9_000, 0)
    assert (errors.n_words, errors.n_wrong_words) == (4, 1)


def test_only_recordings_of_three_people_or_more_are_made_into_conversations() -> None:
    assert [each.clip.id for each in with_fast_turns([recording()])] == ["talk"]


def test_the_table_sums_up() -> None:
    row = SpeakerErrors(total_ms=1000, unnamed_ms=100, n_words=4, n_wrong_words=1, n_speakers=2, n_found=2)
    assert table([("a", row), ("b", row)]).row_count == 3


def test_a_directory_without_a_manifest_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "manifest.jsonl" in capsys.readouterr().err


@pytest.mark.model
@pytest.mark.usefixtures("environment_of_its_own")
def test_the_command_measures_a_recording_of_two_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = [soundfile.read(DATA / f"{clip}.flac")[0] for clip in ("ls-61-70968-0000", "read-en-leopard-quilter")]
    soundfile.write(tmp_path / "talk.wav", [*clips[0], *clips[1]], 16_000)
    middle_s, end_s = len(clips[0]) / 16_000, (len(clips[0]) + len(clips[1])) / 16_000
    segments = [
        {"start": 0, "end": middle_s, "speaker": "first"},
        {"start": middle_s, "end": end_s, "speaker": "second"},
    ]
    entry = {"id": "talk", "file": "talk.wav", "language": "en", "segments": segments}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(entry) + "\n")
    assert main([str(tmp_path), "--speaker-model", str(installed_network())]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if " talk " in line]
    assert "2 of 2" in line
