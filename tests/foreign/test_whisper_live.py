"""The unmodified client of WhisperLive 0.10.0."""

from urllib.parse import urlsplit

import pytest

from tests.support import peer_clients
from tests.support.serving import PAUSE, SPEECH


@pytest.mark.parametrize("path", ["", "/whisperlive", "/ws"])
async def test_a_client_keeps_each_completed_segment_once(url: str, old_clients: dict[str, str], path: str) -> None:
    port = f"{urlsplit(url).port}{path}"
    heard = await peer_clients.whisper_live(port, SPEECH + PAUSE + SPEECH + PAUSE, old_clients)
    assert [text.split()[:3] for text in heard["committed"]] == [["One", "two", "three"]] * 2
    assert heard["kept"] == 2


async def test_a_client_that_names_no_language_gets_text_too(url: str, old_clients: dict[str, str]) -> None:
    heard = await peer_clients.whisper_live(str(urlsplit(url).port), SPEECH + PAUSE, old_clients, language="")
    assert len(heard["committed"]) == 1
