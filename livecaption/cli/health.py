"""`livecaption health` asks the server of these settings whether it is alive. A container's health check runs it."""

import argparse
import asyncio
import http.client
import os
import ssl

from livecaption.cli import serve
from livecaption.cli.terminal import FAILED, complain, note, reason
from livecaption.config import ServerConfig, add_config_arguments, load_config

ANSWER_TIMEOUT_S = 3.0
ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses to listen on that are none to connect to, and those of this machine in their place."""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `health`, with the options of `serve`, to the commands."""
    parser = commands.add_parser(
        "health",
        help="ask a running server on this machine whether it is alive",
        description="Ask the server that serve runs with the same settings whether it is alive. The exit code is 0 if "
        "it is. A server that loads a model or is full is alive, too.",
        allow_abbrev=False,
    )
    parser.set_defaults(parser=parser)
    add_config_arguments(parser, serve.defaults())


async def run(options: argparse.Namespace) -> int:
    """Ask, print the answer, and return the exit code."""
    server = load_config(options, os.environ, serve.defaults()).server
    try:
        answer = await asyncio.to_thread(_answer, server)
        note(f"{answer} at {server.host} port {server.port}")
    except (OSError, http.client.HTTPException) as error:
        complain(f"no healthy server at {server.host} port {server.port}: {reason(error) or type(error).__name__}")
        return FAILED
    return 0


def _answer(server: ServerConfig) -> str:
    """Return the body of the answer.

    Raises:
        OSError, http.client.HTTPException: nothing answers there, or not with 200.
    """
    host = ANY_ADDRESS.get(server.host, server.host)
    connection = http.client.HTTPConnection(host, server.port, timeout=ANSWER_TIMEOUT_S)
    if server.tls_cert or server.tls_self_signed:
        # The certificate is for other names than this address, and nothing secret is sent.
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(host, server.port, timeout=ANSWER_TIMEOUT_S, context=context)
    try:
        connection.request("GET", "/healthz", headers={"Host": "localhost"})
        response = connection.getresponse()
        body = response.read(1000).decode(errors="replace")
        if response.status != http.client.OK:
            raise http.client.HTTPException(f"status {response.status}")
        return body
    finally:
        connection.close()
