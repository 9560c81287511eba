"""The notifications to systemd, over a real datagram socket."""

import fcntl
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from livecaption.errors import ConfigError
from livecaption.server import certificate
from livecaption.server import systemd as systemd_module
from livecaption.server.systemd import ServiceManager, inherited_sockets
from tests.support.processes import assert_clean_end, serving
from tests.support.systemd import Systemd


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    server = Systemd(str(tmp_path / "notify") if request.param == "path" else f"@livecaption-test-{os.getpid()}")
    yield server
    server.close()


async def test_notifications_arrive_as_lines(systemd: Systemd) -> None:
    ServiceManager({"NOTIFY_SOCKET": systemd.address}).notify(READY=1, STATUS="it runs")
    assert await systemd.receive() == "READY=1\nSTATUS=it runs"


def test_the_variables_are_taken_away_from_our_children(systemd: Systemd) -> None:
    environ = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1", "HOME": "/"}
    ServiceManager(environ)
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_ours_only_if_it_names_us(environ: dict[str, str], expected: float | None) -> None:
    assert ServiceManager({"NOTIFY_SOCKET": "/nowhere", **environ}).watchdog_s == expected


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "/nowhere/at/all"}])
def test_without_a_systemd_that_listens_nothing_happens(environ: dict[str, str]) -> None:
    manager = ServiceManager(dict(environ))
    manager.notify(READY=1)
    assert manager.watchdog_s is None


def activated(*sockets: socket.socket, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the environment of a process to which systemd gives copies of these sockets."""
    # From 500 on, so that they stand in a row. They are inheritable, as those of systemd are.
    copies = [fcntl.fcntl(each.fileno(), fcntl.F_DUPFD, 500) for each in sockets]
    monkeypatch.setattr(systemd_module, "FIRST_SOCKET", copies[0])
    return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(copies)), "LISTEN_FDNAMES": "one:two", "HOME": "/"}


def test_sockets_of_systemd_are_taken_over_and_kept_from_children(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        environ = activated(one, two, monkeypatch=monkeypatch)
        given = inherited_sockets(environ)
        assert [each.getsockname() for each in given] == [one.getsockname(), two.getsockname()]
        assert [os.get_inheritable(each.fileno()) for each in given] == [False, False]
        assert environ == {"HOME": "/"}
        for each in given:
            each.close()


@pytest.mark.parametrize(
    "environ", [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "?"}]
)
def test_sockets_of_another_process_are_left_alone(environ: dict[str, str]) -> None:
    assert inherited_sockets(environ) == []
    assert environ == {}


def test_a_socket_on_which_no_server_can_listen_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """ListenDatagram=, or Accept=yes."""
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        for wrong in (datagrams, ours):
            environ = activated(wrong, monkeypatch=monkeypatch)
            with pytest.raises(ConfigError, match="use ListenStream= and Accept=no"):
                inherited_sockets(environ)


ACTIVATE = """if True:
    import os, socket, sys
    path, *command = sys.argv[1:]
    network = socket.create_server(("127.0.0.1", 0))
    local = socket.socket(socket.AF_UNIX)
    local.bind(path)
    local.listen()
    for descriptor, given in ((13, network), (14, local)):
        os.dup2(given.fileno(), descriptor)
    for descriptor in (3, 4):
        os.dup2(descriptor + 10, descriptor)
    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2"}
    os.execv(sys.executable, [sys.executable, "-m", "livecaption", *command])
"""
"""Start the server as systemd does, with a network socket and a Unix socket."""


@pytest.mark.processes
async def test_a_server_listens_on_the_sockets_of_systemd_and_leaves_their_files(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    command = (sys.executable, "-c", ACTIVATE, str(path))
    async with serving("--host", "192.0.2.1", "--insecure", command=command) as server:
        url, unix = (await server.logged(r"listening on (http://127\.0\.0\.1:\d+/) and (unix:\S+)")).groups()
        assert unix == f"unix:{path}"
        for connector in (aiohttp.TCPConnector(), aiohttp.UnixConnector(str(path))):
            async with aiohttp.ClientSession(connector=connector) as http, http.get(f"{url}healthz") as answer:
                assert answer.status == 200
        await server.ready()
        server.send(signal.SIGTERM)
        assert await server.exited(within_s=1) == 0
        assert path.is_socket()  # it is systemd's
        await assert_clean_end(server)


@pytest.mark.processes
async def test_a_server_notifies_systemd_that_it_loads_is_ready_lives_reloads_and_stops(
    systemd: Systemd, tmp_path: Path
) -> None:
    """Row 58: the order of the notifications."""
    pem = certificate.ensure(tmp_path, {"localhost"}, datetime.now(UTC)).path
    environment = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "400000", "LIVECAPTION_PROT": "1"}
    keys = tmp_path / "keys.toml"
    keys.write_text("key = []")
    flags = ("--model", "load 1", "--tls-cert", str(pem), "--tls-key", str(pem), "--tokens", str(keys))
    async with serving(*flags, environment=environment) as server:
        loading = await systemd.receive_until("READY=1")
        # A watchdog notification may be due between the end of loading and READY.
        assert loading[0] == "EXTEND_TIMEOUT_USEC=10000000"
        assert set(loading[:-1]) <= {"EXTEND_TIMEOUT_USEC=10000000", "WATCHDOG=1"}
        assert loading.count("WATCHDOG=1") <= 1
        assert [await systemd.receive() for _ in range(3)] == ["WATCHDOG=1"] * 3
        server.send(signal.SIGHUP)
        reloading = [message for message in await systemd.receive_until("READY=1") if message != "WATCHDOG=1"]
        assert reloading[1:] == ["READY=1"]
        assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", reloading[0])
        await server.logged("certificate: reloaded")
        await server.logged("tokens: reloaded")
        await server.logged(r"no setting has this name: LIVECAPTION_PROT \(LIVECAPTION_PORT\?\)")
        server.send(signal.SIGTERM)
        assert set((await systemd.receive_until("STOPPING=1"))[:-1]) <= {"WATCHDOG=1"}
        assert await server.exited(within_s=1) == 0
        await assert_clean_end(server)
