"""The protocol of WhisperLive: the newest segments, again and again."""

import json
from typing import Any

import numpy as np
import pytest

from livecaption.audio.formats import AudioFormat
from livecaption.errors import ClientError, InvalidMessage, Unavailable, WrongState
from livecaption.events import CaptionWord, End, ErrorReport, Event, Final, Partial, Ready, Translation
from livecaption.live.dialects.commands import Audio, Finish, Open
from livecaption.live.dialects.whisper_live import END_OF_AUDIO, WhisperLive
from livecaption.live.state import Ending
from livecaption.speech.endpointing import EndpointingConfig
from tests.support.cases import for_each

READY = Ready("s", "secret", 1, "tiny", None, 0)
DOORS = Final(0, "Doors open at nine.", 0, 2100, "en", 0.98, 500)
PLEASE = Partial(1, 1, "Please", "", 2100, 3000)
SHOWN_DOORS = {"start": "0.000", "end": "2.100", "text": " Doors open at nine.", "completed": True}
OPEN_DOORS = {**SHOWN_DOORS, "completed": False}
SHOWN_PLEASE = {"start": "2.100", "end": "3.000", "text": " Please", "completed": False}


def begun(**options: Any) -> tuple[WhisperLive, Open]:
    dialect = WhisperLive(EndpointingConfig())
    assert dialect.connected() == []
    [command] = dialect.receive(json.dumps({"uid": "u", "language": "en", **options}))
    assert isinstance(command, Open)
    return dialect, command


def sent(dialect: WhisperLive, *events: Event) -> list[dict[str, Any]]:
    """Return the messages for these events, without the uid that each must have."""
    messages = [json.loads(message) for event in events for message in dialect.encode(event, 1)]
    assert all(message.pop("uid") == "u" for message in messages)
    return messages


def test_the_options_open_the_session() -> None:
    _, command = begun(
        language="german",
        task="translate",
        hotwords="Kaldi, Vosk",
        initial_prompt="Hello",
        word_timestamps=True,
        model="small",
        use_vad=False,
        vad_parameters={"threshold": 0.5},
    )
    options = command.options
    assert options.audio == AudioFormat("pcm_f32le", 16_000, 1)
    assert (options.transcription.language, options.transcription.task) == ("de", "translate")
    assert (options.transcription.hotwords, options.transcription.prompt) == (("Kaldi", "Vosk"), "Hello")
    assert options.transcription.words
    assert options.tracks == ()


def test_a_client_is_ready_once_its_session_is_open() -> None:
    dialect, _ = begun()
    assert sent(dialect, READY) == [{"message": "SERVER_READY", "backend": "faster_whisper"}]


def test_segments_are_sent_with_each_change() -> None:
    dialect, _ = begun()
    assert sent(dialect, READY, DOORS)[1:] == [{"segments": [OPEN_DOORS]}, {"segments": [SHOWN_DOORS]}]
    assert sent(dialect, PLEASE) == [{"segments": [SHOWN_DOORS, SHOWN_PLEASE]}]


def test_the_last_open_segment_has_the_text_of_the_completed_one() -> None:
    """Otherwise the client of WhisperLive writes the last utterance twice into its file."""
    dialect, _ = begun()
    shown = sent(dialect, DOORS, PLEASE, Final(1, "Please sit.", 2100, 3000, "en", 0.9, 0))
    opened = [message["segments"][-1] for message in shown if not message["segments"][-1]["completed"]]
    assert opened[-1]["text"] == shown[-1]["segments"][-1]["text"] == " Please sit."


def test_speech_whose_final_is_awaited_is_one_open_segment_with_what_follows() -> None:
    dialect, _ = begun()
    first = Partial(0, 1, "Doors", "", 0, 2000)
    segment = {"start": "0.000", "end": "3.000", "text": " Doors Please", "completed": False}
    assert sent(dialect, first, PLEASE)[-1] == {"segments": [segment]}


def test_a_final_without_text_is_no_segment() -> None:
    dialect, _ = begun()
    assert sent(dialect, Final(0, "", 0, 500, None, 0.0, 500)) == []


def test_as_many_completed_segments_are_sent_again_as_the_client_wants() -> None:
    dialect, _ = begun(send_last_n_segments=2)
    finals = [Final(number, f"{number}", number * 1000, number * 1000 + 500, "en", 0.9, 0) for number in range(4)]
    assert [segment["text"] for segment in sent(dialect, *finals)[-1]["segments"]] == [" 2", " 3"]


def test_completed_segments_never_overlap() -> None:
    dialect, _ = begun()
    early = Final(1, "Please", 2000, 2050, "en", 0.9, 0)
    segments = sent(dialect, DOORS, early)[-1]["segments"]
    assert [(segment["start"], segment["end"]) for segment in segments] == [("0.000", "2.100"), ("2.100", "2.100")]


def test_words_have_their_times() -> None:
    dialect, _ = begun(word_timestamps=True)
    final = Final(0, "Doors", 0, 500, "en", 0.9, 0, (CaptionWord("Doors", 100, 400, 0.8),))
    [segment] = sent(dialect, final)[-1]["segments"]
    assert segment["words"] == [{"word": " Doors", "start": "0.100", "end": "0.400", "probability": 0.8}]


def test_the_language_comes_second_if_the_model_has_only_one() -> None:
    dialect, _ = begun(language=None)
    ready = Ready("s", "secret", 1, "tiny.en", "en", 0)
    assert sent(dialect, ready, DOORS)[1:] == [
        {"language": "en", "language_prob": 1.0},
        {"segments": [OPEN_DOORS]},
        {"segments": [SHOWN_DOORS]},
    ]


def test_no_segment_comes_before_the_language_that_is_detected() -> None:
    dialect, _ = begun(language=None)
    assert sent(dialect, READY, Partial(0, 1, "Doors", "", 0, 900))[1:] == []
    assert sent(dialect, DOORS, PLEASE) == [
        {"language": "en", "language_prob": 0.98},
        {"segments": [OPEN_DOORS]},
        {"segments": [SHOWN_DOORS]},
        {"segments": [SHOWN_DOORS, SHOWN_PLEASE]},
    ]


def test_translations_are_segments_with_the_times_of_their_finals() -> None:
    dialect, command = begun(enable_translation=True, target_language="de")
    assert command.options.tracks == ("de",)
    messages = sent(dialect, DOORS, Translation(0, "de", "Einlass ist um neun."))
    assert messages[-1] == {"translated_segments": [{**SHOWN_DOORS, "text": " Einlass ist um neun."}]}
    assert sent(dialect, Translation(7, "de", "Nichts.")) == []


@for_each(
    ("named", "encoding", "given", "taken"),
    [
        (None, "pcm_f32le", b"\0\1\2\3", b"\0\1\2\3"),
        ("float32", "pcm_f32le", b"\0\1\2\3", b"\0\1\2\3"),
        ("int16", "pcm_s16le", b"\0\1\2\3", b"\0\1\2\3"),
        ("uint8", "pcm_s16le", bytes([0, 128, 255]), np.array([-32768, 0, 32512], "<i2").tobytes()),
    ],
)
def test_audio_has_the_format_that_the_options_name(
    named: str | None, encoding: str, given: bytes, taken: bytes
) -> None:
    dialect, command = begun(audio_format=named)
    assert command.options.audio.encoding == encoding
    assert dialect.receive(given) == [Audio(taken)]


def test_the_end_of_the_audio_ends_the_session_and_what_follows_is_ignored() -> None:
    dialect, _ = begun()
    assert dialect.receive(END_OF_AUDIO) == [Finish()]
    assert dialect.receive(END_OF_AUDIO) == dialect.receive("rubbish") == []
    assert sent(dialect, End(3000, 1, "stop")) == []
    assert dialect.close(Ending("stop")) == (1000, "")


def test_a_server_that_stops_sends_a_disconnect() -> None:
    dialect, _ = begun()
    assert sent(dialect, End(3000, 1, "draining")) == [{"message": "DISCONNECT"}]


@for_each(("wait_s", "minutes"), [(2.0, 1), (60.0, 1), (90.0, 2)])
def test_a_client_that_is_refused_for_now_waits_some_minutes(wait_s: float, minutes: int) -> None:
    dialect, _ = begun()
    error = ErrorReport.of(Unavailable("full", retry_after_s=wait_s))
    assert sent(dialect, error) == [{"status": "WAIT", "message": minutes}]


def test_other_errors_are_reported_with_their_text() -> None:
    dialect, _ = begun()
    assert sent(dialect, ErrorReport.of(ClientError("no"))) == [{"status": "ERROR", "message": "no"}]
    assert sent(dialect, ErrorReport.of(ClientError("hm", fatal=False))) == [{"status": "WARNING", "message": "hm"}]


def test_a_client_that_was_ready_gets_an_error_in_place_of_a_wait() -> None:
    dialect, _ = begun()
    messages = sent(dialect, READY, ErrorReport.of(Unavailable("no process", retry_after_s=30.0)))
    assert messages[-1] == {"status": "ERROR", "message": "no process"}


def test_a_client_that_sends_audio_first_is_refused() -> None:
    with pytest.raises(WrongState):
        WhisperLive(EndpointingConfig()).receive(bytes(4))


def test_text_behind_the_options_costs_nothing() -> None:
    dialect, _ = begun()
    with pytest.raises(InvalidMessage) as refused:
        dialect.receive('{"uid": "u"}')
    assert not refused.value.fatal


@for_each(
    "message",
    [
        "rubbish",
        "[]",
        "{}",
        '{"uid": null}',
        '{"uid": true}',
        '{"uid": "\\ud800"}',
        json.dumps({"uid": "u" * 101}),
        '{"uid": "u", "audio_format": "mp3"}',
        '{"uid": "u", "audio_format": [7]}',
    ],
)
def test_options_that_cannot_be_read_are_refused(message: str) -> None:
    with pytest.raises(InvalidMessage):
        WhisperLive(EndpointingConfig()).receive(message)


def test_options_of_a_wrong_type_have_no_effect() -> None:
    _, command = begun(
        language=7, hotwords=7, initial_prompt=[], send_last_n_segments="9", task=None, word_timestamps="yes"
    )
    assert command.options.transcription.language is None
    assert command.options.transcription.hotwords == ()
    assert not command.options.transcription.words
