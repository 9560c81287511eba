"""A server with the scripted engine, for the tests of this directory."""

from tests.support.serving import client, kept_servers, nothing_is_left, start_server

__all__ = ["client", "kept_servers", "nothing_is_left", "start_server"]
