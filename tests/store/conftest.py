"""The places that all implementations of the store have."""

from pathlib import Path

import pytest

from livecaption.store import transcripts
from tests.support.stores import Place


@pytest.fixture(params=["sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place without transcripts, of each implementation in turn."""
    return Place(str(tmp_path / "transcripts.db"), transcripts.TranscriptStore, transcripts)
