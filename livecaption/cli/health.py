"""`livecaption health` asks the server of these settings whether it is alive. A container's health check runs it."""

import argparse
import asyncio
import http.client
import os
import socket
import ssl

from livecaption.cli import serve
from livecaption.cli.terminal import FAILED, complain, note, reason
from livecaption.config import ServerConfig, add_config_arguments, load_config
from livecaption.errors import ConfigError

ANSWER_TIMEOUT_S = 3.0
MAX_BODY_BYTES = 100_000
ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses to listen on that are none to connect to, and those of this machine in their place."""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `health`, with the options of `serve`, to the commands."""
    parser = commands.add_parser(
        "health",
        help="ask a running server on this machine whether it is alive",
        description="Ask the server that serve runs with the same settings whether it is alive. The exit code is 0 if "
        "it is, and 1 if not. A server that loads a model or is full is alive, too.",
        allow_abbrev=False,
    )
    parser.set_defaults(parser=parser)
    add_config_arguments(parser, serve.defaults())


async def run(options: argparse.Namespace) -> int:
    """Ask, print the answer, and return the exit code."""
    try:
        server = load_config(options, os.environ, serve.defaults()).server
    except ConfigError as error:
        complain(error)
        return FAILED  # as Docker wants: it keeps 2 for itself
    try:
        note(f"{await asyncio.to_thread(_health, server)} at {server.place}")
    except (OSError, http.client.HTTPException) as error:
        complain(f"no healthy server at {server.place}: {reason(error) or type(error).__name__}")
        return FAILED
    return 0


def _health(server: ServerConfig) -> str:
    status, body = ask(server, "/healthz")
    if status != http.client.OK:
        raise http.client.HTTPException(f"status {status}")
    return body[:1000].decode(errors="replace")


def ask(server: ServerConfig, path: str) -> tuple[int, bytes]:
    """Request a path of the server that `serve` runs with these settings. Return the status and the body.

    Raises:
        OSError, http.client.HTTPException: nothing answers there, or not in HTTP.
    """
    connection = http.client.HTTPConnection("localhost")  # the name that every server has
    connection.sock = _connected(server)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(MAX_BODY_BYTES)
    finally:
        connection.close()


def _connected(server: ServerConfig) -> socket.socket:
    if server.unix_path is None:
        address = ANY_ADDRESS.get(server.host, server.host), server.port
        connected = socket.create_connection(address, timeout=ANSWER_TIMEOUT_S)
    else:
        connected = socket.socket(socket.AF_UNIX)
        connected.settimeout(ANSWER_TIMEOUT_S)
    try:
        if server.unix_path is not None:
            connected.connect(server.unix_path)
        if server.tls_cert or server.tls_self_signed:
            # The certificate is for other names than this address, and nothing secret is sent.
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            return context.wrap_socket(connected)
    except OSError:
        connected.close()
        raise
    return connected
