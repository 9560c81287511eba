"""Deepgram's shape of a recording. What its own client makes of it: tests/foreign."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from livecaption.events import CaptionWord, Final, Turn
from livecaption.live.dialects.deepgram_query import RecordedOptions, recorded_options
from livecaption.live.dialects.deepgram_shapes import Model
from livecaption.server.deepgram.answers import Recorded, answer

RECORDED = Recorded("an id", "ab12", datetime(2026, 11, 30, 12, 0, 0, 5000, UTC), 6500, 1, Model("tiny.en"))
FINALS = [
    Final(0, "Doors open. At nine.", 100, 900, "en", 0.5, 0),
    Final(1, "", 1000, 1100, "en", 0.0, 0),
    Final(2, "Welcome.", 1200, 1900, "en", 1.0, 0, (CaptionWord("Welcome.", 1300, 1800, 0.9),)),
    Final(3, "Later on", 5000, 6000, "de", 1.0, 0),
]


def body(*query: tuple[str, str], recorded: Recorded = RECORDED, finals: list[Final] = FINALS) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(answer(recorded, finals, recorded_options(query)).body)
    return parsed


def test_the_answer_has_what_clients_read_also_without_speech() -> None:
    empty = body(finals=[])
    assert empty["results"] == {"channels": [{"alternatives": [{"transcript": "", "confidence": 0.0, "words": []}]}]}
    assert empty["metadata"] == {
        "transaction_key": "deprecated",
        "request_id": "an id",
        "sha256": "ab12",
        "created": "2026-11-30T12:00:00.005000Z",
        "duration": 6.5,
        "channels": 1,
        "models": [Model("tiny.en").uuid],
        "model_info": {Model("tiny.en").uuid: {"name": "tiny.en", "version": "1", "arch": "livecaption"}},
    }
    assert answer(RECORDED, [], RecordedOptions(recorded_options([]).stream)).headers["dg-request-id"] == "an id"


def test_text_is_bare_unless_punctuation_is_asked_for() -> None:
    [channel] = body()["results"]["channels"]
    [alternative] = channel["alternatives"]
    assert alternative["transcript"] == "doors open at nine welcome later on"
    assert alternative["words"][4] == {"word": "welcome", "start": 1.3, "end": 1.8, "confidence": 0.9}
    [alternative] = body(("punctuate", "true"))["results"]["channels"][0]["alternatives"]
    assert alternative["transcript"] == "Doors open. At nine. Welcome. Later on"
    assert alternative["words"][4]["punctuated_word"] == "Welcome."


def test_utterances_are_the_finals_with_text() -> None:
    utterances = body(("utterances", "true"))["results"]["utterances"]
    assert [(each["transcript"], each["start"], each["end"], each["channel"]) for each in utterances] == [
        ("doors open at nine", 0.1, 0.9, 0),
        ("welcome", 1.2, 1.9, 0),
        ("later on", 5.0, 6.0, 0),
    ]
    assert len({each["id"] for each in utterances}) == 3
    assert "utterances" not in body()["results"]


def test_turns_that_begin_at_the_same_time_have_ids_of_their_own() -> None:
    turns = (Turn(1, "Doors open. ", 100, 100), Turn(2, "At nine.", 100, 900))
    utterances = body(("utterances", "true"), finals=[replace(FINALS[0], turns=turns)])["results"]["utterances"]
    assert len({each["id"] for each in utterances}) == 2


def test_paragraphs_begin_after_a_pause_and_have_sentences() -> None:
    [alternative] = body(("paragraphs", "true"))["results"]["channels"][0]["alternatives"]
    paragraphs = alternative["paragraphs"]
    assert paragraphs["transcript"] == "Doors open. At nine. Welcome.\n\nLater on"
    first, second = paragraphs["paragraphs"]
    assert [sentence["text"] for sentence in first["sentences"]] == ["Doors open.", "At nine.", "Welcome."]
    assert (first["num_words"], first["start"], first["end"]) == (5, 0.1, 1.9)
    assert (second["num_words"], second["start"], second["end"]) == (2, 5.0, 6.0)


def test_the_detected_language_is_that_of_most_utterances() -> None:
    [channel] = body(("detect_language", "true"))["results"]["channels"]
    assert channel["detected_language"] == "en"
    assert "detected_language" not in body(("language", "en"))["results"]["channels"][0]
    assert body(("language", "multi"), finals=[])["results"]["channels"][0]["detected_language"] is None


def test_channels_that_are_kept_apart_have_a_text_each() -> None:
    finals = [replace(FINALS[2], channel=1), replace(FINALS[3], channel=0)]
    channels = body(recorded=replace(RECORDED, n_channels=2), finals=finals)["results"]["channels"]
    assert [channel["alternatives"][0]["transcript"] for channel in channels] == ["later on", "welcome"]


TURNS = (Turn(1, "Doors open. ", 100, 500), Turn(2, "At nine.", 500, 900))
SPOKEN = [
    replace(FINALS[0], turns=TURNS),
    replace(FINALS[2], turns=(Turn(2, "Welcome.", 1200, 1900),)),
    replace(FINALS[3], turns=(Turn(None, "Later on", 5000, 6000),)),
]


def test_words_utterances_and_paragraphs_have_speakers_from_0_unless_nobody_is_certain() -> None:
    results = body(("diarize", "true"), ("utterances", "true"), ("paragraphs", "true"), finals=SPOKEN)["results"]
    [alternative] = results["channels"][0]["alternatives"]
    assert [word.get("speaker") for word in alternative["words"]] == [0, 0, 1, 1, None, None, None]
    assert [each.get("speaker", "none") for each in results["utterances"]] == [0, 1, 1, "none"]
    assert len({each["id"] for each in results["utterances"]}) == 4
    paragraphs = alternative["paragraphs"]
    assert paragraphs["transcript"] == "Speaker 0: Doors open.\n\nSpeaker 1: At nine. Welcome.\n\nLater on"
    assert [each.get("speaker", "none") for each in paragraphs["paragraphs"]] == [0, 1, "none"]
