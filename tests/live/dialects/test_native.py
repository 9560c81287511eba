"""The wire format: what is read, what is refused with which code, what is sent."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.audio.formats import AudioFormat
from livecaption.errors import (
    ClientError,
    InvalidMessage,
    LivecaptionError,
    MessageTooBig,
    Unauthorized,
    Unavailable,
)
from livecaption.events import MAX_SPEAKERS, Ack, CaptionWord, ErrorReport, Final, Flushed
from livecaption.live.dialects.commands import (
    Audio,
    Command,
    Finish,
    Flush,
    NameSpeaker,
    Open,
    Ping,
    Reattach,
    RoomClaim,
)
from livecaption.live.dialects.dialect import Handshake
from livecaption.live.dialects.native import (
    LIMITS,
    ROUTE,
    Native,
    parse,
    refusal,
    restore,
)
from livecaption.live.state import Ending
from livecaption.messages import encode
from livecaption.recognition import TranscriptionOptions
from livecaption.speech.endpointing import PRESETS, EndpointingConfig
from tests.support.any_text import any_text
from tests.support.cases import for_each

DEFAULT = EndpointingConfig()


def read(**message: Any) -> Any:
    return parse(json.dumps(message), DEFAULT)


def test_a_bare_start_means_16_khz_mono_pcm_and_partials() -> None:
    start = read(type="start")
    assert isinstance(start, Open)
    assert start.options.audio == AudioFormat("pcm_s16le", 16_000, 1)
    assert start.options.transcription == TranscriptionOptions()
    assert start.options.partials
    assert start.options.endpointing == DEFAULT


@for_each(("speakers", "most"), [(True, MAX_SPEAKERS), (False, 0), (1, 1), (50, 50)])
def test_speakers_are_as_many_as_there_may_be_or_as_are_expected(speakers: bool | int, most: int) -> None:
    assert read(type="start", speakers=speakers).options.speakers == most


def test_a_name_is_for_a_speaker_and_has_no_space_around_it() -> None:
    assert read(type="name", speaker=3, name=" <b>Ada</b> ") == NameSpeaker(3, "<b>Ada</b>")


def test_a_start_carries_every_option() -> None:
    start = read(
        type="start",
        encoding="mulaw",
        sample_rate=8000,
        channels=2,
        language="de",
        task="translate",
        partials=False,
        words=True,
        hotwords=["Böll", "Köln"],
        prompt="Guten Tag.",
        endpointing={"silence_ms": 800, "max_utterance_ms": 9000},
        title="Sitzung",
        keep=False,
        unknown_field="ignored",
    )
    options = start.options
    assert options.audio == AudioFormat("mulaw", 8000, 2)
    assert options.transcription == TranscriptionOptions(
        "de", task="translate", words=True, prompt="Guten Tag.", hotwords=("Böll", "Köln")
    )
    assert (options.partials, options.title, options.keep) == (False, "Sitzung", False)
    assert (options.endpointing.hangover_ms, options.endpointing.max_utterance_ms) == (800, 9000)


@for_each(
    ("written", "code"),
    [("en-US", "en"), ("en_us", "en"), ("EN", "en"), ("English", "en"), ("auto", None), ("", None), (None, None)],
)
def test_a_language_may_be_written_in_several_ways(written: str | None, code: str | None) -> None:
    assert read(type="start", language=written).options.transcription.language == code


def test_several_languages_are_those_to_expect() -> None:
    several = read(type="start", language=["de", "en-US", "German"]).options.transcription
    assert (several.language, several.languages) == (None, ("de", "en"))
    one = read(type="start", language=["English"]).options.transcription
    assert (one.language, one.languages) == ("en", ())
    none = read(type="start", language=[]).options.transcription
    assert (none.language, none.languages) == (None, ())


def test_a_preset_is_where_named_values_start_from() -> None:
    assert read(type="start", endpointing={"preset": "accurate"}).options.endpointing == PRESETS["accurate"]
    fast = read(type="start", endpointing={"preset": "fast", "max_utterance_ms": 9000}).options.endpointing
    assert fast == replace(PRESETS["fast"], max_utterance_ms=9000)


def test_a_start_that_resumes_is_read_as_that_and_nothing_else_of_it_counts() -> None:
    resume = {"session": "x", "token": "y", "last_seq": 7}
    assert read(type="start", sample_rate="whatever", resume=resume) == Reattach("x", "y", 7)
    assert read(type="start", resume={**resume, "audio_from_ms": 60_000}) == Reattach("x", "y", 7, 60_000)


@for_each("wrong", [-1, 1.5, True, "0", None, 10**15])
def test_audio_that_can_be_sent_again_begins_at_a_time_of_the_stream(wrong: Any) -> None:
    resume = {"session": "x", "token": "y", "last_seq": 7, "audio_from_ms": wrong}
    with pytest.raises(LivecaptionError, match="audio_from_ms"):
        read(type="start", resume=resume)


def test_channels_are_mixed_unless_they_are_asked_for_apart() -> None:
    assert read(type="start", channels=2).options.n_channels_apart is None
    assert read(type="start", channels=2, channel_mode="mix").options == read(type="start", channels=2).options
    assert read(type="start", channels=2, channel_mode="separate").options.n_channels_apart == 2
    assert read(type="start", channel_mode="separate").options.n_channels_apart == 1


def test_two_channels_of_a_container_are_kept_apart_unless_another_number_is_named() -> None:
    assert read(type="start", encoding="auto", channel_mode="separate").options.n_channels_apart == 2
    assert read(type="start", encoding="auto", channel_mode="separate", channels=6).options.n_channels_apart == 6


@for_each(
    "ignored",
    [{"sample_rate": 0}, {"sample_rate": None}, {"sample_rate": 192_000}, {"channels": 9}, {"channels": None}],
)
def test_a_container_states_its_rate_and_its_channels_itself(ignored: dict[str, Any]) -> None:
    plain = read(type="start", encoding="auto").options
    assert read(type="start", encoding="auto", **ignored).options == plain
    [opened] = opened_by(encoding="auto", sample_rate="0", channels="9").connected()
    assert isinstance(opened, Open)
    assert opened.options == plain


@for_each("wrong", ["apart", None, True, 2, ["separate"]])
def test_another_channel_mode_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidMessage, match="channel_mode must be mix or separate"):
        read(type="start", channel_mode=wrong)


def test_a_session_is_public_unless_it_is_asked_to_be_private() -> None:
    assert not read(type="start").options.private
    assert read(type="start", private=True).options.private


def test_the_secret_of_a_room_is_kept_nowhere() -> None:
    opening = read(type="start", title="Talk", room={"name": "pycon", "secret": "x" * 20})
    assert opening.room == RoomClaim("pycon", "x" * 20, take_over=False)
    assert "x" * 20 not in opening.start
    assert "x" * 20 not in repr(opening)
    assert restore(opening.start, DEFAULT) == opening.options
    assert read(type="start").room is None
    again = read(type="start", room={"name": "pycon", "secret": "x" * 20, "former": "y" * 22})
    assert again.room == RoomClaim("pycon", "x" * 20, take_over=False, former="y" * 22)
    assert "y" * 22 not in again.start + repr(again)


def test_a_room_is_named_in_start_alone() -> None:
    address = Native(DEFAULT, address={"title": "Talk"})
    address.connected()
    start = {"type": "start", "title": "Talk", "room": {"name": "pycon", "secret": "x" * 20}}
    with pytest.raises(InvalidMessage, match="without a room"):
        address.receive(json.dumps(start))


def test_an_address_may_name_the_room_that_its_start_is_about() -> None:
    named = ROUTE.accept(Handshake({"room": "pycon"}), DEFAULT)
    assert (named.claimed, named.claimed_room, named.connected()) == ("", "pycon", [])
    assert ROUTE.accept(Handshake({"room": "pycon", "words": "true"}), DEFAULT).claimed_room == ""


@for_each(
    "room",
    [
        "pycon",
        {"name": "pycon"},
        {"secret": "x" * 20},
        {"name": "a/b", "secret": "x" * 20},
        {"name": 5, "secret": "x" * 20},
        {"name": "pycon", "secret": "x"},
        {"name": "pycon", "secret": "x" * 201},
        {"name": "pycon", "secret": "x" * 20, "take_over": "yes"},
        {"name": "pycon", "secret": "x" * 20, "former": 7},
        {"name": "pycon", "secret": "x" * 20, "former": "y" * 101},
    ],
)
def test_a_claim_that_names_no_room_is_refused(room: Any) -> None:
    with pytest.raises(InvalidMessage, match=r"room|name|secret|take_over|former"):
        read(type="start", room=room)


def test_an_event_that_concerns_one_connection_alone_has_no_number() -> None:
    assert json.loads(encode(Ack(1), None)) == {"type": "ack", "received_ms": 1}


def test_a_silence_that_is_named_holds_in_mid_phrase_too() -> None:
    endpointing = read(type="start", endpointing={"silence_ms": 100}).options.endpointing
    assert (endpointing.hangover_ms, endpointing.mid_phrase_hangover_ms) == (100, 100)


@for_each(
    ("message", "expected"),
    [
        ({"type": "stop"}, Finish()),
        ({"type": "stop", "end_room": True}, Finish(end_room=True)),
        ({"type": "flush", "id": "a"}, Flush("a")),
        ({"type": "flush"}, Flush(None)),
        ({"type": "ping", "id": 7}, Ping(7)),
        ({"type": "ping", "id": 7.0}, Ping(7)),
    ],
)
def test_a_message_becomes_its_type(message: dict[str, Any], expected: object) -> None:
    assert read(**message) == expected


@for_each(
    ("message", "code"),
    [
        ({"type": "begin"}, "unknown_type"),
        ({}, "unknown_type"),
        ({"type": ["start"]}, "unknown_type"),
        ({"type": "start", "encoding": "opus"}, "unsupported_encoding"),
        ({"type": "start", "encoding": 7}, "unsupported_encoding"),
        ({"type": "start", "sample_rate": 0}, "unsupported_sample_rate"),
        ({"type": "start", "sample_rate": 10**9}, "unsupported_sample_rate"),
        ({"type": "start", "sample_rate": "abc"}, "unsupported_sample_rate"),
        ({"type": "start", "sample_rate": True}, "unsupported_sample_rate"),
        ({"type": "start", "channels": 9}, "unsupported_channels"),
        ({"type": "start", "task": "sing"}, "unsupported_task"),
        ({"type": "start", "task": ["translate"]}, "unsupported_task"),
        ({"type": "start", "language": 5}, "invalid_message"),
        ({"type": "start", "language": False}, "invalid_message"),
        ({"type": "start", "language": "x" * 36}, "invalid_message"),
        ({"type": "start", "language": ["en", 5]}, "invalid_message"),
        ({"type": "start", "language": ["en", "auto"]}, "invalid_message"),
        ({"type": "start", "language": [f"x{n}" for n in range(21)]}, "invalid_message"),
        ({"type": "start", "translate": "en"}, "invalid_message"),
        ({"type": "start", "translate": [None]}, "invalid_message"),
        ({"type": "start", "translate": ["auto"]}, "invalid_message"),
        ({"type": "start", "translate": [f"x{n}" for n in range(21)]}, "invalid_message"),
        ({"type": "start", "partials": "yes"}, "invalid_message"),
        ({"type": "start", "partials": 1}, "invalid_message"),
        ({"type": "start", "hotwords": "one"}, "invalid_message"),
        ({"type": "start", "hotwords": [1]}, "invalid_message"),
        ({"type": "start", "hotwords": ["x"] * 101}, "invalid_message"),
        ({"type": "start", "prompt": "\ud800"}, "invalid_message"),
        ({"type": "start", "prompt": "x" * 1001}, "invalid_message"),
        ({"type": "start", "endpointing": 500}, "invalid_message"),
        ({"type": "start", "endpointing": {"silence_ms": "long"}}, "invalid_message"),
        ({"type": "start", "endpointing": {"preset": "hasty"}}, "invalid_message"),
        ({"type": "start", "endpointing": {"preset": ["fast"]}}, "invalid_message"),
        ({"type": "start", "endpointing": {"silence_ms": -5}}, "invalid_message"),
        ({"type": "start", "endpointing": {"max_utterance_ms": 10**6}}, "invalid_message"),
        ({"type": "start", "resume": "x"}, "invalid_message"),
        ({"type": "start", "resume": {"session": "x", "token": "y"}}, "invalid_message"),
        ({"type": "start", "resume": {"session": "x", "token": "y", "last_seq": -1}}, "invalid_message"),
        ({"type": "start", "resume": {"session": "x", "token": "y", "last_seq": 1.5}}, "invalid_message"),
        ({"type": "start", "resume": {"session": ["x"], "token": "y", "last_seq": 1}}, "invalid_message"),
        ({"type": "start", "private": "yes"}, "invalid_message"),
        ({"type": "start", "keep": None}, "invalid_message"),
        *(({"type": "start", "speakers": each}, "invalid_message") for each in (0, 51, -1, 2.0, "true", None, [])),
        ({"type": "name", "speaker": "1", "name": "Ada"}, "invalid_message"),
        ({"type": "name", "speaker": True, "name": "Ada"}, "invalid_message"),
        ({"type": "name", "speaker": 1}, "invalid_name"),
        ({"type": "name", "speaker": 1, "name": "x" * 10_000}, "invalid_name"),
        ({"type": "ping", "id": {}}, "invalid_message"),
        ({"type": "ping", "id": True}, "invalid_message"),
        ({"type": "ping", "id": 2**60}, "invalid_message"),
    ],
)
def test_a_wrong_value_is_refused_with_its_code(message: dict[str, Any], code: str) -> None:
    with pytest.raises(LivecaptionError) as refused:
        read(**message)
    assert refused.value.code == code


@for_each("text", ["", "{", "[]", "7", "null", '"start"', "[" * 5000, '{"type": ' + "9" * 5000 + "}"])
def test_a_text_that_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(LivecaptionError):
        parse(text, DEFAULT)


@pytest.mark.parametrize("text", ["x" * 1_000_000, "ü" * (LIMITS.max_text_bytes // 2 + 1)])
def test_a_huge_text_is_refused_before_it_is_parsed(text: str) -> None:
    with pytest.raises(MessageTooBig):
        LIMITS.check(text)


@for_each("number", ["1e999", "NaN", "-Infinity", "1.5"])
def test_a_number_that_is_no_integer_is_no_id(number: str) -> None:
    with pytest.raises(LivecaptionError):
        parse(f'{{"type": "ping", "id": {number}}}', DEFAULT)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text(),
    lambda children: st.lists(children) | st.dictionaries(any_text(), children),
    max_leaves=10,
)
fields = [
    "encoding",
    "sample_rate",
    "channels",
    "language",
    "task",
    "hotwords",
    "prompt",
    "endpointing",
    "id",
    "resume",
]


@given(
    st.dictionaries(st.sampled_from([*fields, "words", "partials", "title"]), json_values),
    st.sampled_from(["start", "flush", "ping"]),
)
def test_fields_of_any_value_give_a_message_or_one_of_our_errors(message: dict[str, Any], kind: str) -> None:
    try:
        parse(json.dumps({**message, "type": kind}), DEFAULT)
    except LivecaptionError as error:
        assert error.code  # noqa: PT017 - any other exception fails the test


def test_an_event_is_sent_with_its_type_and_number() -> None:
    assert json.loads(encode(Ack(1200), 3)) == {"type": "ack", "seq": 3, "received_ms": 1200}


def test_null_is_sent_where_the_protocol_names_the_field_and_left_out_where_it_is_optional() -> None:
    final = Final(0, "", 0, 10, None, 0.0, 5)
    assert json.loads(encode(final, 1))["language"] is None
    assert "words" not in json.loads(encode(final, 1))
    assert "retry_after_s" not in json.loads(encode(ErrorReport("code", "message", fatal=False), 1))
    assert json.loads(encode(Flushed(None), 1))["id"] is None


def test_words_are_sent_as_objects() -> None:
    final = Final(0, "Hé", 0, 10, "fr", 0.5, 5, (CaptionWord("Hé", 0, 10, 0.5),))
    assert json.loads(encode(final, 1))["words"] == [{"word": "Hé", "start_ms": 0, "end_ms": 10, "confidence": 0.5}]


# One publisher's conversation

START_MESSAGE = '{"type": "start", "title": "Talk"}'
RESUME_MESSAGE = '{"type": "start", "resume": {"session": "s", "token": "t", "last_seq": 3, "audio_from_ms": 40}}'


def started() -> Native:
    native = Native(DEFAULT)
    native.receive(START_MESSAGE)
    return native


def test_nothing_happens_before_the_first_message() -> None:
    assert Native(DEFAULT).connected() == []


def test_start_opens_a_session_which_is_stored_with_the_message() -> None:
    [opened] = Native(DEFAULT).receive(START_MESSAGE)
    assert isinstance(opened, Open)
    assert (opened.options.title, opened.start) == ("Talk", START_MESSAGE)
    assert restore(opened.start, DEFAULT) == opened.options


def test_start_with_resume_goes_on_with_a_session() -> None:
    assert Native(DEFAULT).receive(RESUME_MESSAGE) == [Reattach("s", "t", 3, 40)]


@for_each(
    ("message", "command"),
    [
        (b"\x01\x02", Audio(b"\x01\x02")),
        ('{"type": "flush", "id": 7}', Flush(7)),
        ('{"type": "ping", "id": "now"}', Ping("now")),
        ('{"type": "stop"}', Finish()),
    ],
)
def test_each_message_behind_start_is_a_command(message: str | bytes, command: Command) -> None:
    assert started().receive(message) == [command]


@for_each("message", [b"", '{"type": "stop"}', "hello", '{"type": "hello"}'])
def test_every_mistake_before_start_is_fatal(message: str | bytes) -> None:
    with pytest.raises(ClientError) as refused:
        Native(DEFAULT).receive(message)
    assert refused.value.fatal


@for_each("message", [START_MESSAGE, RESUME_MESSAGE, "hello", '{"type": "hello"}'])
def test_a_mistake_behind_start_is_not(message: str) -> None:
    with pytest.raises(ClientError) as refused:
        started().receive(message)
    assert not refused.value.fatal


def test_an_event_is_one_message() -> None:
    assert Native(DEFAULT).encode(Ack(40), 3) == [encode(Ack(40), 3)]


@for_each(
    ("ending", "close"),
    [
        (Ending("stop"), (1000, "")),
        (Ending("disconnect"), (1000, "")),
        (Ending("draining"), (1001, "the server stops")),
        (Ending("replaced"), (1008, "another connection has taken over")),
        (Ending("restarting"), (1012, "the server stops, and the next one goes on")),
        (Ending("error", MessageTooBig("x")), (1009, "message_too_big")),
        (Ending("error", Unavailable("x", code="loading")), (1013, "loading")),
    ],
)
def test_each_ending_has_its_close_code(ending: Ending, close: tuple[int, str]) -> None:
    assert started().close(ending) == close


def test_the_address_names_the_session_to_come_back_to() -> None:
    assert ROUTE.accept(Handshake({"resume": "s"}), DEFAULT).claimed == "s"
    assert ROUTE.accept(Handshake(), DEFAULT).claimed == ""


def opened_by(**query: str) -> Native:
    return ROUTE.accept(Handshake(query), DEFAULT)  # type: ignore[return-value]


def test_options_in_the_address_open_a_session_and_audio_may_be_the_first_message() -> None:
    native = opened_by(encoding="auto", language="English", silence_ms="400")
    [opened] = native.connected()
    assert isinstance(opened, Open)
    assert opened.options.audio.encoding == "auto"
    assert opened.options.transcription.language == "en"
    assert opened.options.endpointing.hangover_ms == 400
    assert restore(opened.start, DEFAULT) == opened.options
    assert native.receive(b"RIFF") == [Audio(b"RIFF")]
    assert native.receive('{"type": "stop"}') == [Finish()]


def test_a_start_that_repeats_the_address_is_taken_once() -> None:
    native = opened_by(encoding="mulaw", sample_rate="8000")
    native.connected()
    repeated = '{"type": "start", "encoding": "mulaw", "sample_rate": 8000}'
    assert native.receive(repeated) == []
    with pytest.raises(ClientError, match="start was sent already"):
        native.receive(repeated)


@pytest.mark.parametrize(
    ("start", "names"),
    [
        ('{"type": "start", "encoding": "auto", "language": "de"}', "language"),
        ('{"type": "start", "language": "en", "title": "x", "endpointing": {}}', "encoding, title, endpointing"),
    ],
)
def test_a_start_that_contradicts_the_address_ends_the_stream(start: str, names: str) -> None:
    native = opened_by(encoding="auto", language="en")
    native.connected()
    with pytest.raises(InvalidMessage, match=f"differ in {names};") as refused:
        native.receive(start)
    assert refused.value.fatal


def test_an_address_that_names_a_session_opens_no_other() -> None:
    native = opened_by(resume="s", language="en")
    assert native.connected() == []
    assert native.receive(RESUME_MESSAGE) == [Reattach("s", "t", 3, 40)]


@for_each("query", [{"encoding": "opus"}, {"sample_rate": "7"}, {"channels": "many"}])
def test_a_wrong_option_in_the_address_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(InvalidMessage):
        opened_by(**query)


def test_the_refusal_of_audio_before_start_names_the_other_way() -> None:
    with pytest.raises(ClientError, match="encoding=auto"):
        Native(DEFAULT).receive(b"")


def test_no_token_is_read_from_the_address() -> None:
    assert ROUTE.shown_keys(Handshake({"token": "secret", "access_token": "secret"})) == []


def test_a_refusal_has_its_reason_and_the_time_to_retry_after() -> None:
    answer = refusal(Unavailable("full", retry_after_s=2.4), state="x")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert json.loads(answer.body) == {"code": "overloaded", "message": "full", "state": "x", "retry_after_s": 2.4}
    assert refusal(Unauthorized("who?")).headers["WWW-Authenticate"] == "Bearer"


def test_a_stored_message_that_is_no_start_is_refused() -> None:
    with pytest.raises(InvalidMessage):
        restore('{"type": "stop"}', DEFAULT)
