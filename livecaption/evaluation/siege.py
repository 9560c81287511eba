"""A real server under attack, beside clients that use it as they should -> whether those notice.

    python -m livecaption.evaluation.siege RECORDING [--containers 20000] [--seconds 4] [--json FILE]

The server is a process of its own with the scripted engine, on loopback, and keeps nothing; `holds` records what holds
its loop. Three bystanders are there
all the time: one stream that sends a `ping` every 20 ms, and two that speak the recording at the pace of speech. Each
attack of `attacks` comes from one more process, one after the other. A new stream is opened twice a second meanwhile.
At the end the server gets SIGTERM in mid-sentence.

All damaged containers are decoded by `mutants` first: by the code and in the sandbox of a decoder process, many in one
process. The server gets the first 40 of them over its WebSocket, each of which starts a decoder process of its own.

Exit status 1 if a bound of those below is broken. The times hold on a machine that has nothing else to do. Linux only.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import psutil
from rich.console import Console
from rich.progress import track
from rich.table import Table

from livecaption.evaluation import attacks, holds
from livecaption.evaluation.attacks import ATTACKS, SECRET
from livecaption.evaluation.bystander import PING_INTERVAL_S, Bystander, Timed, newcomers
from livecaption.evaluation.clips import read_pcm
from livecaption.evaluation.containers import KINDS, encode
from livecaption.evaluation.decoding_attacks import CONTAINER
from livecaption.evaluation.latency import percentile
from livecaption.evaluation.mutants import Tally, decode_mutants
from livecaption.evaluation.peers import raw_peer
from livecaption.evaluation.server_process import FORBIDDEN, ServerProcess, serving
from livecaption.evaluation.soak import BYTES_PER_S, EXIT_TIMEOUT_S, LEFT_AFTER_S, SCRIPT
from livecaption.evaluation.target import Report, Target

MAX_PONG_MEDIAN_MS = 20.0
"""Beside any attack. People notice captions that are 100 ms later; five of these make one."""
MAX_HOLD_MS = 5.0
"""A turn of 2 ms, and the step that exceeds it."""
MAX_COLLECTOR_MS = 100.0
"""The collector of garbage looks through all sessions and messages in one go: 20 to 85 ms each few minutes."""
MAX_FINALS_GROWTH = 1.2
FINALS_SLACK_MS = 100.0
"""The p95 of final latency may grow by a fifth, and by one batch of the scripted engine (0.1 s)."""
MAX_RSS_BYTES = 400_000_000
"""The server process has 65 MB at rest. What an attack leaves in it, no later session can have."""
MAX_READY_S = 1.0
"""A new stream is ready by then. A second is what a publisher waits without wondering."""
MAX_LOG_LINES = 20
MAX_LOG_LINES_OF_SESSION = 3
"""Lines of the log for an attack, and for each connection that it opens: started, why it was refused, ended."""
FORBIDDEN_AFTER = {"resets": ("ended: error",)}
"""What the log has not after an attack, beside what it never has."""

FLAGS = ("--store", "none", "--model", SCRIPT, "--max-streams", "200")
"""The limit is far away: that a server at its limit refuses new streams is no harm done by an attack."""
HOLDS = (sys.executable, "-m", "livecaption.evaluation.holds")
"""The program that records what holds the loop; the file and the flags follow."""
N_SERVER_MUTANTS = 40
SPOKEN_S = 1.5
"""Each container holds so much of the recording."""
ALONE_S = 12.0
"""The bystanders speak for so long before the first attack, for what finals take without one."""
N_PUBLISHERS = 2
CALM_S = 1.0
"""Each attack comes so long after the one before, to tell what an undisturbed pong takes just now."""
SENTENCE_TIMEOUT_S = 30.0
SPOKEN_BEFORE_STOP_S = 0.5
WIDTH = 150
MAX_SAID = 5
"""Forbidden lines of the log that are shown for an attack; one bad one is mostly repeated."""
SETTLE_S = 1.0
"""The processes of an attack are gone by then, and pongs count as undisturbed again."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Latencies in ms; None where there was nothing to measure."""

    pong_median: float | None
    pong_p95: float | None
    pong_worst: float | None
    finals_p95: float | None

    @classmethod
    def of(cls, pongs: Sequence[Timed], finals: Sequence[Timed], spans: Sequence[Timed]) -> Self:
        """Those of what falls into some spans of time (begin, end)."""
        pongs_ms, finals_ms = ([ms for at_s, ms in each if _is_in(at_s, spans)] for each in (pongs, finals))
        pong_median, pong_p95, pong_worst = (percentile(pongs_ms, percent) for percent in (50, 95, 100))
        return cls(pong_median, pong_p95, pong_worst, percentile(finals_ms, 95))


@dataclass(frozen=True, slots=True)
class Row:
    """One attack.

    Attributes:
        alone: of all moments before it in which nothing attacked.
        beside: while it went on.
        hold_ms: the longest that a callback had the server's loop meanwhile, in CPU time.
        collector_ms: the longest that the collector of garbage had it.
        rss_before_bytes, rss_peak_bytes: of the server process.
        ready_s: the longest that a new stream took; None: one was never ready.
        n_log_lines: that the server has written meanwhile.
        n_sessions: that the attack and the new streams have opened.
        lives: whether the server does.
        outcomes: what the attack was answered, where it counts that.
        faults: what the attack found, in words.
    """

    attack: str
    alone: Figures
    beside: Figures
    hold_ms: float
    collector_ms: float
    rss_before_bytes: int
    rss_peak_bytes: int
    ready_s: float | None
    n_log_lines: int
    n_sessions: int
    lives: bool
    outcomes: Mapping[str, int]
    faults: tuple[str, ...]


def broken_bounds(row: Row) -> list[str]:
    """What should not be, in words."""
    broken = list(row.faults)
    if not row.lives:
        broken.append("the server has ended")
    if row.beside.pong_median is None or row.beside.pong_median > MAX_PONG_MEDIAN_MS:
        broken.append(f"pong median {_ms(row.beside.pong_median)} ms")
    if row.alone.finals_p95 is not None and row.beside.finals_p95 is not None:
        limit_ms = MAX_FINALS_GROWTH * row.alone.finals_p95 + FINALS_SLACK_MS
        if row.beside.finals_p95 > limit_ms:
            broken.append(f"finals p95 {_ms(row.beside.finals_p95)} ms, above {limit_ms:.0f}")
    if row.hold_ms > MAX_HOLD_MS:
        broken.append(f"the loop was held for {row.hold_ms:.1f} ms")
    if row.collector_ms > MAX_COLLECTOR_MS:
        broken.append(f"the collector of garbage took {row.collector_ms:.0f} ms")
    if row.rss_peak_bytes > MAX_RSS_BYTES:
        broken.append(f"{row.rss_peak_bytes / 1e6:.0f} MB")
    if row.ready_s is None or row.ready_s > MAX_READY_S:
        broken.append("a new stream was never ready" if row.ready_s is None else f"ready after {row.ready_s:.1f} s")
    if row.n_log_lines > MAX_LOG_LINES + MAX_LOG_LINES_OF_SESSION * row.n_sessions:
        broken.append(f"{row.n_log_lines} lines in the log")
    return broken


async def besiege(
    containers: Mapping[str, bytes],
    pcm: bytes,
    seconds: float,
    *,
    alone_s: float,
    share: float = 1.0,
    n_mutants: int = N_SERVER_MUTANTS,
    names: Iterable[str] = ATTACKS,
) -> tuple[list[Row], list[str]]:
    """Attack a server and stop it; a row for each attack, and what was wrong at the end, in words.

    Args:
        containers: a recording in all kinds, by name.
        pcm: what bystanders speak.
        seconds: how long attacks last that are bounded by time.
        alone_s: how long the bystanders are alone at the beginning.
        share: of the counts of attacks that are bounded by count.
        n_mutants: damaged containers, each of which starts a decoder process.
        names: of the attacks.
    """
    async with AsyncExitStack() as stack:
        # Before the server: what it leaves in shared memory is what was not there before.
        attacker = stack.enter_context(ProcessPoolExecutor(1, get_context("spawn")))
        await asyncio.get_running_loop().run_in_executor(attacker, os.getpid)  # it is started, and its imports are done
        holds_path = Path(stack.enter_context(TemporaryDirectory(prefix="livecaption-siege-")), "holds")
        server = await stack.enter_async_context(serving(*FLAGS, command=(*HOLDS, str(holds_path))))
        url = await server.ready()
        worker_pids = tuple(server.worker_pids)
        bystanders = [Bystander(await stack.enter_async_context(raw_peer(url))) for _ in range(1 + N_PUBLISHERS)]
        pinging, *speaking = bystanders
        sessions = [await bystander.start() for bystander in bystanders]
        runs = [asyncio.ensure_future(pinging.run(pinging.ping()))]
        runs += [asyncio.ensure_future(publisher.run(publisher.speak(pcm))) for publisher in speaking]
        target = Target(url, server.pid, worker_pids, sessions[-1], containers, seconds, share, n_mutants)
        alone = [await _span(alone_s)]
        rows: list[Row] = []
        for name in names:
            alone.append(await _span(CALM_S))
            rows.append(await _attacked(name, server, target, attacker, pinging, speaking, alone, holds_path))
            if not rows[-1].lives:
                break
        faults = await _stopped(server, target, speaking[0])
        await asyncio.gather(*runs)
        faults += [fault for bystander in bystanders for fault in bystander.faults()]
        return rows, [f"{n} x {fault}" for fault, n in Counter(faults).items()]


async def _attacked(
    name: str,
    server: ServerProcess,
    target: Target,
    attacker: ProcessPoolExecutor,
    pinging: Bystander,
    speaking: Sequence[Bystander],
    alone: Sequence[Timed],
    holds_path: Path,
) -> Row:
    n_lines = len(server.lines)
    before_bytes = target.memory_bytes
    over = asyncio.Event()
    others = asyncio.gather(_peak_bytes(target, over), newcomers(target.url, over))
    began_s = time.monotonic()
    report: Report = await asyncio.get_running_loop().run_in_executor(attacker, attacks.run, name, target)
    beside = [(began_s, time.monotonic())]
    over.set()
    peak_bytes, ready_s = await others
    await asyncio.sleep(SETTLE_S)
    lines = server.lines[n_lines:]
    forbidden = (SECRET, *FORBIDDEN, *FORBIDDEN_AFTER.get(name, ()))
    said = [f"it said: {line}" for line in lines if any(word in line for word in forbidden)]
    finals = [final for publisher in speaking for final in publisher.latencies]
    hold_ms, collector_ms = holds.read(holds_path, *beside[0])
    return Row(
        attack=name,
        alone=Figures.of(pinging.latencies, finals, alone),
        beside=Figures.of(pinging.latencies, finals, beside),
        hold_ms=hold_ms,
        collector_ms=collector_ms,
        rss_before_bytes=before_bytes,
        rss_peak_bytes=peak_bytes,
        ready_s=None if None in ready_s else max(each for each in ready_s if each is not None),
        n_log_lines=len(lines),
        n_sessions=report.n_sessions + len(ready_s),
        lives=server.process.poll() is None,
        outcomes=dict(report.outcomes),
        faults=(*report.faults, *said[:MAX_SAID]),
    )


async def _stopped(server: ServerProcess, target: Target, publisher: Bystander) -> list[str]:
    """Stop the server, if it lives, in mid-sentence and while a container is decoded; what is wrong, in words."""
    async with AsyncExitStack() as stack:
        if server.process.poll() is None:
            container = await stack.enter_async_context(raw_peer(target.url))
            await container.send(CONTAINER)
            await container.send(target.containers["mp3"][:-1000])
            publisher.speech_started.clear()
            async with asyncio.timeout(SENTENCE_TIMEOUT_S):
                await publisher.speech_started.wait()
            await asyncio.sleep(SPOKEN_BEFORE_STOP_S)
            server.send(signal.SIGTERM)
        exit_code = await server.exited(EXIT_TIMEOUT_S)
    faults = [] if exit_code == 0 else [f"exit code {exit_code}"]
    return faults + await server.leftovers(LEFT_AFTER_S)


async def _span(duration_s: float) -> Timed:
    """Wait; the moments of the beginning and the end."""
    began_s = time.monotonic()
    await asyncio.sleep(duration_s)
    return began_s, time.monotonic()


async def _peak_bytes(target: Target, over: asyncio.Event) -> int:
    """The most memory that the server process has had resident."""
    peak_bytes = 0
    while not over.is_set():
        with suppress(psutil.Error):  # it has ended
            peak_bytes = max(peak_bytes, target.memory_bytes)
        with suppress(TimeoutError):
            async with asyncio.timeout(PING_INTERVAL_S):
                await over.wait()
    return peak_bytes


def _is_in(at_s: float, spans: Sequence[Timed]) -> bool:
    return any(begin_s <= at_s <= end_s for begin_s, end_s in spans)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def table(rows: Sequence[Row]) -> Table:
    """The rows for people."""
    shown = Table("attack", title="pong: median, p95, worst; alone and beside the attack")
    for heading in (
        "pong ms",
        "beside",
        "finals p95",
        "beside",
        "hold ms",
        "collector",
        "ready s",
        "MB",
        "peak",
        "lines",
        "streams",
        "broken",
    ):
        shown.add_column(heading, justify="right")
    for row in rows:
        cells = []
        for figures in (row.alone, row.beside):
            cells.append(" ".join(map(_ms, (figures.pong_median, figures.pong_p95, figures.pong_worst))))
        shown.add_row(
            row.attack,
            *cells,
            _ms(row.alone.finals_p95),
            _ms(row.beside.finals_p95),
            _ms(row.hold_ms),
            _ms(row.collector_ms),
            "-" if row.ready_s is None else f"{row.ready_s:.2f}",
            f"{row.rss_before_bytes / 1e6:.0f}",
            f"{row.rss_peak_bytes / 1e6:.0f}",
            str(row.n_log_lines),
            str(row.n_sessions),
            str(len(broken_bounds(row)) or ""),
        )
    return shown


def main(arguments: Sequence[str]) -> int:
    """The command and its exit code: 1 if a bound is broken."""
    assert __doc__
    parser = argparse.ArgumentParser("python -m livecaption.evaluation.siege", description=__doc__.split("\n")[0])
    parser.add_argument("recording", type=Path, metavar="RECORDING", help="speech in any container")
    parser.add_argument(
        "--containers", type=int, default=20_000, metavar="N", help="damaged ones to decode (default: 20000)"
    )
    parser.add_argument("--seconds", type=float, default=4.0, metavar="S", help="of an attack (default: 4)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args(arguments)
    pcm = read_pcm(options.recording)
    containers = {name: encode(pcm[: int(SPOKEN_S * BYTES_PER_S)], kind) for name, kind in KINDS.items()}

    async def run() -> tuple[Tally, list[Row], list[str]]:
        tally = await decode_mutants(containers, options.containers)
        names = track(ATTACKS, "Besieging", console=Console(stderr=True))
        n_mutants = min(N_SERVER_MUTANTS, options.containers)
        found = await besiege(containers, pcm, options.seconds, alone_s=ALONE_S, n_mutants=n_mutants, names=names)
        return tally, *found

    tally, rows, faults = asyncio.run(run())
    faults = [f"{row.attack}: {what}" for row in rows for what in broken_bounds(row)] + faults + tally.faults
    Console(width=WIDTH).print(table(rows))
    for row in rows:
        if row.outcomes:
            print(f"{row.attack}: {dict(row.outcomes)}")
    print(f"containers decoded in the sandbox: {dict(tally.outcomes)}, deaths: {len(tally.deaths)}")
    print("\n".join(faults) if faults else "all bounds hold")
    if options.json:
        decoded = {"outcomes": dict(tally.outcomes), "deaths": tally.deaths}
        figures = {"rows": [asdict(row) for row in rows], "containers": decoded, "faults": faults}
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
