"""Clients that misbehave on the transport: they never read, never answer, never finish a handshake."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from livecaption.evaluation import peers
from livecaption.evaluation.peers import RawPeer, close_codes, raw_connection

__all__ = ["RawPeer", "close_codes", "raw_connection", "raw_peer"]


@asynccontextmanager
async def raw_peer(url: str) -> AsyncIterator[RawPeer]:
    """A peer after the upgrade of `<url>v1/stream`. Its own buffer is small, so that not reading is soon felt."""
    async with peers.raw_peer(url, receive_buffer_bytes=4096) as peer:
        yield peer
