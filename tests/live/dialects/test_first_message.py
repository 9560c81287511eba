"""The protocols at `/`: the first message decides."""

import json

import pytest

from livecaption.errors import InvalidMessage, Unavailable
from livecaption.events import End, ErrorReport
from livecaption.live.dialects.commands import Audio, Configure, Finish, Flush, Open, Reply
from livecaption.live.dialects.dialect import Handshake
from livecaption.live.dialects.first_message import FirstMessage, route
from livecaption.live.state import Ending
from livecaption.speech.endpointing import EndpointingConfig
from tests.support.cases import for_each


def connected(**query: str) -> FirstMessage:
    dialect = FirstMessage(Handshake(query), EndpointingConfig())
    assert dialect.connected() == []
    return dialect


@for_each(
    ("message", "kinds"),
    [
        ('{"uid": "u"}', [Open]),
        ('{"config": {}}', [Open, Configure]),
        ('{"eof": 1}', [Open, Finish]),
        ('{"reset": 1}', [Open, Flush]),
        (bytes(320), [Open, Audio, Reply]),
    ],
)
def test_the_first_message_shows_the_protocol(message: str | bytes, kinds: list[type]) -> None:
    assert [type(command) for command in connected().receive(message)] == kinds


def test_later_messages_and_events_are_those_of_the_protocol() -> None:
    dialect = connected()
    dialect.receive(bytes(320))
    assert dialect.receive('{"eof": 1}') == [Finish()]
    assert dialect.encode(End(10, 0, "stop"), 1) == ['{"text": ""}']
    assert dialect.tick(1000) == []
    assert dialect.close(Ending("stop")) == (1000, "")


def test_a_full_server_lets_a_client_of_whisperlive_wait() -> None:
    dialect = connected()
    dialect.receive('{"uid": "u"}')
    [message] = dialect.encode(ErrorReport.of(Unavailable("full", retry_after_s=2.0)), None)
    assert json.loads(message) == {"uid": "u", "status": "WAIT", "message": 1}


@for_each("message", ["rubbish", "[]", "{}", '{"type": "start"}'])
def test_a_first_message_of_no_protocol_is_refused(message: str) -> None:
    dialect = connected()
    with pytest.raises(InvalidMessage) as refused:
        dialect.receive(message)
    [report] = dialect.encode(ErrorReport.of(refused.value), None)
    assert json.loads(report)["status"] == "ERROR"
    assert dialect.encode(End(0, 0, "stop"), 1) == []
    assert dialect.tick(0) == []
    assert dialect.close(Ending("error", refused.value))[0] == 1008


def test_the_options_of_the_address_are_checked_before_the_protocol_is_known() -> None:
    assert connected(punctuation="false")
    with pytest.raises(InvalidMessage):
        connected(punctuation="maybe")


def test_only_the_protocols_that_the_server_speaks_are_possible() -> None:
    dialect = FirstMessage(Handshake(), EndpointingConfig(), spoken=["vosk"])
    with pytest.raises(InvalidMessage):
        dialect.receive('{"uid": "u"}')
    assert dialect.encode(ErrorReport.of(InvalidMessage("no")), None) == []
    assert route([]) is None
    assert route(["whisperlive"]) is not None
