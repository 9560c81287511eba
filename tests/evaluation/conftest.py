"""Fixtures of several measurements."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture
def environment_of_its_own() -> Iterator[None]:
    """Restore the environment variables that tune the processor, so that servers of later tests do not inherit them."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
