"""OpenAI's shapes. What its own client makes of them: tests/foreign."""

import json
from dataclasses import replace
from typing import Any

import pytest

from livecaption.errors import (
    Unavailable,
)
from livecaption.events import CaptionWord, Final, Turn
from livecaption.recognition import ModelDescription
from livecaption.server.openai import answers

WORDS = (CaptionWord("Doors", 120, 400, 0.9), CaptionWord("open.", 400, 900, 0.9))
FINALS = [
    Final(0, "Doors open.", 120, 900, "en", 0.5, 0, WORDS),
    Final(1, "", 1000, 1100, "en", 0.0, 0, ()),
    Final(2, "At nine.", 2000, 3000, "en", 1.0, 0, ()),
]


def test_a_diarized_answer_has_a_segment_for_each_turn_and_unknown_speakers() -> None:
    turns = (Turn(2, "Doors open. ", 120, 900), Turn(None, "At nine.", 900, 3000))
    finals = [replace(FINALS[0], text="Doors open. At nine.", turns=turns), replace(FINALS[1], turns=())]
    answer = answers.transcription("diarized_json", finals, 3100, task="transcribe", words=False)
    body = json.loads(answer.body)
    assert (body["task"], body["duration"], body["text"]) == ("transcribe", 3.1, "Doors open. At nine.")
    segment = {"type": "transcript.text.segment", "id": "seg_0_0", "start": 0.12, "end": 0.9}
    assert body["segments"] == [
        segment | {"speaker": "B", "text": "Doors open."},
        segment | {"id": "seg_0_1", "start": 0.9, "end": 3.0, "speaker": "unknown", "text": "At nine."},
    ]
    assert answers.segments(FINALS[0]) == ""


def verbose(finals: list[Final], *, words: bool = False) -> dict[str, Any]:
    answer = answers.transcription("verbose_json", finals, 3100, task="transcribe", words=words)
    body: dict[str, Any] = json.loads(answer.body)
    return body


def test_the_verbose_answer_has_all_that_clients_read() -> None:
    answer = verbose(FINALS, words=True)
    assert {name: answer[name] for name in ("task", "language", "duration", "text", "usage")} == {
        "task": "transcribe",
        "language": "english",
        "duration": 3.1,
        "text": "Doors open. At nine.",
        "usage": {"type": "duration", "seconds": 4},
    }
    assert answer["segments"][0] == {
        "id": 0,
        "seek": 0,
        "start": 0.12,
        "end": 0.9,
        "text": "Doors open.",
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": -0.6931,
        "compression_ratio": pytest.approx(0.6, abs=0.1),
        "no_speech_prob": 0.0,
    }
    assert [segment["id"] for segment in answer["segments"]] == [0, 1]
    assert answer["words"][0] == {"word": "Doors", "start": 0.12, "end": 0.4}


def test_an_answer_without_speech_has_no_segments() -> None:
    answer = verbose([])
    assert (answer["text"], answer["segments"], answer["language"]) == ("", [], "unknown")
    assert answers.transcription("text", [], 0, task="transcribe", words=False).body == "\n"


def test_events_are_lines_of_data() -> None:
    assert answers.delta(FINALS[0], is_first=True) == (
        'data: {"type": "transcript.text.delta", "delta": "Doors open."}\n\n'
    )
    assert json.loads(answers.delta(FINALS[2], is_first=False).removeprefix("data: "))["delta"] == " At nine."
    assert json.loads(answers.done([FINALS[0]], 900).removeprefix("data: ")) == {
        "type": "transcript.text.done",
        "text": "Doors open.",
        "usage": {"type": "duration", "seconds": 1},
    }
    failure = json.loads(answers.late_failure(Unavailable("gone", code="failed")).removeprefix("data: "))
    assert failure["error"] == {"message": "gone", "type": "server_error", "param": None, "code": "failed"}


def test_models_are_the_loaded_one() -> None:
    [model] = answers.models(ModelDescription("tiny.en", "cpu", "int8", ("en",), translates=False))["data"]
    assert (model["id"], model["object"]) == ("tiny.en", "model")
