"""The events of Wyoming on the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.errors import ClientError, InvalidMessage, MessageTooBig
from livecaption.live.dialects.wyoming_events import (
    MAX_LINE_BYTES,
    MAX_PAYLOAD_BYTES,
    PIECE_BYTES,
    EventFraming,
    WyomingEvent,
    line_of,
    parse,
)
from tests.support.cases import for_each
from tests.support.wyoming import AUDIO, event

EVENTS = [
    event("describe"),
    event("transcribe", {"language": "en"}),
    event("audio-chunk", {"rate": 16_000}, b"\n\n{}"),
    line_of("ping", text="hé"),
]


def cut(data: bytes) -> list[bytes]:
    framing = EventFraming()
    framing.push(data)
    messages = []
    while (message := framing.next_message()) is not None:
        messages.append(message)
    return messages


@given(st.lists(st.integers(0, sum(map(len, EVENTS))), max_size=20).map(sorted))
def test_events_are_whole_wherever_the_bytes_are_cut(cuts: list[int]) -> None:
    data = b"".join(EVENTS)
    framing, found = EventFraming(), []
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        framing.push(data[start:end])
        while (message := framing.next_message()) is not None:
            found.append(message)
    assert found == EVENTS


def test_a_long_payload_comes_in_pieces_that_others_can_bear() -> None:
    payload = bytes(range(256)) * 400
    messages = [parse(message) for message in cut(event("audio-chunk", {"rate": 8000}, payload) + EVENTS[0])]
    assert b"".join(message.payload for message in messages) == payload
    assert max(len(message.payload) for message in messages) == PIECE_BYTES
    assert {message.data.get("rate") for message in messages[:-1]} == {8000}
    assert messages[-1].type == "describe"


def test_the_pieces_of_audio_have_its_format_and_no_other_data() -> None:
    audio = {**AUDIO, "channels": [1] * 500, "timestamp": 7, "more": "x" * 60_000}
    messages = cut(event("audio-chunk", audio, bytes(3 * PIECE_BYTES)))
    assert [parse(message).data for message in messages] == [{"rate": 16_000, "width": 2}] * 3


def test_an_event_without_audio_is_one_also_with_a_long_payload() -> None:
    described = event("describe", {"more": "x"}, bytes(MAX_PAYLOAD_BYTES))
    assert cut(described + EVENTS[0]) == [described, EVENTS[0]]


def test_an_event_with_much_data_is_one() -> None:
    [message] = cut(event("transcribe", {"transcript_names": ["Küche" * 8] * 500}))
    assert len(parse(message).data["transcript_names"]) == 500


def test_an_event_has_its_type_its_data_and_its_payload() -> None:
    assert [parse(message) for message in EVENTS] == [
        WyomingEvent("describe", {}),
        WyomingEvent("transcribe", {"language": "en"}),
        WyomingEvent("audio-chunk", {"rate": 16_000}, b"\n\n{}"),
        WyomingEvent("ping", {"text": "hé"}),
    ]


def test_data_behind_the_line_is_added_to_that_in_the_line() -> None:
    message = b'{"type": "t", "data": {"a": 1, "b": 1}, "data_length": 8}\n{"b": 2}'
    assert parse(message).data == {"a": 1, "b": 2}


@for_each(
    ("data", "kind"),
    [
        (b"GET / HTTP/1.1\r\n", InvalidMessage),
        (b"\n", InvalidMessage),
        (b"[]\n", InvalidMessage),
        (b'{"type": "t", "payload_length": -1}\n', InvalidMessage),
        (b'{"type": "t", "payload_length": true}\n', InvalidMessage),
        (b'{"type": "t", "payload_length": "9"}\n', InvalidMessage),
        (b'{"type": "t", "payload_length": 2000000000}\n', MessageTooBig),
        (b'{"type": "t", "data_length": 70000}\n', MessageTooBig),
        (b"x" * (MAX_LINE_BYTES + 1), MessageTooBig),
        (b"x" * (MAX_LINE_BYTES + 1) + b"\n", MessageTooBig),
    ],
)
def test_rubbish_is_refused_before_more_is_read(data: bytes, kind: type[ClientError]) -> None:
    with pytest.raises(kind):
        cut(data)


def test_a_line_of_the_largest_size_is_read() -> None:
    line = b'{"type": "' + b"t" * (MAX_LINE_BYTES - 12) + b'"}'
    assert len(line) == MAX_LINE_BYTES
    assert cut(line) == []
    assert cut(line + b"\n") == [line + b"\n"]


@for_each(
    "message",
    [
        b"",
        b'{"type": "t", "data_length": 2}\n',
        b'{"type": "t"}\nmore',
        b'{"type": 7}\n',
        b"{}\n",
        b'{"type": "t", "data": []}\n',
        b'{"type": "t", "data_length": 2}\n[]',
        b'{"type": "t", "data_length": 2}\n\xff\xff',
    ],
)
def test_an_event_that_is_none_is_refused(message: bytes) -> None:
    with pytest.raises(InvalidMessage):
        parse(message)
