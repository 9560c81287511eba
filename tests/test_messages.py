"""The messages of the native protocol: what one end writes, the other reads."""

import json
from dataclasses import fields, replace
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.audio.formats import CHANNEL_MODES, ENCODINGS, AudioFormat
from livecaption.events import (
    Ack,
    CaptionWord,
    End,
    ErrorReport,
    Event,
    Final,
    Flushed,
    Gap,
    HotwordUse,
    Partial,
    Pong,
    Ready,
    Room,
    RoomAccess,
    RoomPart,
    Snapshot,
    SpeakerName,
    SpeakerNamed,
    SpeechEnd,
    SpeechStart,
    Status,
    TranslatedText,
    Translation,
    Turn,
)
from livecaption.live.dialects import commands, native
from livecaption.live.dialects.address import ENDPOINTING, OPTIONS
from livecaption.messages import (
    Endpointing,
    Flush,
    Name,
    Ping,
    Resume,
    RoomEntry,
    Stop,
    StreamSettings,
    encode,
    encode_final,
    encode_request,
    parse_event,
)
from livecaption.pipeline.options import StreamOptions
from livecaption.recognition import TASKS, TranscriptionOptions
from livecaption.speech.endpointing import PRESETS, EndpointingConfig
from tests.support.any_text import any_text
from tests.support.cases import for_each
from tests.support.scripted_peer import FINAL

WORD = CaptionWord("hello", 1, 2, 0.5)
SAID = Final(0, "hello", 0, 900, "en", 0.5, 300)
TRANSLATED = replace(SAID, translations=(TranslatedText("de", "Hallo."),))
SPOKEN = replace(
    SAID,
    words=(replace(WORD, speaker=2), WORD),
    turns=(Turn(2, "hel", 0, 400), Turn(None, "lo", 400, 900)),
)
EVENTS: list[Event] = [
    Ready("s", "r", 1, "m", None, 0),
    Ready("s", "r", 1, "m", "en", 7, 1000, True, "reader"),
    Ready("s", "r", 1, "m", "en", 7, hotwords=HotwordUse(100, 21)),
    Ready("s", "r", 1, "m", "en", 7, room=RoomAccess("pycon")),
    Ready("s", "r", 1, "m", "en", 7, 1000, True, "reader", room=RoomAccess("pycon", "reader")),
    Ready("s", "r", 1, "m", "de", 7, tracks=("en", "fr")),
    Ready("s", "r", 1, "m", "de", 7, speakers=True),
    SpeechStart(1, 2),
    Partial(1, 2, "hello there", "hello", 3, 4),
    SpeechEnd(1, 2, "silence"),
    SAID,
    Final(0, 'a "quoted" word\u2028', 0, 900, None, 1.0, 300, (WORD, WORD)),
    Final(0, "", 0, 900, None, 0.0, 300, ()),
    TRANSLATED,
    SPOKEN,
    replace(SPOKEN, text="", turns=(), words=()),
    SpeakerNamed(1, "Ada"),
    Translation(0, "de", "Hallo."),
    Flushed(None),
    Flushed("a"),
    Pong(-5),
    Ack(1),
    Status("ready", "slow", 3),
    ErrorReport("overloaded", "not now", True, 1.5),
    Gap(1, 1),
    Snapshot("Talk", "en", (SAID, SAID), Partial(1, 0, "", "", 3, 4), "epoch"),
    Snapshot("Talk", "en", (TRANSLATED,), None, "epoch", tracks=("de",)),
    Snapshot("Talk", "en", (SPOKEN,), None, "epoch", names=(SpeakerName(1, "Ada"), SpeakerName(2, "Bob"))),
    Room("pycon", "PyCon", False, "waiting", None, False, ()),
    Room("pycon", "", True, "live", "s", True, (RoomPart("s", "Talk", 5, 6, "open"),)),
    End(1, 2, "draining"),
]


def test_every_event_of_the_protocol_is_tried_here() -> None:
    assert {event.type for event in EVENTS} == {kind.type for kind in get_args(Event)}


@for_each("event", EVENTS)
def test_a_client_reads_the_event_that_a_server_writes(event: Event) -> None:
    assert parse_event(json.loads(encode(event, 7))) == event


@for_each(
    ("request_", "command"),
    [
        (Resume("s", "t", 7, 20), commands.Reattach("s", "t", 7, 20)),
        (Flush("a"), commands.Flush("a")),
        (Flush(None), commands.Flush(None)),
        (Stop(), commands.Finish()),
        (Stop(end_room=True), commands.Finish(end_room=True)),
        (Ping(2**53 - 1), commands.Ping(2**53 - 1)),
        (Name(2, " Ada Lovelace\n"), commands.NameSpeaker(2, "Ada Lovelace")),
    ],
)
def test_a_server_reads_the_request_that_a_client_writes(
    request_: Resume | Flush | Stop | Ping | Name, command: commands.Command
) -> None:
    assert native.parse(encode_request(request_), EndpointingConfig()) == command


SETTINGS = StreamSettings(
    encoding="mulaw",
    sample_rate=8000,
    channels=2,
    channel_mode="separate",
    language=("en", "de"),
    task="translate",
    translate=("fr",),
    partials=False,
    words=True,
    hotwords=("Ada",),
    prompt="Names:",
    endpointing=Endpointing(preset="fast", silence_ms=400, max_utterance_ms=9000),
    title="Talk",
    private=True,
    keep=False,
    room=RoomEntry("pycon", "x" * 20, True, "r0"),
    speakers=4,
)
"""No setting has its default."""


def opened_by(settings: StreamSettings) -> commands.Open:
    command = native.parse(encode_request(settings), EndpointingConfig())
    assert isinstance(command, commands.Open)
    return command


def test_a_server_reads_every_setting_that_a_client_writes() -> None:
    assert [each.name for each in fields(SETTINGS) if getattr(SETTINGS, each.name) == each.default] == []
    command = opened_by(SETTINGS)
    assert command.room == commands.RoomClaim("pycon", "x" * 20, True, "r0")
    assert command.options == StreamOptions(
        audio=AudioFormat("mulaw", 8000, 2),
        transcription=TranscriptionOptions(
            None, ("en", "de"), task="translate", words=True, prompt="Names:", hotwords=("Ada",)
        ),
        partials=False,
        endpointing=replace(PRESETS["fast"], hangover_ms=400, mid_phrase_hangover_ms=400, max_utterance_ms=9000),
        title="Talk",
        private=True,
        keep=False,
        channel_mode="separate",
        tracks=("fr",),
        speakers=4,
    )


@for_each("name", [each.name for each in fields(StreamSettings)])
def test_a_setting_that_is_left_out_is_its_default(name: str) -> None:
    alone = replace(StreamSettings(), **{name: getattr(SETTINGS, name)})
    assert json.loads(encode_request(alone)).keys() == {"type", name}
    assert json.loads(encode_request(StreamSettings())) == {"type": "start"}
    assert (opened_by(alone).options, opened_by(alone).room) != (StreamOptions(), None)
    assert (opened_by(StreamSettings()).options, opened_by(StreamSettings()).room) == (StreamOptions(), None)


def test_the_words_of_settings_are_those_of_the_server() -> None:
    types = get_type_hints(StreamSettings)
    assert get_args(types["encoding"]) == ENCODINGS
    assert get_args(types["channel_mode"]) == CHANNEL_MODES
    assert get_args(types["task"]) == TASKS
    [presets, _] = get_args(get_type_hints(Endpointing)["preset"])
    assert set(get_args(presets)) == PRESETS.keys()
    assert {each.name for each in fields(StreamSettings)} == {*OPTIONS, "endpointing", "room"}
    assert {each.name for each in fields(Endpointing)} == ENDPOINTING.keys()


def test_nobody_in_a_turn_is_null_and_a_word_without_a_speaker_has_no_such_field() -> None:
    sent = json.loads(encode(SPOKEN, None))
    assert [turn["speaker"] for turn in sent["turns"]] == [2, None]
    assert [word.get("speaker", "left out") for word in sent["words"]] == [2, "left out"]
    assert not {"turns", "speakers", "names"} & json.loads(encode(SAID, None)).keys()


def test_no_secret_is_shown_with_the_settings() -> None:
    assert "xxxx" not in repr(SETTINGS)
    assert "r0" not in repr(SETTINGS)


def test_a_final_in_a_snapshot_is_the_same_without_its_type() -> None:
    assert {"type": "final", **json.loads(encode_final(SAID))} == json.loads(encode(SAID, None))


def test_fields_of_a_newer_server_are_ignored_in_words_too() -> None:
    word = {"word": "hello", "start_ms": 1, "end_ms": 2, "confidence": 0.5}
    event = parse_event(FINAL | {"seq": 4, "color": "red", "words": [word | {"volume": 1}]})
    assert event == Final(0, "hello", 0, 900, "en", 0.5, 300, (WORD,))


@for_each("kind", ["applause", None, 7, [], {}])
def test_a_type_of_a_newer_server_is_no_event(kind: Any) -> None:
    assert parse_event({"type": kind, "seq": 3}) is None


def test_a_reason_of_a_newer_server_is_passed_on() -> None:
    assert parse_event({"type": "end", "received_ms": 1, "utterances": 0, "reason": "eclipse"})


@for_each("fields", [{"type": "ack"}, {"type": "partial", "utterance": 1}, FINAL | {"words": [{}]}])
def test_an_event_without_its_fields_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="without"):
        parse_event(fields)


@for_each(
    "wrong", [{"text": 5}, {"start_ms": True}, {"end_ms": 1.5}, {"confidence": "0.5"}, {"words": {}}, {"language": []}]
)
def test_an_event_whose_field_has_another_type_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"wrong type|not a list"):
        parse_event(FINAL | wrong)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text(),
    lambda children: st.lists(children) | st.dictionaries(any_text(), children),
    max_leaves=10,
)


@given(st.sampled_from(EVENTS), st.data())
def test_a_damaged_event_is_an_event_or_a_value_error(event: Event, data: st.DataObject) -> None:
    fields = json.loads(encode(event, 7))
    fields[data.draw(st.sampled_from(sorted(fields)))] = data.draw(json_values)
    try:
        read = parse_event(fields)
    except ValueError:
        return
    # What is read can be written again, and is the same then.
    assert read is None or parse_event(json.loads(encode(read, None))) == read
