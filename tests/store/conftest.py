"""The places that all implementations of the store have."""

from pathlib import Path

import pytest

from livecaption.store import transcripts
from livecaption.store.postgresql import store as postgresql
from tests.support.stores import Place


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place without transcripts, of each implementation in turn."""
    if request.param == "sqlite":
        return Place(str(tmp_path / "transcripts.db"), transcripts.TranscriptStore, transcripts)
    cluster = request.getfixturevalue("cluster")
    return Place(cluster.empty_database(), postgresql.PostgresqlStore, postgresql)
