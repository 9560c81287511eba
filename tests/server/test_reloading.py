"""A reload runs each step once, survives those that fail, and is announced to systemd."""

import logging

import pytest

from livecaption.errors import ConfigError
from livecaption.server.reloading import Reloading
from livecaption.server.systemd import ServiceManager


class Recorded(ServiceManager):
    """A service manager that keeps what is sent."""

    def __init__(self) -> None:
        super().__init__({})
        self.sent: list[list[str]] = []

    def notify(self, **values: str | int) -> None:
        super().notify(**values)
        self.sent.append(list(values))


def test_a_step_that_fails_leaves_the_others_and_the_server_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    manager, read = Recorded(), []
    reloading = Reloading(manager)

    def wrong() -> None:
        raise ConfigError("no certificate")

    reloading.add("certificate", wrong)
    reloading.add("tokens", lambda: read.append("tokens"))
    manager.notify(READY=1)
    reloading.run()
    assert read == ["tokens"]
    assert caplog.messages == [
        "certificate: not reloaded, the server goes on with what it has: no certificate",
        "tokens: reloaded",
    ]
    assert manager.sent == [["READY"], ["RELOADING", "MONOTONIC_USEC"], ["READY"]]


def test_a_server_that_still_loads_does_not_announce_a_reload(caplog: pytest.LogCaptureFixture) -> None:
    """READY=1 would end its start for systemd."""
    caplog.set_level(logging.INFO)
    manager = Recorded()
    Reloading(manager).run()
    assert manager.sent == []
    assert caplog.messages == ["nothing to reload"]
