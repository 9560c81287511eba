"""A publisher that streams until the server ends the stream, and records all events.

    async with speaking(url, n=20) as publishers:
        await publishers[0].received("speech_start")
        ...
    publishers[0].check_complete()

It uses the protocol directly and not `livecaption.client`, so that it receives what any program receives.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import soundfile

from tests.support.processes import TIMEOUT_FACTOR

JFK = Path(__file__).parent.parent / "data" / "jfk.flac"
SAMPLE_RATE_HZ = 16_000
CHUNK_MS = 50
PAUSE_MS = 1000
"""Silence between two repetitions of the recording."""


@cache
def recorded_pcm(*names: str) -> bytes:
    """Return recordings of `tests/data` with a pause after each, as 16-bit PCM."""
    pcm = b""
    for name in names:
        samples, sample_rate_hz = soundfile.read(JFK.with_name(f"{name}.flac"), dtype="int16")
        assert sample_rate_hz == SAMPLE_RATE_HZ
        pcm += samples.tobytes() + bytes(2 * SAMPLE_RATE_HZ * PAUSE_MS // 1000)
    return pcm


def jfk_pcm() -> bytes:
    """Return 11 s of speech and a pause, as 16-bit PCM."""
    return recorded_pcm(JFK.stem)


class Publisher:
    """One stream. It sends `jfk_pcm` again and again, by default in real time.

    Args:
        socket: a connection on which no `start` was sent yet.
        pace: speed relative to real time; infinity: as fast as the server accepts it.
        start: more fields of the `start` message.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, pace: float, start: dict[str, Any]) -> None:
        self._socket = socket
        self._pace = pace
        self._start = start
        self._news = asyncio.Event()
        self._sent_s = 0.0
        self.events: list[dict[str, Any]] = []
        self.close_code: int | None = None

    async def run(self) -> None:
        """Send and receive until the server closes the connection."""
        await self._socket.send_json({"type": "start", "sample_rate": SAMPLE_RATE_HZ, **self._start})
        self._speaking = speaking = asyncio.ensure_future(self._speak())
        async for message in self._socket:
            self.events.append(json.loads(message.data))
            self._news.set()
        self.close_code = self._socket.close_code
        speaking.cancel()
        await asyncio.wait({speaking})
        self._news.set()

    async def received(self, kind: str, within_s: float = 20.0, **fields: Any) -> dict[str, Any]:
        """Wait for the first event of this type with these fields. It may have arrived before."""
        async with asyncio.timeout(within_s * TIMEOUT_FACTOR):
            while not (found := [event for event in self.of(kind) if fields.items() <= event.items()]):
                assert self.close_code is None, f"closed with {self.close_code}, no {kind} came: {self.events}"
                self._news.clear()
                await self._news.wait()
        return found[0]

    async def stop(self) -> None:
        """End the stream. The server closes it after the last final."""
        self._speaking.cancel()
        await asyncio.wait({self._speaking})
        await self._socket.send_json({"type": "stop"})

    async def streamed(self, seconds: float) -> None:
        """Wait until so much audio was sent."""
        while self._sent_s < seconds:
            assert self.close_code is None, f"closed with {self.close_code}: {self.events}"
            self._news.clear()
            await self._news.wait()

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return all events of this type so far."""
        return [event for event in self.events if event["type"] == kind]

    @property
    def text(self) -> str:
        """The text of all finals so far."""
        return " ".join(final["text"] for final in self.of("final"))

    def check_complete(self, reason: str = "draining", close_code: int = 1001) -> None:
        """Check that nothing is missing: a final with text for each utterance, in order, then `end`, then the close.

        The scripted engine has a word for each 300 ms, so a shorter utterance may have none.
        """
        assert self.close_code == close_code, self.events
        assert [event["seq"] for event in self.events] == list(range(1, len(self.events) + 1))
        utterances = [event["utterance"] for event in self.of("speech_start")]
        assert [final["utterance"] for final in self.of("final")] == utterances
        finals = self.of("final")
        assert all(final["text"] or final["end_ms"] - final["start_ms"] < 300 for final in finals), finals
        assert self.of("error") == []
        end = self.events[-1]
        assert (end["type"], end["reason"], end["utterances"]) == ("end", reason, len(utterances))

    async def _speak(self) -> None:
        loop = asyncio.get_running_loop()
        pcm = jfk_pcm()
        chunk_bytes = 2 * SAMPLE_RATE_HZ * CHUNK_MS // 1000
        began_s = loop.time()
        try:
            while True:
                for begin in range(0, len(pcm), chunk_bytes):
                    await self._socket.send_bytes(pcm[begin : begin + chunk_bytes])
                    self._sent_s += CHUNK_MS / 1000
                    self._news.set()
                    await asyncio.sleep(max(0.0, began_s + self._sent_s / self._pace - loop.time()))
        except aiohttp.ClientError:
            pass  # closed; `run` records how


@asynccontextmanager
async def speaking(url: str, n: int = 1, pace: float = 1.0, **start: Any) -> AsyncIterator[list[Publisher]]:
    """Run `n` streams at a time. Leaving the block waits until the server has closed all of them."""
    connector = aiohttp.TCPConnector(limit=0)  # a limit of 100 would block the 101st
    async with aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as tasks:
        publishers = []
        for _ in range(n):
            socket = await http.ws_connect(f"{url}v1/stream")
            publishers.append(Publisher(socket, pace, start))
            tasks.create_task(publishers[-1].run())
        yield publishers
