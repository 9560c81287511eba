"""Attacks by which clients may try to harm a server or its other clients. Each is bounded in time and count.

They run in a separate process (`run`), so that they do not delay the measurements.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from functools import partial
from urllib.parse import urlsplit

import psutil

from livecaption.evaluation.decoding_attacks import bombs, faults_of_decoders, mutants, surround
from livecaption.evaluation.peers import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawPeer,
    frame,
    raw_connection,
    raw_peer,
)
from livecaption.evaluation.target import Attack, Report, Target

SECRET = "s3cret-token-of-an-operator"
"""A token that malformed requests contain, and that may not be in any log."""
ATTACK_TIMEOUT_S = 240.0
"""Time limit of an attack. The longest one, 100 sessions in a row, takes 75 s on an idle machine. The server accepts
audio at up to 100 times real time."""
RECONNECT_S = 0.1
"""Time after which an attacker reconnects when the server has closed its connection."""
START = {"type": "start"}
MULAW = {"type": "start", "encoding": "mulaw", "sample_rate": 8000}
MIB_BYTES = 2**20
N_RESETS = 40
N_SESSIONS = 100
FIRST_SESSIONS = 10
"""Sessions after which the server has allocated all memory that a session needs."""
MAX_GROWTH_BYTES = 30_000_000
"""Allowed growth of the server's memory after those: 90 ended sessions of 20 KB, and the allocator's reserve."""
N_CLAIMS = 300
N_PIPELINED = 2000
N_PIPELINES = 4
N_READERS = 200
N_MALFORMED = 20
"""Number of requests of each shape."""


async def flood(
    target: Target,
    endless: bytes,
    *,
    path: str = "v1/stream",
    start: Mapping[str, object] | None = None,
    opening: bytes = b"",
    n_peers: int = 1,
) -> Report:
    """Send the same bytes again and again, as fast as the server accepts them. Reconnect when the server disconnects.

    Args:
        target: the server.
        endless: bytes that are sent again and again.
        path: path of the WebSocket; `{session}` is replaced by the session of the target.
        start: message that is sent first, as JSON.
        opening: bytes that are sent after that, once.
        n_peers: number of clients that do so at a time.
    """
    report = Report()

    async def send(peer: RawPeer) -> None:
        with suppress(ConnectionError):
            await peer.send_raw(opening)
            while True:
                await peer.send_raw(endless)

    async def attack() -> None:
        while True:
            report.n_sessions += 1
            with suppress(ConnectionError):
                async with raw_peer(target.url, path.format(session=target.session)) as peer:
                    if start is not None:
                        await peer.send(start)
                    sending = asyncio.ensure_future(send(peer))
                    try:
                        while await peer.receive():
                            pass
                    finally:
                        sending.cancel()
                        await asyncio.wait({sending})
            await asyncio.sleep(RECONNECT_S)

    with suppress(TimeoutError):
        async with asyncio.timeout(target.seconds):
            await asyncio.gather(*(attack() for _ in range(n_peers)))
    return report


async def resets(target: Target) -> Report:
    """Send two pings and reset the connection, so that the server answers the second one on a closed transport."""
    n = target.count(N_RESETS)
    for _ in range(n):
        async with raw_peer(target.url) as peer:
            await peer.send(START)
            await anext(peer.events())
            peer.end_by_reset()
            await peer.send_raw(frame(PING, b"") * 2)
    return Report(n)


async def sessions_in_a_row(target: Target) -> Report:
    """Send one large message in each of many successive sessions. The server may keep little memory of them."""
    n = target.count(N_SESSIONS)
    report = Report(n)
    first_bytes = 0
    for number in range(n):
        async with raw_peer(target.url) as peer:
            await peer.send(MULAW)
            await peer.send(b"\xff" * MIB_BYTES)
            await peer.send({"type": "stop"})
            if [event async for event in peer.events()][-1]["type"] != "end":
                report.faults.append("a session did not end")
        if number < FIRST_SESSIONS:
            first_bytes = target.memory_bytes
    growth_bytes = target.memory_bytes - first_bytes
    if growth_bytes > MAX_GROWTH_BYTES:
        report.faults.append(f"{n} sessions one after the other left {growth_bytes / 1e6:.0f} MB")
    return report


async def claims(target: Target) -> Report:
    """Claim to resume another client's session, and send most of a large message, which the server must buffer."""
    n = target.count(N_CLAIMS)
    unfinished = frame(BINARY, bytes(MIB_BYTES))[: -MIB_BYTES // 10]

    async def claim(peers: AsyncExitStack) -> None:
        with suppress(ConnectionError):
            peer = await peers.enter_async_context(raw_peer(target.url, f"v1/stream?resume={target.session}"))
            await peer.send_raw(unfinished)

    async with AsyncExitStack() as peers:
        with suppress(TimeoutError):
            async with asyncio.timeout(target.seconds):
                await asyncio.gather(*(claim(peers) for _ in range(n)))
                await asyncio.sleep(target.seconds)
    return Report(n)


async def pipelines(target: Target) -> Report:
    """Request `/healthz` 2,000 times in one pipeline, on several connections, again and again."""
    report = Report()
    n = target.count(N_PIPELINED)
    request = f"GET /healthz HTTP/1.1\r\nHost: {urlsplit(target.url).netloc}\r\n"
    requests = f"{request}\r\n" * (n - 1) + f"{request}Connection: close\r\n\r\n"

    async def attack() -> None:
        while True:
            async with raw_connection(target.url) as connection:
                peer = RawPeer(connection)
                _, answers = await asyncio.gather(peer.send_raw(requests.encode()), peer.receive_all())
            report.outcomes["answers"] += (n_answers := answers.count(b"HTTP/1.1 200"))
            if n_answers != n:
                report.faults.append(f"{n_answers} answers to {n} requests")

    with suppress(TimeoutError):
        async with asyncio.timeout(target.seconds):
            await asyncio.gather(*(attack() for _ in range(N_PIPELINES)))
    return report


async def chunks(target: Target) -> Report:
    """Send an unused request body in chunks of one byte. Reconnect when the server disconnects."""
    report = Report()
    head = f"POST / HTTP/1.1\r\nHost: {urlsplit(target.url).netloc}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with suppress(TimeoutError):
        async with asyncio.timeout(target.seconds):
            while True:
                report.outcomes["bodies"] += 1
                with suppress(ConnectionError):
                    async with raw_connection(target.url) as connection:
                        peer = RawPeer(connection)
                        await peer.send_raw(head.encode())
                        while True:
                            await peer.send_raw(b"1\r\nx\r\n" * 20_000)
    return report


async def pings_before_readers(target: Target) -> Report:
    """Send pings as fast as the server accepts them, in a session that has many readers."""
    report = Report(n_sessions=1)

    async def take(peer: RawPeer) -> None:
        while await peer.receive():
            pass

    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(raw_peer(target.url))
        await publisher.send(START)
        ready = await anext(publisher.events())
        path = f"v1/sessions/{ready['session']}/watch"
        readers = [await stack.enter_async_context(raw_peer(target.url, path)) for _ in range(target.count(N_READERS))]
        taking = [asyncio.ensure_future(take(peer)) for peer in (publisher, *readers)]
        with suppress(TimeoutError):
            async with asyncio.timeout(target.seconds):
                while True:
                    await publisher.send_raw(frame(TEXT, b'{"type":"ping"}') * 1000)
        for task in taking:
            task.cancel()
        await asyncio.wait(taking)
    return report


async def malformed(target: Target) -> Report:
    """Send malformed requests with a token in each, because errors of HTTP parsers quote the request."""
    report = Report()
    host = urlsplit(target.url).netloc
    bearer = f"Authorization: Bearer {SECRET}"
    shapes = [
        f"GET /v1/stats HTTP/1.1\r\nHost: {host}\r\n{bearer}\x01\r\n\r\n",
        f"GET /v1/stats HTTP/1.1\r\nHost: {host}\r\n{bearer}\x00\r\n\r\n",
        f"GET /v1/stats HTTP/1.1\r\nHost: {host}\r\n{bearer}\nX\r\n\r\n",
        f"GET /v1/stats HTTP/1.1\r\nHost: {host}\r\n{bearer}{'x' * 10_000}\r\n\r\n",
        f"GET /v1/sessions/a/events?reader_token={SECRET} b HTTP/1.1\r\nHost: {host}\r\n\r\n",
        f"GET /v1/sessions/a/events?reader_token={SECRET}\x7f HTTP/1.1\r\nHost: {host}\r\n\r\n",
        f"GET /v1/stats?token={SECRET} HTTP/9.9\r\nHost: {host}\r\n{bearer}\r\n\r\n",
        f"GET /v1/stats HTTP/1.1\r\nHost: {host}\r\nContent-Length: {SECRET}\r\n\r\n",
        f"{SECRET} / HTTP/1.1\r\nHost: {host}\r\n\r\n",
        f"{SECRET}\r\n\r\n",
    ]
    for shape in shapes * target.count(N_MALFORMED):
        async with raw_connection(target.url) as connection:
            peer = RawPeer(connection)
            await peer.send_raw(shape.encode("latin-1"))
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    report.outcomes[(await peer.receive())[9:12].decode() or "closed"] += 1
    return report


def _publisher(endless: bytes, start: Mapping[str, object] = START, opening: bytes = b"") -> Attack:
    return partial(flood, endless=endless, start=start, opening=opening)


def _reader(endless: bytes, n_peers: int = 1) -> Attack:
    return partial(flood, endless=endless, path="v1/sessions/{session}/watch", n_peers=n_peers)


ATTACKS: dict[str, Attack] = {
    "empty frames": _publisher(frame(BINARY, b"") * 20_000),
    "1-byte frames": _publisher(frame(BINARY, b"\0") * 20_000),
    "WebSocket pings": _publisher(frame(PING, b"") * 20_000),
    "WebSocket pongs": _publisher(frame(PONG, b"") * 20_000),
    "empty continuations": _publisher(
        frame(CONTINUATION, b"", is_last=False) * 20_000, opening=frame(BINARY, b"", is_last=False)
    ),
    "messages of 1 MiB": _publisher(frame(BINARY, b"\xff" * MIB_BYTES), start=MULAW),
    "JSON pings": _publisher(frame(TEXT, b'{"type":"ping"}') * 5000),
    "flushes": _publisher(frame(TEXT, b'{"type":"flush"}') * 5000),
    "a reader's 1-byte frames": _reader(frame(BINARY, b"\0") * 20_000),
    "a reader's pings": _reader(frame(PING, b"") * 20_000),
    "8 readers' 1-byte frames": _reader(frame(BINARY, b"\0") * 20_000, n_peers=8),
    "8 readers' pings": _reader(frame(PING, b"") * 20_000, n_peers=8),
    "FLAC bombs": bombs,
    "7.1 recordings": surround,
    "sessions in a row": sessions_in_a_row,
    "claims": claims,
    "pipelined requests": pipelines,
    "bodies in 1-byte chunks": chunks,
    "pings before 200 readers": pings_before_readers,
    "malformed requests": malformed,
    "faults of decoders": faults_of_decoders,
    "damaged containers": mutants,
    "resets": resets,
}
"""All attacks. The resets come last, because their sessions end only after the resume window, with a log line each."""


def run(name: str, target: Target, timeout_s: float = ATTACK_TIMEOUT_S) -> Report:
    """Run an attack; this blocks. An error in the attack itself becomes a fault in its report."""

    async def attack() -> Report:
        try:
            async with asyncio.timeout(timeout_s):
                return await ATTACKS[name](target)
        except (TimeoutError, ConnectionError, StopAsyncIteration, psutil.Error) as error:
            return Report(faults=[f"the attack broke off: {type(error).__name__} {error}"])

    return asyncio.run(attack())
