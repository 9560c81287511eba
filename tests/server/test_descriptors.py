"""The number of readers that the limit of descriptors allows; tests/processes/test_descriptors.py fills a server."""

import resource
from collections.abc import Iterator

import pytest

from livecaption.server import descriptors
from livecaption.server.config import ServerConfig
from livecaption.server.descriptors import OF_OTHERS, OWN, UNKNOWN_STREAMS


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    """Return the soft and the hard limit, and restore them after the test."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_soft_limit_is_raised_to_the_hard_one(limits: tuple[int, int]) -> None:
    _, hard = limits
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))
    assert descriptors.limit() == hard // 2
    descriptors.raise_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    assert descriptors.limit() == hard


@pytest.mark.parametrize(
    ("max_streams", "n_descriptors", "n_readers"),
    [
        (None, None, 5000),
        (None, 524_288, 5000),
        (None, 1024, 1024 - OWN - OF_OTHERS - 4 * UNKNOWN_STREAMS),
        (10, 1024, 984 - OWN - OF_OTHERS),
        (300, 1024, (1024 - OWN - OF_OTHERS) // 2),
        (None, 400, (400 - OWN - OF_OTHERS) // 2),
        (None, OWN + OF_OTHERS - 1, 0),
    ],
)
def test_readers_leave_descriptors_to_streams_to_the_server_and_to_all_others(
    max_streams: int | None, n_descriptors: int | None, n_readers: int
) -> None:
    assert descriptors.max_readers(ServerConfig(max_streams=max_streams), n_descriptors) == n_readers


def test_connections_that_wait_recordings_and_sinks_have_descriptors_at_their_bounds() -> None:
    waiting, sinks, uploads, transcribed = 200, 32, 10, 2
    assert waiting + sinks + 2 * uploads + 3 * transcribed == OF_OTHERS
