"""The messages of obs-websocket 5."""

import json
from typing import Any

import pytest

from livecaption.delivery.obs_messages import ObsRefusal, answer, caption, check_identified, identify, is_accepted
from tests.support.cases import for_each

CHALLENGE = {
    "challenge": "+IxH4CnCiqpX1rM9scsNynZzbOe4KhDeYcTNS3PDaeY=",
    "salt": "lM1GncleQOaCu9lT1yeUZhFYnqhsLLP1G5lAGo3ixaI=",
}


def message(op: int, **data: Any) -> str:
    return json.dumps({"op": op, "d": data})


def response(result: bool, code: int = 100, request_id: str = "1") -> str:
    return message(
        7, requestType="SendStreamCaption", requestId=request_id, requestStatus={"result": result, "code": code}
    )


def test_the_answer_to_a_challenge_is_that_of_the_example_of_the_protocol() -> None:
    expected = "1Ct943GAT+6YQUUX47Ia/ncufilbe6+oD6lY+5kaCu4="
    assert answer("supersecretpassword", CHALLENGE["salt"], CHALLENGE["challenge"]) == expected


def test_a_client_asks_for_no_events_and_answers_the_challenge() -> None:
    hello = message(0, obsWebSocketVersion="5.1.0", rpcVersion=1, authentication=CHALLENGE)
    identified = json.loads(identify(hello, "supersecretpassword"))
    assert identified == {
        "op": 1,
        "d": {
            "rpcVersion": 1,
            "eventSubscriptions": 0,
            "authentication": "1Ct943GAT+6YQUUX47Ia/ncufilbe6+oD6lY+5kaCu4=",
        },
    }


def test_an_obs_without_a_password_gets_no_answer_to_a_challenge() -> None:
    assert "authentication" not in identify(message(0, rpcVersion=1), "superfluous")


def test_a_missing_password_is_reported() -> None:
    with pytest.raises(ObsRefusal, match="needs a password"):
        identify(message(0, authentication=CHALLENGE), "")


@for_each("wrong", ["", "[]", "{", message(5), '{"op": 0}', '{"op": 0, "d": []}', "[" * 100_000])
def test_a_message_of_no_protocol_is_refused(wrong: str) -> None:
    with pytest.raises(ObsRefusal, match="not obs-websocket"):
        identify(wrong, "")


def test_a_client_is_identified_by_op_2_only() -> None:
    check_identified(message(2, negotiatedRpcVersion=1))
    with pytest.raises(ObsRefusal):
        check_identified(message(0))


def test_a_caption_is_a_request() -> None:
    assert json.loads(caption("Grüße,\nalle", "7")) == {
        "op": 6,
        "d": {"requestType": "SendStreamCaption", "requestId": "7", "requestData": {"captionText": "Grüße,\nalle"}},
    }


def test_only_the_response_to_the_request_counts() -> None:
    assert is_accepted(response(True), "1")
    assert not is_accepted(response(True, request_id="2"), "1")
    assert not is_accepted(message(5, eventType="ExitStarted"), "1")


@for_each(
    "case",
    [
        (response(False, 501), "does not stream"),
        (response(False, 604), "604"),
        (message(7, requestId="1"), "without a code"),
    ],
)
def test_a_refusal_has_a_reason_for_people(case: tuple[str, str]) -> None:
    refusal, why = case
    with pytest.raises(ObsRefusal, match=why):
        is_accepted(refusal, "1")
