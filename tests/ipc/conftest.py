"""A worker that an earlier server left, for the tests of locks."""

from tests.support.stale_workers import orphan, process, stale

__all__ = ["orphan", "process", "stale"]
