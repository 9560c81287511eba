"""Deepgram's live protocol: every message, and the order in which they come."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import pytest

from livecaption.errors import (
    ClientError,
    EngineError,
    InvalidAudio,
    InvalidMessage,
    LimitReached,
    LivecaptionError,
    MessageTooBig,
    TooSlow,
)
from livecaption.events import (
    Ack,
    CaptionWord,
    End,
    EndReason,
    ErrorReport,
    Event,
    Final,
    Flushed,
    Partial,
    Ready,
    SpeechEnd,
    SpeechStart,
)
from livecaption.live.dialects.commands import Audio, Configure, Finish, Flush, Open, Reply
from livecaption.live.dialects.deepgram import MAX_SILENT_TICKS, ROUTE, Deepgram
from livecaption.live.dialects.dialect import Handshake
from livecaption.live.state import Ending
from livecaption.speech.endpointing import EndpointingConfig
from tests.support.cases import for_each

AT = datetime(2026, 11, 23, 10, 0, 0, 4000, tzinfo=UTC)
PCM = "encoding=linear16&sample_rate=16000&punctuate=true&"
INTERIM = PCM + "interim_results=true&"
APART = INTERIM + "channels=2&multichannel=true&"


def connect(query: str = INTERIM) -> Deepgram:
    parameters = tuple(parse_qsl(query))
    dialect = ROUTE.accept(Handshake(dict(parameters), parameters=parameters, id="r1", at=AT), EndpointingConfig())
    assert isinstance(dialect, Deepgram)
    dialect.connected()
    dialect.encode(Ready("s", "token", 1, "tiny.en", "en", 0), 1)
    return dialect


def told(dialect: Deepgram, *events: Event) -> list[dict[str, Any]]:
    return [json.loads(message) for event in events for message in dialect.encode(event, 2)]


def utterance(
    number: int,
    start_ms: int,
    end_ms: int,
    text: str,
    *,
    reason: EndReason = "silence",
    partials: Sequence[str] = (),
    channel: int | None = None,
    words: tuple[CaptionWord, ...] | None = None,
) -> list[Event]:
    """Return the events of an utterance, from its start to its final."""
    return [
        SpeechStart(number, start_ms, channel),
        *(Partial(number, n, said, "", start_ms, end_ms, channel) for n, said in enumerate(partials)),
        SpeechEnd(number, end_ms, reason, channel),
        Final(number, text, start_ms, end_ms, "en", 0.8, 100, words, channel),
    ]


def brief(messages: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return of each result: its channel, begin and end, text, and what it is."""
    return [
        (
            message["channel_index"][0],
            message["start"],
            round(message["start"] + message["duration"], 3),
            message["channel"]["alternatives"][0]["transcript"],
            "+".join(name for name in ("is_final", "speech_final", "from_finalize") if message[name]),
        )
        for message in messages
        if message["type"] == "Results"
    ]


def test_the_address_opens_the_session() -> None:
    dialect = ROUTE.accept(Handshake(), EndpointingConfig())
    (command,) = dialect.connected()
    assert isinstance(command, Open)
    assert command.options.audio.encoding == "auto"
    assert (command.start, command.room) == ("", None)


def test_a_result_has_every_field() -> None:
    words = (CaptionWord("Doors", 100, 300, 0.9), CaptionWord("open.", 320, 600, 0.7))
    messages = told(connect(), *utterance(0, 0, 600, "Doors open.", words=words))
    assert messages == [
        {
            "type": "Results",
            "channel_index": [0, 1],
            "start": 0.0,
            "duration": 0.6,
            "is_final": True,
            "speech_final": True,
            "from_finalize": False,
            "channel": {
                "alternatives": [
                    {
                        "transcript": "Doors open.",
                        "confidence": 0.8,
                        "words": [
                            {"word": "doors", "punctuated_word": "Doors", "start": 0.1, "end": 0.3, "confidence": 0.9},
                            {"word": "open", "punctuated_word": "open.", "start": 0.32, "end": 0.6, "confidence": 0.7},
                        ],
                    }
                ]
            },
            "metadata": {
                "request_id": "r1",
                "model_info": {"name": "tiny.en", "version": "1", "arch": "livecaption"},
                "model_uuid": messages[0]["metadata"]["model_uuid"],
            },
        }
    ]


def test_interim_results_have_the_start_of_the_final_that_replaces_them() -> None:
    events = utterance(0, 100, 900, "Doors open.", partials=["Doors", "Doors open"])
    assert brief(told(connect(), *events)) == [
        (0, 0.0, 0.1, "", "is_final"),  # the silence before
        (0, 0.1, 0.9, "Doors", ""),
        (0, 0.1, 0.9, "Doors open", ""),
        (0, 0.1, 0.9, "Doors open.", "is_final+speech_final"),
    ]


def test_finals_close_the_audio_without_a_gap_or_an_overlap() -> None:
    events = [
        *utterance(0, 100, 900, "One."),
        *utterance(1, 1500, 2000, "Two", reason="max_length"),
        *utterance(2, 2000, 2500, "three."),
    ]
    assert brief(told(connect(PCM), *events)) == [
        (0, 0.0, 0.1, "", "is_final"),
        (0, 0.1, 0.9, "One.", "is_final+speech_final"),
        (0, 0.9, 1.5, "", "is_final"),
        (0, 1.5, 2.0, "Two", "is_final"),
        (0, 2.0, 2.5, "three.", "is_final+speech_final"),
    ]


def test_no_interim_result_comes_before_the_final_of_an_earlier_utterance() -> None:
    first, second = utterance(0, 0, 500, "One."), utterance(1, 700, 1200, "Two.", partials=["Tw", "Two"])
    dialect = connect()
    assert told(dialect, *first[:-1], *second[:3]) == []
    assert brief(told(dialect, first[-1], *second[3:])) == [
        (0, 0.0, 0.5, "One.", "is_final+speech_final"),
        (0, 0.5, 0.7, "", "is_final"),
        (0, 0.7, 1.2, "Two", ""),
        (0, 0.7, 1.2, "Two.", "is_final+speech_final"),
    ]


def test_without_interim_results_only_finals_come() -> None:
    events = utterance(0, 0, 500, "One.", partials=["On", "One"])
    assert brief(told(connect(PCM), *events)) == [(0, 0.0, 0.5, "One.", "is_final+speech_final")]


def test_without_punctuation_the_text_is_lower_case() -> None:
    query = "encoding=linear16&sample_rate=16000&interim_results=true"
    messages = told(connect(query), *utterance(0, 0, 500, "Yes, it is.", partials=["Yes,"]))
    assert [message["channel"]["alternatives"][0]["transcript"] for message in messages] == ["yes", "yes it is"]
    assert not any("punctuated_word" in word for word in messages[-1]["channel"]["alternatives"][0]["words"])


def test_smart_format_has_punctuation_too() -> None:
    query = "encoding=linear16&sample_rate=16000&smart_format=true"
    assert brief(told(connect(query), *utterance(0, 0, 500, "Yes.")))[0][3] == "Yes."


def test_committed_words_of_an_interim_result_are_sure() -> None:
    dialect = connect()
    (message,) = told(dialect, SpeechStart(0, 0), Partial(0, 0, "one two", "one", 0, 600))
    (alternative,) = message["channel"]["alternatives"]
    assert [word["confidence"] for word in alternative["words"]] == [1.0, 0.5]
    assert alternative["confidence"] == 0.75


def test_an_empty_final_has_every_field_and_closes_its_audio() -> None:
    (message,) = told(connect(), *utterance(0, 0, 500, ""))
    assert message["channel"] == {"alternatives": [{"transcript": "", "confidence": 0.8, "words": []}]}
    assert (message["duration"], message["is_final"], message["speech_final"]) == (0.5, True, True)


def test_no_speech_is_final_where_the_client_wants_no_endpoints() -> None:
    assert brief(told(connect(PCM + "endpointing=false"), *utterance(0, 0, 500, "One."))) == [
        (0, 0.0, 0.5, "One.", "is_final")
    ]


def test_a_detected_language_is_named() -> None:
    (message,) = told(connect(PCM + "language=multi"), *utterance(0, 0, 500, "One."))
    assert message["channel"]["alternatives"][0]["languages"] == ["en"]


def test_speech_started_comes_once_for_speech_that_is_cut_at_the_length_limit() -> None:
    events = [
        *utterance(0, 100, 900, "One", reason="max_length"),
        *utterance(1, 900, 1500, "two."),
        *utterance(2, 2000, 2500, "Three."),
    ]
    messages = told(connect(PCM + "vad_events=true"), *events)
    assert [message for message in messages if message["type"] == "SpeechStarted"] == [
        {"type": "SpeechStarted", "channel": [0, 1], "timestamp": 0.1},
        {"type": "SpeechStarted", "channel": [0, 1], "timestamp": 2.0},
    ]


def test_speech_started_comes_only_where_it_is_wanted() -> None:
    assert told(connect(), SpeechStart(0, 100)) == []


def test_channels_apart_have_results_of_their_own() -> None:
    events = [
        *utterance(0, 0, 500, "Left.", channel=0),
        *utterance(1, 0, 700, "Right.", channel=1),
    ]
    messages = told(connect(APART), *events)
    assert [message["channel_index"] for message in messages] == [[0, 2], [1, 2]]
    assert brief(messages) == [
        (0, 0.0, 0.5, "Left.", "is_final+speech_final"),
        (1, 0.0, 0.7, "Right.", "is_final+speech_final"),
    ]


def test_finalize_flushes_and_its_final_names_it() -> None:
    dialect = connect()
    assert dialect.receive('{"type": "Finalize"}') == [Flush()]
    assert brief(told(dialect, *utterance(0, 0, 500, "One.", reason="flush"), Flushed(None))) == [
        (0, 0.0, 0.5, "One.", "is_final+speech_final+from_finalize")
    ]


def test_finalize_without_speech_has_an_empty_final() -> None:
    dialect = connect()
    told(dialect, *utterance(0, 0, 500, "One."))
    assert brief(told(dialect, Flushed(None))) == [(0, 0.5, 0.5, "", "is_final+from_finalize")]


def test_each_finalize_is_confirmed_once_on_each_channel() -> None:
    dialect = connect(APART)
    # The second flush ends an utterance of the left channel before the right one has passed the first flush.
    events = [
        *utterance(0, 0, 500, "One.", reason="flush", channel=0),
        *utterance(1, 500, 900, "Two.", reason="flush", channel=0),
        Flushed(None),
        Flushed(None),
    ]
    confirmed = [message for message in brief(told(dialect, *events)) if "from_finalize" in message[-1]]
    assert [(channel, text) for channel, _, _, text, _ in confirmed] == [(0, "One."), (0, "Two."), (1, ""), (1, "")]


def test_utterance_end_comes_once_behind_the_last_word_before_further_audio() -> None:
    dialect = connect(INTERIM + "utterance_end_ms=1000")
    told(dialect, *utterance(0, 0, 500, "One.", words=(CaptionWord("One.", 0, 480, 0.9),)))
    second = bytes(32_000)
    assert dialect.receive(second) == [Audio(second)]
    assert dialect.receive(second) == [Audio(second)]  # 520 ms had passed
    end = '{"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": 0.48}'
    assert dialect.receive(second) == [Reply(end), Audio(second)]
    assert dialect.receive(second) == [Audio(second)]


def test_utterance_end_does_not_come_while_somebody_speaks() -> None:
    dialect = connect(INTERIM + "utterance_end_ms=1000")
    events = [*utterance(0, 0, 500, "One."), *utterance(1, 700, 4000, "Two.")]
    told(dialect, *events[:-1])
    assert dialect.tick(4500) == []
    told(dialect, events[-1])
    assert dialect.tick(4900) == []
    (reply,) = dialect.tick(5000)
    assert isinstance(reply, Reply)
    assert json.loads(reply.message)["last_word_end"] == 4.0


def test_utterance_end_needs_a_word() -> None:
    dialect = connect(INTERIM + "utterance_end_ms=1000")
    told(dialect, *utterance(0, 0, 500, ""))
    assert dialect.tick(5000) == []


def test_the_stream_ends_with_an_utterance_end_that_is_due_and_with_metadata() -> None:
    dialect = connect(INTERIM + "utterance_end_ms=1000")
    dialect.receive(b"\0" * 48_000)
    assert dialect.receive('{"type": "CloseStream"}') == [Finish()]
    messages = told(dialect, *utterance(0, 0, 500, "One."), Ack(1500), End(1500, 1, "stop"))
    assert [message["type"] for message in messages] == ["Results", "UtteranceEnd", "Metadata"]
    assert messages[-1] == {
        "type": "Metadata",
        "transaction_key": "deprecated",
        "request_id": "r1",
        "sha256": "bb918147fe10391b43adeba4bd21b9ef32e5bd6c5076c3517733a05ed6dd0569",
        "created": "2026-11-23T10:00:00.004Z",
        "duration": 1.5,
        "channels": 1,
    }
    assert dialect.close(Ending("stop")) == (1000, "")


@for_each("message", ['{"type": "CloseStream"}', b""])
def test_a_stream_is_closed_by_a_message_or_by_an_empty_one_of_audio(message: str | bytes) -> None:
    dialect = connect()
    assert dialect.receive(message) == [Finish()]


@for_each("message", ['{"type": "CloseStream"}', '{"type": "Finalize"}', b"", b"audio", "{"])
def test_all_that_comes_behind_the_close_is_ignored(message: str | bytes) -> None:
    dialect = connect()
    dialect.receive('{"type": "CloseStream"}')
    assert dialect.receive(message) == []


def test_keep_alive_has_no_reply_and_keeps_a_stream_without_audio() -> None:
    dialect = connect()
    for _ in range(3):
        for _ in range(MAX_SILENT_TICKS - 1):
            assert dialect.tick(0) == []
        assert dialect.receive('{"type": "KeepAlive"}') == []


def test_a_stream_without_audio_and_keep_alive_ends() -> None:
    dialect = connect()
    for _ in range(MAX_SILENT_TICKS - 1):
        dialect.tick(0)
    with pytest.raises(TooSlow) as caught:
        dialect.tick(0)
    assert dialect.close(Ending("error", caught.value)) == (1011, "NET-0001: neither audio nor KeepAlive for 60 s")


@for_each("audio", [[], [bytes(320)]])
def test_keyterms_are_replaced_before_the_audio_and_behind_it(audio: list[bytes]) -> None:
    dialect = connect(INTERIM + "keyterm=old")
    for message in audio:
        dialect.receive(message)
    configure, reply = dialect.receive('{"type": "Configure", "keyterms": ["Zermatt", " "], "features": {}}')
    assert isinstance(configure, Configure)
    assert configure.options.transcription.hotwords == ("Zermatt",)
    assert reply == Reply('{"type": "ConfigureSuccess", "request_id": "r1", "keyterms": ["Zermatt"]}')


def test_features_are_accepted_and_change_nothing() -> None:
    dialect = connect()
    dialect.receive(bytes(320))
    reply = Reply('{"type": "ConfigureSuccess", "request_id": "r1"}')
    assert dialect.receive('{"type": "Configure", "features": {"numerals": true}}') == [reply]


@for_each(
    "keyterms",
    [["a"] * 101, ["a" * 101]],
)
def test_too_many_keyterms_are_refused(keyterms: list[str]) -> None:
    dialect = connect()
    (reply,) = dialect.receive(json.dumps({"type": "Configure", "keyterms": keyterms}))
    assert isinstance(reply, Reply)
    failure = json.loads(reply.message)
    assert (failure["type"], failure["request_id"]) == ("ConfigureFailure", "r1")
    assert failure["code"] == "CONFIGURE_KEYTERM_LIMIT_EXCEEDED"
    assert failure["description"]


@for_each(
    "message",
    [
        *("", "no JSON", "[]", "{}", '{"type": 1}', '{"type": {}}', '{"type": "Sing"}', '{"type": ["KeepAlive"]}'),
        *('{"type": "Configure", "keyterms": "a"}', '{"type": "Configure", "keyterms": [1]}', "[" * 60_000),
        '{"type": "Configure", "keyterms": ["\\ud800"]}',
    ],
)
def test_a_wrong_text_message_is_refused_and_the_stream_goes_on(message: str) -> None:
    dialect = connect()
    with pytest.raises(ClientError) as caught:
        dialect.receive(message)
    assert not caught.value.fatal
    (sent,) = told(dialect, ErrorReport.of(caught.value))
    assert (sent["type"], sent["variant"], sent["description"]) == ("Error", "SchemaError", caught.value.message)
    assert dialect.receive('{"type": "Finalize"}') == [Flush()]


def test_a_container_that_is_none_is_reported_with_what_to_do() -> None:
    error = InvalidAudio("not audio that can be read", code="invalid_container")
    dialect = connect("")
    dialect.receive(b"no container")
    (sent,) = told(dialect, ErrorReport.of(error, fatal=True))
    assert sent["message"] == "DATA-0000"
    assert sent["description"].endswith("raw audio needs the parameters encoding and sample_rate")
    assert dialect.close(Ending("error", error)) == (1008, "DATA-0000: not audio that can be read")
    assert told(dialect, End(0, 0, "error")) == []


def test_a_client_without_audio_has_sent_no_wrong_container() -> None:
    error = InvalidAudio("not audio that can be read", code="invalid_container")
    dialect = connect("")
    messages = told(dialect, ErrorReport.of(error, fatal=True), End(0, 0, "error"))
    assert [message["type"] for message in messages] == ["Metadata"]
    assert dialect.close(Ending("error", error)) == (1000, "")


@for_each(
    ("ending", "code"),
    [
        (Ending("stop"), 1000),
        (Ending("disconnect"), 1000),
        (Ending("draining"), 1001),
        (Ending("replaced"), 1008),
        (Ending("restarting"), 1012),
        (Ending("error", InvalidMessage("no")), 1008),
        (Ending("error", MessageTooBig("no")), 1008),
        (Ending("error", LimitReached("no")), 1008),
        (Ending("error", EngineError("no")), 1011),
        (Ending("error", LivecaptionError("no")), 1011),
    ],
)
def test_a_client_that_would_fail_again_is_closed_with_1008(ending: Ending, code: int) -> None:
    assert connect().close(ending)[0] == code


def test_the_reason_of_a_close_fits_into_its_frame() -> None:
    _, reason = connect().close(Ending("error", InvalidMessage("ü" * 200)))
    assert len(reason.encode()) == 120 - 1  # the last character does not fit


def test_a_key_is_shown_in_the_header_or_behind_a_subprotocol() -> None:
    assert ROUTE.shown_keys(Handshake(authorization="Token K")) == [b"K"]
    assert ROUTE.shown_keys(Handshake(authorization="Bearer J")) == [b"J"]
    for scheme in ("token", "bearer"):
        assert ROUTE.shown_keys(Handshake(subprotocols=(scheme, "K", "x-deepgram-session-id", "u"))) == [b"K"]
        assert scheme in ROUTE.subprotocols


def test_the_answer_to_the_upgrade_has_the_id_of_the_request() -> None:
    assert ROUTE.headers(Handshake(id="r1")) == {"dg-request-id": "r1"}
