"""A real `livecaption serve` as a process, and the checks after its end.

async with serving("--drain-timeout", "3") as server:
    await server.ready()
    server.send(signal.SIGTERM)
    assert await server.exited(within_s=0.5) == 0
    await assert_clean_end(server)
"""

from livecaption.evaluation.process_end import TIMEOUT_FACTOR, ProcessEnd
from livecaption.evaluation.server_process import COMMAND, ServerProcess, processes_with, serving

__all__ = ["COMMAND", "TIMEOUT_FACTOR", "ProcessEnd", "ServerProcess", "assert_clean_end", "processes_with", "serving"]


async def assert_clean_end(server: ServerProcess, within_s: float = 0.25) -> None:
    """Check that no process, port, lock, temporary file or shared memory is left, and no traceback was logged."""
    left = await server.leftovers(within_s)
    assert left == [], (left, server.output[server.output.find("Traceback") :][:3000])
