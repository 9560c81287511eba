"""A server with the scripted engine, for each test of this directory."""

from tests.support.serving import client, nothing_is_left, start_server

__all__ = ["client", "nothing_is_left", "start_server"]
