"""A client of vosk-server in lock-step: each chunk is followed by a wait for its reply."""

import pytest

from tests.support import peer_clients
from tests.support.foreign import client
from tests.support.serving import PAUSE, SPEECH

client("websockets")


@pytest.mark.parametrize("path", ["vosk", ""])
async def test_each_chunk_has_a_reply_and_the_end_has_the_rest(url: str, path: str) -> None:
    audio = SPEECH + PAUSE + SPEECH
    replies = await peer_clients.vosk(url.replace("http", "ws") + path, audio)
    assert len(replies) == -(-len(audio) // peer_clients.CHUNK_BYTES) + 1
    text = " ".join(reply["text"] for reply in replies if reply.get("text"))
    assert text.count("One two three") == 2
    words = [word["word"] for reply in replies for word in reply.get("result", [])]
    assert " ".join(words) == text


async def test_a_client_that_sends_no_config_records_at_8_khz(url: str) -> None:
    replies = await peer_clients.vosk(url.replace("http", "ws") + "vosk", SPEECH[::2], rate=8000)
    assert "text" in replies[-1]
