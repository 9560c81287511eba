"""Deepgram's route for recordings, with a plain HTTP client. tests/foreign has the tests with Deepgram's own."""

import hashlib
import io
from typing import Any

import pytest

from livecaption.recordings import recording as recordings
from tests.support.containers import wav
from tests.support.recordings import ONE_UTTERANCE, SILENCE, TWO_UTTERANCES, recording
from tests.support.serving import Client, StartServer

TEXT = "one two three four five six"


async def ask(client: Client, body: bytes = recording(), kind: str = "audio/wav", **query: Any) -> dict[str, Any]:
    """Return the answer with its status."""
    headers = {"Content-Type": kind}
    response = await client.post("/v1/listen", params=query, data=io.BytesIO(body), headers=headers)
    answer: dict[str, Any] = await response.json()
    request_id = answer["metadata"]["request_id"] if "metadata" in answer else answer["request_id"]
    assert response.headers["dg-request-id"] == request_id
    return answer | {"status": response.status}


def transcripts(answer: dict[str, Any]) -> list[str]:
    return [channel["alternatives"][0]["transcript"] for channel in answer["results"]["channels"]]


async def test_a_container_is_transcribed(client: Client) -> None:
    body = recording(TWO_UTTERANCES)
    answer = await ask(client, body, "application/octet-stream", utterances="true")
    assert transcripts(answer) == [f"{TEXT} {TEXT} seven"]
    assert len(answer["results"]["utterances"]) == 2
    assert answer["metadata"]["sha256"] == hashlib.sha256(body).hexdigest()
    assert (answer["metadata"]["duration"], answer["metadata"]["channels"]) == (4.8, 1)


async def test_a_recording_that_is_too_long_is_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "MAX_DURATION_MS", 2000)
    answer = await ask(client)
    assert (answer["status"], answer["err_code"]) == (413, "PAYLOAD_TOO_LARGE")


async def test_raw_audio_has_its_format_in_the_address(client: Client) -> None:
    answer = await ask(client, ONE_UTTERANCE, "audio/raw", encoding="linear16", sample_rate="16000")
    assert transcripts(answer) == [TEXT]


async def test_channels_are_transcribed_apart_if_asked_for(client: Client) -> None:
    stereo = wav(b"".join(ONE_UTTERANCE[n : n + 2] + bytes(2) for n in range(0, len(ONE_UTTERANCE), 2)), n_channels=2)
    assert transcripts(await ask(client, stereo, multichannel="true")) == [TEXT, ""]


async def test_a_recording_without_speech_has_an_empty_text(client: Client) -> None:
    assert transcripts(await ask(client, recording(SILENCE))) == [""]


@pytest.mark.parametrize(
    ("body", "kind", "query"),
    [
        (b'{"url": "http://127.0.0.1/secret"}', "application/json", {}),
        (b"", "audio/wav", {}),
        (b"no audio " * 99, "audio/wav", {}),
        (ONE_UTTERANCE, "audio/raw", {"encoding": "linear16"}),
        (ONE_UTTERANCE, "audio/raw", {"encoding": "speex"}),
        (recording(), "audio/wav", {"punctuate": "perhaps"}),
        (recording(), "audio/wav", {"language": "tlh"}),
    ],
    ids=["url", "empty", "no audio", "no rate", "encoding", "flag", "language"],
)
async def test_a_wrong_request_is_refused_in_deepgrams_shape(
    client: Client, body: bytes, kind: str, query: dict[str, str]
) -> None:
    answer = await ask(client, body, kind, **query)
    assert (answer["status"], answer["err_code"]) == (400, "INVALID_QUERY_PARAMETER")
    assert answer["err_msg"]


async def test_a_recording_over_the_limit_is_refused(start_server: StartServer) -> None:
    client = await start_server(max_upload_mb=1)
    answer = await ask(client, bytes(2**20 + 1))
    assert (answer["status"], answer["err_code"]) == (413, "PAYLOAD_TOO_LARGE")


async def test_a_key_is_needed_where_the_server_has_one(start_server: StartServer) -> None:
    client = await start_server(token="0123456789abcdef")
    answer = await ask(client)
    assert (answer["status"], answer["err_code"]) == (401, "INVALID_AUTH")
    headers = {"Authorization": "Token 0123456789abcdef", "Content-Type": "audio/wav"}
    assert (await client.post("/v1/listen", data=io.BytesIO(recording()), headers=headers)).status == 200
