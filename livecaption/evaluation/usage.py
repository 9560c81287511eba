"""A server at two moments -> what it took in between: CPU, memory, time of computing for a second of audio.

Most comes from its `/v1/stats`. The CPU time of its inference processes only the system knows, so it is measured for a
server on this machine alone.
"""

import asyncio
import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psutil

LOOPBACK = ("localhost", "127.0.0.1", "::1")
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A server at a moment.

    Attributes:
        stats: its `/v1/stats`.
        inference_cpu_s: seconds of CPU by pid of its inference processes; None: unknown.
    """

    stats: Mapping[str, Any]
    inference_cpu_s: Mapping[int, float] | None


async def look(url: str, token: str) -> Snapshot:
    """The server at `url` now.

    Raises:
        OSError: it does not answer, or not so.
    """
    return await asyncio.to_thread(_look, url, token)


def usage(before: Snapshot, after: Snapshot) -> dict[str, float | None]:
    """What was used in between; None where that cannot be known.

    `rtf` is computing time over transcribed audio, in which the audio of each partial counts anew; `compute_per_audio`
    is computing time over audio that was streamed. CPU in percent of one core. Memory (resident) as of the end.
    """

    def gained(name: str) -> float:
        return float(after.stats[name] - before.stats[name])

    def share(value: float | None, of: float, factor: float = 1.0) -> float | None:
        return None if value is None or not of else value / of * factor

    def server(snapshot: Snapshot, name: str) -> float | None:
        value: float | None = snapshot.stats["server"].get(name)  # where there is /proc
        return value

    elapsed_s = gained("at_s")
    cpu_s = [server(snapshot, "cpu_seconds") for snapshot in (before, after)]
    server_cpu_s = None if cpu_s[0] is None or cpu_s[1] is None else cpu_s[1] - cpu_s[0]
    inference_cpu_s = None
    if (
        before.inference_cpu_s
        and after.inference_cpu_s
        and before.inference_cpu_s.keys() == after.inference_cpu_s.keys()
    ):
        inference_cpu_s = sum(after.inference_cpu_s.values()) - sum(before.inference_cpu_s.values())
    batches = {int(size): n - before.stats["batches"].get(size, 0) for size, n in after.stats["batches"].items()}
    return {
        "rtf": share(gained("compute_s"), gained("transcribed_audio_s")),
        "compute_per_audio": share(gained("compute_s"), gained("received_audio_s")),
        "mean_batch_size": share(sum(size * n for size, n in batches.items()), sum(batches.values())),
        "redone_finals": gained("redone_finals"),
        "runaway_texts": gained("runaway_texts"),
        "server_cpu_percent": share(server_cpu_s, elapsed_s, 100),
        "inference_cpu_percent": share(inference_cpu_s, elapsed_s, 100),
        "server_memory_bytes": server(after, "resident_memory_bytes"),
        "inference_memory_bytes": sum(worker["resident_memory_bytes"] or 0 for worker in after.stats["workers"]),
    }


def _look(url: str, token: str) -> Snapshot:
    parts = urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    address = urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + "/v1/stats", "", ""))
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=TIMEOUT_S) as answer:
            stats = json.load(answer)
    except (OSError, ValueError) as error:
        raise ConnectionError(f"no figures from {address}: {error}") from None
    return Snapshot(stats, _inference_cpu_s(parts.port) if parts.hostname in LOOPBACK and parts.port else None)


def _inference_cpu_s(port: int) -> dict[int, float] | None:
    """Of the processes that Python's multiprocessing started for whoever listens on the port; None: it is not ours."""
    try:
        listeners = [
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid
        ]
        cpu_s = {}
        for process in psutil.Process(listeners[0]).children(recursive=True) if listeners else ():
            if "spawn_main" in " ".join(process.cmdline()):
                times = process.cpu_times()
                cpu_s[process.pid] = times.user + times.system
    except psutil.Error:
        return None
    return cpu_s or None
