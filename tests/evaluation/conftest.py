"""What several measurements need."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture
def environment_of_its_own() -> Iterator[None]:
    """How the processor is tuned is told to libraries by variables, which servers of later tests are not to inherit."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
