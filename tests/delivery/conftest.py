"""A server with the scripted engine, and receivers of captions, for the tests of this directory."""

from tests.support.receivers import receiver
from tests.support.serving import kept_servers, nothing_is_left, start_server

__all__ = ["kept_servers", "nothing_is_left", "receiver", "start_server"]
