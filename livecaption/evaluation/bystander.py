"""Clients that use a server correctly while others attack it."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from livecaption.evaluation.peers import CLOSE, RawPeer, frame, raw_peer
from livecaption.evaluation.soak import BYTES_PER_S

PING_INTERVAL_S = 0.02
CHUNK_MS = 40
NEWCOMER_INTERVAL_S = 0.5
NEWCOMER_TIMEOUT_S = 20.0

Timed = tuple[float, float]
"""The time (time.monotonic) of a ping or of an end of speech, and the latency of its answer in ms."""


class Bystander:
    """A client that uses the server correctly, until the server closes the connection.

    Attributes:
        finals: latency of each final since the client sent the end of the speech.
        events: all events except pongs and partials.
    """

    def __init__(self, peer: RawPeer) -> None:
        self._peer = peer
        self.finals: list[Timed] = []
        self.events: list[dict[str, Any]] = []
        self.speech_started = asyncio.Event()
        self._pongs: list[Timed] = []
        self._pinged_s: dict[int, float] = {}
        self._spoken_from_s = 0.0

    @property
    def pongs(self) -> list[Timed]:
        """The latency of each pong. A ping that is not answered yet has its present age."""
        now_s = time.monotonic()
        return self._pongs + [(sent_s, 1000 * (now_s - sent_s)) for sent_s in self._pinged_s.values()]

    async def start(self) -> str:
        """Begin a stream, and return the id of its session.

        Raises:
            ConnectionError: the server refused the stream.
        """
        await self._peer.send({"type": "start"})
        async for event in self._peer.events():
            if event["type"] == "ready":
                return str(event["session"])
        raise ConnectionError("the stream was refused")

    async def run(self, sends: Coroutine[Any, Any, None]) -> None:
        """Send, and receive until the server closes the connection."""
        sending = asyncio.ensure_future(sends)
        try:
            async for event in self._peer.events():
                self._receive(event)
        finally:
            sending.cancel()
            await asyncio.wait({sending})

    async def ping(self) -> None:
        """Send pings at a fixed rate, so that a slow server does not reduce the number of pings."""
        began_s, n = time.monotonic(), 0
        with suppress(ConnectionError):
            while True:
                self._pinged_s[n] = time.monotonic()
                await self._peer.send({"type": "ping", "id": n})
                n += 1
                await asyncio.sleep(max(0.0, began_s + n * PING_INTERVAL_S - time.monotonic()))

    async def speak(self, pcm: bytes) -> None:
        """Send the recording in real time, again and again."""
        self._spoken_from_s, n = time.monotonic(), 0
        chunk_bytes = BYTES_PER_S * CHUNK_MS // 1000
        with suppress(ConnectionError):
            while True:
                for begin in range(0, len(pcm), chunk_bytes):
                    n += 1
                    await asyncio.sleep(max(0.0, self._spoken_from_s + n * CHUNK_MS / 1000 - time.monotonic()))
                    await self._peer.send(pcm[begin : begin + chunk_bytes])

    def faults(self) -> list[str]:
        """Describe everything that is missing after the server has closed the connection."""
        n_finals = len(self._of("final"))
        faults = [f"a bystander: error {event['code']}" for event in self._of("error")]
        if n_finals != len(self._of("speech_start")):
            faults.append(f"a bystander: {n_finals} finals of {len(self._of('speech_start'))} utterances")
        if [event["reason"] for event in self._of("end")] != ["draining"]:
            faults.append(f"a bystander: no `end`, or a wrong one: {self._of('end')}")
        if self._peer.close_code != 1001:
            faults.append(f"a bystander: closed with {self._peer.close_code}")
        return faults

    def _of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    def _receive(self, event: dict[str, Any]) -> None:
        now_s = time.monotonic()
        if event["type"] == "pong":
            sent_s = self._pinged_s.pop(event["id"])
            self._pongs.append((sent_s, 1000 * (now_s - sent_s)))
        elif event["type"] != "partial":
            self.events.append(event)
            if event["type"] == "final":
                end_s = self._spoken_from_s + event["end_ms"] / 1000
                self.finals.append((end_s, 1000 * (now_s - end_s)))
            elif event["type"] == "speech_start":
                self.speech_started.set()


async def newcomers(url: str, over: asyncio.Event) -> list[float | None]:
    """Open one stream after the other, until `over` is set.

    Returns:
        For each stream the time until it was ready, in s, or None if it never was.
    """
    ready_s: list[float | None] = []
    while not over.is_set():
        ready_s.append(await _ready_s(url))
        with suppress(TimeoutError):
            async with asyncio.timeout(NEWCOMER_INTERVAL_S):
                await over.wait()
    return ready_s


async def _ready_s(url: str) -> float | None:
    began_s = time.monotonic()
    try:
        async with asyncio.timeout(NEWCOMER_TIMEOUT_S), raw_peer(url) as peer:
            newcomer = Bystander(peer)
            await newcomer.start()
            took_s = time.monotonic() - began_s
            await peer.send_raw(frame(CLOSE, (1000).to_bytes(2, "big")))
            await peer.receive_all()
    except (TimeoutError, ConnectionError):
        return None
    return took_s
