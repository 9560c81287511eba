"""The session object: what an update changes, what is shown, and what it means for the stream."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.audio.formats import AudioFormat
from livecaption.live.dialects.openai_session import LOGPROBS, InvalidField, Session
from livecaption.pipeline.options import StreamOptions
from livecaption.speech.endpointing import PRESETS, EndpointingConfig
from tests.support.any_text import any_text
from tests.support.cases import for_each

OWN = EndpointingConfig(hangover_ms=600, mid_phrase_hangover_ms=800, pre_roll_ms=350)


def asking(**audio_input: Any) -> dict[str, Any]:
    return {"type": "transcription", "audio": {"input": audio_input}}


def options(*updates: Any) -> StreamOptions:
    session = Session()
    for update in updates:
        session = session.updated(update)
    return session.options(OWN)


def shown(session: Session) -> Any:
    return session.shown("id", OWN, flat=False)["audio"]["input"]


def test_a_session_begins_with_24_khz_and_the_turns_of_the_server() -> None:
    assert Session().shown("abc", OWN, flat=False) == {
        "id": "abc",
        "object": "realtime.transcription_session",
        "type": "transcription",
        "expires_at": None,
        "include": None,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24_000},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 350,
                    "silence_duration_ms": 600,
                },
            }
        },
    }
    assert options() == StreamOptions(AudioFormat("pcm_s16le", 24_000), endpointing=OWN, patience_ms=1600)


def test_an_update_changes_only_what_it_names() -> None:
    first = Session().updated(
        {
            **asking(
                format={"type": "audio/pcmu"},
                transcription={"model": "m", "language": "de", "prompt": "Guten Tag."},
                noise_reduction={"type": "far_field"},
                turn_detection={"type": "server_vad", "silence_duration_ms": 700, "prefix_padding_ms": 100},
            ),
            "include": [LOGPROBS],
        }
    )
    assert first.updated({}) == first.updated({"audio": None}) == first.updated(None) == first
    second = first.updated(asking(transcription={"language": "en"}, turn_detection={"silence_duration_ms": 900}))
    assert second.audio == AudioFormat("mulaw", 8000)
    assert second.transcription == {"model": "m", "language": "en", "prompt": "Guten Tag."}
    assert shown(second)["turn_detection"] == {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 100,
        "silence_duration_ms": 900,
    }
    assert (second.noise_reduction, second.has_logprobs) == ({"type": "far_field"}, True)


def test_null_takes_a_field_back() -> None:
    session = Session().updated(
        {**asking(transcription={"language": "de"}, noise_reduction={"type": "near_field"}), "include": [LOGPROBS]}
    )
    session = session.updated({**asking(transcription={"language": None}, noise_reduction=None), "include": None})
    assert session == Session()


def test_a_session_carries_every_option() -> None:
    asked = {"language": "en-US", "prompt": "p", "keywords": ["Böll", "Köln"], "delay": "high", "unknown": 1}
    stream = options({**asking(transcription=asked), "include": [LOGPROBS], "tracing": "auto"})
    transcription = stream.transcription
    assert (transcription.language, transcription.prompt, transcription.hotwords) == ("en", "p", ("Böll", "Köln"))
    assert transcription.words
    assert stream.endpointing == PRESETS["accurate"]


def test_several_languages_are_those_to_expect_and_the_newest_names_count() -> None:
    several = asking(transcription={"languages": ["de", "en-US", "German"]})
    one = asking(transcription={"language": "fr"})
    assert options(several).transcription.languages == ("de", "en")
    assert options(asking(transcription={"languages": ["de"]})).transcription.language == "de"
    assert (options(several, one).transcription.language, options(several, one).transcription.languages) == ("fr", ())
    assert options(one, several).transcription.languages == ("de", "en")


@for_each(
    ("turns", "expected"),
    [
        (None, replace(OWN, manual=True)),
        ({"type": "server_vad"}, OWN),
        (
            {"type": "server_vad", "silence_duration_ms": 350, "prefix_padding_ms": 600, "threshold": 0.9},
            replace(OWN, hangover_ms=350, mid_phrase_hangover_ms=350, pre_roll_ms=600),
        ),
        (
            {"type": "server_vad", "silence_duration_ms": 0, "prefix_padding_ms": 10**30},
            replace(OWN, hangover_ms=20, mid_phrase_hangover_ms=20, pre_roll_ms=1000),
        ),
        ({"type": "semantic_vad"}, replace(OWN, mid_phrase_hangover_ms=4000)),
        ({"type": "semantic_vad", "eagerness": "low"}, replace(OWN, mid_phrase_hangover_ms=8000)),
        (
            {"type": "semantic_vad", "eagerness": "high", "create_response": True, "interrupt_response": False},
            replace(OWN, mid_phrase_hangover_ms=2000),
        ),
    ],
)
def test_the_detection_of_turns_decides_the_endpoints(turns: Any, expected: EndpointingConfig) -> None:
    stream = options(asking(turn_detection=turns))
    assert stream.endpointing == expected
    assert stream.patience_ms == expected.hangover_ms + 1000


def test_another_kind_of_turns_begins_with_its_own_defaults() -> None:
    session = Session().updated(asking(turn_detection={"type": "server_vad", "silence_duration_ms": 900}))
    session = session.updated(asking(turn_detection={"type": "semantic_vad", "eagerness": "high"}))
    assert shown(session)["turn_detection"] == {"type": "semantic_vad", "eagerness": "high"}
    session = session.updated(asking(turn_detection={"type": "server_vad"}))
    assert session.endpointing(OWN) == OWN
    assert shown(session.updated(asking(turn_detection=None)))["turn_detection"] is None


@for_each(
    ("format_", "expected"),
    [
        ({"type": "audio/pcm"}, AudioFormat("pcm_s16le", 24_000)),
        *(({"type": "audio/pcm", "rate": rate}, AudioFormat("pcm_s16le", rate)) for rate in (8000, 16_000, 48_000)),
        ({"type": "audio/pcmu"}, AudioFormat("mulaw", 8000)),
        ({"type": "audio/pcma", "rate": 24_000}, AudioFormat("alaw", 8000)),
    ],
)
def test_audio_has_one_of_three_encodings(format_: Any, expected: AudioFormat) -> None:
    assert options(asking(format=format_)).audio == expected


def test_the_beta_has_flat_names() -> None:
    session = Session().updated(
        {
            "input_audio_format": "g711_alaw",
            "input_audio_transcription": {"model": "m", "language": "en"},
            "input_audio_noise_reduction": {"type": "near_field"},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 300},
        }
    )
    assert session.audio == AudioFormat("alaw", 8000)
    flat = session.shown("id", OWN, flat=True)
    assert "audio" not in flat
    assert (flat["input_audio_format"], flat["input_audio_noise_reduction"]) == ("g711_alaw", {"type": "near_field"})
    assert flat["input_audio_transcription"] == {"model": "m", "language": "en"}
    assert flat["turn_detection"]["silence_duration_ms"] == 300
    assert Session().shown("id", OWN, flat=True)["input_audio_format"] == "pcm16"


def test_a_model_that_detects_no_turns_at_openai_has_none_here_unless_they_are_asked_for() -> None:
    """LiveKit commits for these models, and its session does not have that."""
    update = asking(transcription={"model": "gpt-realtime-whisper"})
    assert Session().updated(update).turn_detection is None
    assert Session.of_model("gpt-live-transcribe-2").turn_detection is None
    asked = asking(transcription={"model": "gpt-live-transcribe"}, turn_detection={"type": "server_vad"})
    assert Session().updated(asked).turn_detection == {"type": "server_vad"}
    assert Session.of_model("whisper-1").turn_detection == {"type": "server_vad"}


def test_unknown_fields_and_values_without_effect_are_ignored() -> None:
    update = asking(
        transcription={"delay": "soon", "temperature": 1},
        noise_reduction={"type": "magic"},
        turn_detection={"type": "server_vad", "idle_timeout_ms": 5000, "create_response": "x"},
        voice="alloy",
    )
    session = Session().updated({**update, "include": "all", "type": "realtime", "tracing": "auto"})
    assert session.options(OWN) == Session().options(OWN)


def test_long_texts_are_cut_to_what_counts() -> None:
    asked = {"prompt": "x" * 5000 + "end", "keywords": ["k" * 500] * 500, "model": "m" * 500}
    transcription = options(asking(transcription=asked)).transcription
    assert (len(transcription.prompt), transcription.prompt[-3:]) == (1000, "end")
    assert (len(transcription.hotwords), len(transcription.hotwords[0])) == (100, 200)


@for_each(
    ("update", "param"),
    [
        ("x", "session"),
        ({"audio": []}, "session.audio"),
        ({"audio": {"input": 1}}, "session.audio.input"),
        (asking(format="opus"), "session.audio.input.format"),
        (asking(format={"type": "audio/opus"}), "session.audio.input.format.type"),
        (asking(format={"type": ["audio/pcm"]}), "session.audio.input.format.type"),
        (asking(format={"type": "audio/pcm", "rate": 7}), "session.audio.input.format.rate"),
        (asking(format={"type": "audio/pcm", "rate": True}), "session.audio.input.format.rate"),
        (asking(transcription=[]), "session.audio.input.transcription"),
        (asking(transcription={"language": 1}), "session.audio.input.transcription.language"),
        (asking(transcription={"prompt": "\ud800"}), "session.audio.input.transcription.prompt"),
        (asking(transcription={"keywords": "a"}), "session.audio.input.transcription.keywords"),
        (asking(transcription={"languages": [None, 1]}), "session.audio.input.transcription.languages"),
        (asking(turn_detection="server_vad"), "session.audio.input.turn_detection"),
        (asking(turn_detection={"type": "magic"}), "session.audio.input.turn_detection.type"),
        (
            asking(turn_detection={"type": "semantic_vad", "eagerness": 1}),
            "session.audio.input.turn_detection.eagerness",
        ),
        (asking(turn_detection={"threshold": float("nan")}), "session.audio.input.turn_detection.threshold"),
        (
            asking(turn_detection={"silence_duration_ms": True}),
            "session.audio.input.turn_detection.silence_duration_ms",
        ),
        (asking(noise_reduction=1), "session.audio.input.noise_reduction"),
    ],
)
def test_a_wrong_value_is_named(update: Any, param: str) -> None:
    with pytest.raises(InvalidField) as refusal:
        Session().updated(update)
    assert (refusal.value.param, refusal.value.fatal) == (param, False)


NAMES = ("type", "rate", "model", "language", "languages", "prompt", "keywords", "delay", "threshold", "eagerness")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text(3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=2),
    max_leaves=4,
)
KNOWN = st.sampled_from(["server_vad", "semantic_vad", "audio/pcm", "low", "high"])
PARTS = st.dictionaries(
    st.sampled_from(["format", "transcription", "turn_detection", "noise_reduction"]),
    VALUES | st.dictionaries(st.sampled_from(NAMES), VALUES | KNOWN),
)


@given(PARTS)
def test_any_update_is_refused_or_gives_a_session_that_is_valid(parts: dict[str, Any]) -> None:
    session = Session()
    with suppress(InvalidField):
        session = session.updated(asking(**parts))
    assert session.options(OWN).patience_ms
    assert session.updated(session.shown("id", OWN, flat=False)).audio == session.audio
