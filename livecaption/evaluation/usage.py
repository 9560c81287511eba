"""Measure what a server used between two moments: CPU, memory, computing time per second of audio.

Most figures come from its `/v1/stats`. The CPU time of its inference processes comes from the operating system, so it
is only measured for a server on this machine.
"""

import asyncio
import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psutil

LOOPBACK = ("localhost", "127.0.0.1", "::1")
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a server at one moment.

    Attributes:
        stats: its `/v1/stats`.
        inference_cpu_s: CPU seconds of its inference processes, by pid; None: unknown.
    """

    stats: Mapping[str, Any]
    inference_cpu_s: Mapping[int, float] | None


async def look(url: str, token: str, ssl: SSLContext | None = None) -> Snapshot:
    """Take a snapshot of the server at `url`.

    Raises:
        OSError: the server does not answer, or its answer has no figures.
    """
    return await asyncio.to_thread(_look, url, token, ssl)


def usage(before: Snapshot, after: Snapshot) -> dict[str, float | None]:
    """Return the usage between two snapshots; a figure is None if it cannot be known.

    `rtf` is computing time per transcribed audio, in which the same audio counts again in each partial.
    `compute_per_audio` is computing time per streamed audio. CPU is in percent of one core. Memory is the resident
    memory at the end.
    """

    def gained(name: str) -> float:
        return float(after.stats[name] - before.stats[name])

    def share(value: float | None, of: float, factor: float = 1.0) -> float | None:
        return None if value is None or not of else value / of * factor

    def server(snapshot: Snapshot, name: str) -> float | None:
        value: float | None = snapshot.stats["server"].get(name)  # only systems with /proc have it
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


def _look(url: str, token: str, ssl: SSLContext | None) -> Snapshot:
    parts = urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    host = parts.netloc.rpartition("@")[2]  # urllib takes no user, and an error must not show the password
    address = urlunsplit((scheme, host, parts.path.rstrip("/") + "/v1/stats", "", ""))
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        request = urllib.request.Request(address, headers=headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=ssl) as answer:
            stats = json.load(answer)
    except (OSError, ValueError) as error:
        raise ConnectionError(f"no figures from {address}: {error}") from None
    return Snapshot(stats, _inference_cpu_s(parts.port) if parts.hostname in LOOPBACK and parts.port else None)


def _inference_cpu_s(port: int) -> dict[int, float] | None:
    """Return the CPU time of the inference processes of the server on this port; None: it runs elsewhere."""
    try:
        listeners = [
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid
        ]
        cpu_s = {}
        for server in _together(psutil.Process(listeners[0])) if listeners else ():
            for process in _spawned(server):
                times = process.cpu_times()
                cpu_s[process.pid] = times.user + times.system
    except psutil.Error:
        return None
    return cpu_s or None


def _together(server: psutil.Process) -> list[psutil.Process]:
    """Return the process of a server and those that serve beside it. With `serve --processes` a parent spawned them."""
    parent = server.parent()
    beside = _spawned(parent) if parent else []
    return beside if server in beside else [server]


def _spawned(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children() if "spawn_main" in " ".join(child.cmdline())]
