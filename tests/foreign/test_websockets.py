"""A program with `websockets` before 15, which sends two `User-Agent` headers."""

import asyncio
import sys

PROGRAM = """
import asyncio, sys
from websockets.asyncio.client import connect

async def main():
    headers = {"User-Agent": "a program"}
    async with connect(sys.argv[1], additional_headers=headers, subprotocols=["livecaption.v1"]) as socket:
        await socket.send('{"type": "start"}')
        print(await socket.recv())

asyncio.run(main())
"""


async def test_a_program_with_websockets_13_is_served(url: str, old_clients: dict[str, str]) -> None:
    address = url.replace("http", "ws") + "v1/stream"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, address, env=old_clients, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert b'"ready"' in output
