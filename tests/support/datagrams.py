"""Unix sockets of datagrams, as server processes have them."""

from pathlib import Path

from livecaption.ipc import datagrams


async def fill(path: Path, message: bytes) -> int:
    """Send a message until the socket is full. Return how many it holds."""
    n_held = 0
    while True:
        try:
            await datagrams.send(path, message, 0.01)
        except TimeoutError:
            return n_held
        n_held += 1
