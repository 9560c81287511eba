"""Fixtures of several measurements."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

DATA = Path(__file__).parent.parent / "data"
SHORT_CLIPS = ("ps-austen-0880", "ps-austen-0930")


@pytest.fixture
def environment_of_its_own() -> Iterator[None]:
    """Restore the environment variables that tune the processor, so that servers of later tests do not inherit them."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def short_recordings(tmp_path: Path) -> Path:
    """Return a directory with the manifest of the two shortest recordings."""
    entries = map(json.loads, (DATA / "manifest.jsonl").read_text().splitlines())
    chosen = [entry | {"file": str(DATA / entry["file"])} for entry in entries if entry["id"] in SHORT_CLIPS]
    directory = tmp_path / "short-recordings"
    directory.mkdir()
    (directory / "manifest.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in chosen))
    return directory
