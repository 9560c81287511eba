"""Bodies of requests that do not come. tests/processes/test_limits_of_several.py has those for another process."""

import asyncio

from livecaption.server.config import HttpLimits
from tests.support.rooms import NAME
from tests.support.serving import StartServer


async def test_a_body_that_never_comes_is_not_waited_for_without_end(start_server: StartServer) -> None:
    client = await start_server(http=HttpLimits(keepalive_timeout_s=0.2))
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(f"PUT /v1/rooms/{NAME} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n".encode())
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"body_timeout"' in answer
