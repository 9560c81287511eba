"""A database for each test of PostgreSQL's store."""

import pytest

from tests.support.postgresql import Cluster


@pytest.fixture
def address(cluster: Cluster) -> str:
    """The address of a database without tables."""
    return cluster.empty_database()
