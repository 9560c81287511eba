"""Real reverse proxies with the examples of packaging/proxies, on free ports and with a certificate of the test."""

import asyncio
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from livecaption.evaluation.process_end import TIMEOUT_FACTOR
from livecaption.server import certificate

EXAMPLES = Path(__file__).parents[2] / "packaging" / "proxies"
ROOT_NAME = "captions.example.org"
PATH_NAME = "example.org"
CLIENT = "127.0.0.2"
"""The address from which `browsing` connects, so that it is none of a proxy."""
START_TIMEOUT_S = 20.0 * TIMEOUT_FACTOR

NGINX_HEAD = """
{user}
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
"""


def require(*programs: str) -> None:
    """Skip the tests without these programs, or fail them where `CI` is set."""
    if any(shutil.which(program, path=path()) is None for program in programs):
        stop = pytest.fail if os.environ.get("CI") else pytest.skip
        # The same words for all programs, so that pytest reports all skips in one line.
        stop("the tests of reverse proxies need programs: apt-get install nginx haproxy caddy")


def path() -> str:
    """Return where programs are found: Debian keeps servers where only root looks."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin"


def free_ports(n_ports: int) -> list[int]:
    """Return ports of loopback that nobody uses now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n_ports)]
    ports = [bound.getsockname()[1] for bound in sockets]
    for bound in sockets:
        bound.close()
    return ports


def certificate_for(directory: Path) -> Path:
    """Make a certificate for the names of the examples; return the file, which has its key too."""
    return certificate.ensure(directory, (ROOT_NAME, PATH_NAME), datetime.now(UTC)).path


def example(name: str, changes: Mapping[str, str]) -> str:
    """Return an example with the addresses and files of a test. Each text that is changed must be there."""
    text = (EXAMPLES / name).read_text()
    for old, new in changes.items():
        assert old in text, f"{name} has no {old!r}"
        text = text.replace(old, new)
    return text


@asynccontextmanager
async def nginx(directory: Path, servers: str, ports: Sequence[int]) -> AsyncIterator[None]:
    """Run nginx with what stands within `http { }`."""
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = directory / "nginx.conf"
    configuration.write_text(NGINX_HEAD.format(user=user, directory=directory) + servers + "}\n")
    command = ("nginx", "-p", str(directory), "-e", "stderr", "-c", str(configuration), "-g", "daemon off;")
    async with _running(command, directory, ports):
        yield


@asynccontextmanager
async def haproxy(directory: Path, configuration: str, ports: Sequence[int]) -> AsyncIterator[None]:
    """Run HAProxy."""
    (directory / "haproxy.cfg").write_text(configuration)
    async with _running(("haproxy", "-db", "-f", str(directory / "haproxy.cfg")), directory, ports):
        yield


@asynccontextmanager
async def caddy(directory: Path, sites: str, ports: Sequence[int]) -> AsyncIterator[None]:
    """Run Caddy, which must neither get certificates nor listen for commands."""
    configuration = directory / "Caddyfile"
    configuration.write_text("{\n\tadmin off\n\tauto_https off\n}\n" + sites)
    command = ("caddy", "run", "--adapter", "caddyfile", "--config", str(configuration))
    async with _running(command, directory, ports):
        yield


@asynccontextmanager
async def before_cells(proxy: str, directory: Path, places: Sequence[str]) -> AsyncIterator[str]:
    """Run a proxy before two servers with one database, at these addresses. Yield its own, with TLS.

    `proxy`: `haproxy` or `nginx`.
    """
    require(proxy)
    pem = certificate_for(directory)
    [port, of_redirects] = free_ports(2)
    changes = {"10.0.0.11:8000": places[0], "10.0.0.12:8000": places[1]}
    if proxy == "haproxy":
        changes |= {
            "bind :80": f"bind 127.0.0.1:{of_redirects}",
            ":443 ssl crt /etc/haproxy/certs/captions.example.org.pem": f"127.0.0.1:{port} ssl crt {pem}",
        }
        running = haproxy(directory, example("haproxy-cells.cfg", changes), [port])
    else:
        changes |= {
            **{f"    listen [::]:{end};\n": "" for end in ("80", "443 ssl")},
            "listen 80": f"listen 127.0.0.1:{of_redirects}",
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            **{f"/etc/ssl/{ROOT_NAME}/{file}.pem": str(pem) for file in ("fullchain", "privkey")},
        }
        running = nginx(directory, example("nginx-cells.conf", changes), [port])
    async with running:
        yield f"https://127.0.0.1:{port}/"


def unchecked() -> ssl.SSLContext:
    """Return the settings of somebody who has accepted the certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@asynccontextmanager
async def _running(command: Sequence[str], directory: Path, ports: Sequence[int]) -> AsyncIterator[None]:
    """Run a proxy until the block ends. It is ready when it listens on these ports."""
    log = directory / f"{command[0]}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=output,
            stderr=output,
            env={**os.environ, "PATH": path(), "XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)},
            start_new_session=True,
        )
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            for port in ports:
                while not await _listens(port):
                    assert process.returncode is None, f"{command[0]} did not start:\n{log.read_text()}"
                    await asyncio.sleep(0.02)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


class _Loopback(AbstractResolver):
    """Finds every name on this machine."""

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0),
        ]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def browsing(**headers: str) -> AsyncIterator[ClientSession]:
    """Request any name from this machine, as somebody who has accepted the certificate."""
    connector = TCPConnector(resolver=_Loopback(), ssl=False, local_addr=(CLIENT, 0))
    async with ClientSession(connector=connector, headers=headers) as session:
        yield session
