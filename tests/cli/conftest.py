"""A server that follows a script, for the commands."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.commands import Serve, serving_peers, write_tone


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    async with serving_peers() as start:
        yield start


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Half a second of a tone, as WAV."""
    return write_tone(tmp_path / "tone.wav")
