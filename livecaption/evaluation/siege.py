"""Attack a real server, and measure whether clients that use it correctly are affected. Linux only.

    python -m livecaption.evaluation.siege RECORDING [--containers 20000] [--seconds 4] [--json FILE]

The server is a separate process on loopback, with the scripted engine and no store. `holds` records which callbacks
hold its loop. Three bystanders are connected all the time: one stream that sends a `ping` every 20 ms, and two that
stream the recording in real time. The attacks of `attacks` run one after the other in another process. Meanwhile a new
stream is opened twice a second. At the end the server gets SIGTERM while an utterance is open.

Before that, `mutants` decodes all damaged containers with the code and in the sandbox of a decoder process, many in one
process. The server gets the first 40 of them over its WebSocket, and each starts its own decoder process.

The exit status is 1 if one of the bounds below is exceeded. The bounds of times are for a machine without other load.
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
from dataclasses import asdict, dataclass, field, replace
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

FLAGS = ("--store", "none", "--model", SCRIPT, "--max-streams", "200")
"""Flags of the server. The limit of streams is high, because a refusal at the limit is no damage by an attack."""
HOLDS = (sys.executable, "-m", "livecaption.evaluation.holds")
"""The program that records the holds of the loop. The file and the flags follow."""
SPOKEN_S = 1.5
"""Duration of the recording in each container."""
N_PUBLISHERS = 2
SENTENCE_TIMEOUT_S = 30.0
SPOKEN_BEFORE_STOP_S = 0.5
WIDTH = 150
MAX_LOGGED = 5
"""Forbidden log lines that are shown for an attack, because the same line is mostly repeated."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The attacks of a siege, and its durations.

    Attributes:
        names: names of the attacks.
        attack_s: duration of attacks that are bounded by time.
        share: factor (0 to 1) of the counts of attacks that are bounded by count.
        n_mutants: damaged containers for the server, each of which starts a decoder process.
        alone_s: time that the bystanders stream before the first attack, to measure the latency of finals without one.
        calm_s: pause between attacks, to measure the latency of undisturbed pongs.
        settle_s: time after which the processes of an attack have ended, and pongs count as undisturbed again.
        forbidden_after: words that may not be in the log after an attack, by its name. Others are never allowed.
    """

    names: Iterable[str] = tuple(ATTACKS)
    attack_s: float = 4.0
    share: float = 1.0
    n_mutants: int = 40
    alone_s: float = 12.0
    calm_s: float = 1.0
    settle_s: float = 1.0
    forbidden_after: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"resets": ("ended: error",)})


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of what an attack may do to the server and to its other clients.

    Attributes:
        pong_median_ms: median latency of pongs. People notice captions that are 100 ms later, which is five times this.
        hold_ms: longest time that a callback may hold the loop: a turn of 2 ms, and the step that exceeds it.
        collector_ms: longest run of the garbage collector. It scans all sessions and messages at once: 20 to 85 ms
            every few minutes.
        finals_growth, finals_slack_ms: the p95 of final latency may grow by a fifth, plus one batch of the scripted
            engine (0.1 s).
        rss_bytes: largest resident memory. The server process has 65 MB at rest, and memory that an attack occupies is
            not available to later sessions.
        ready_s: time until a new stream is ready. A publisher waits for one second without noticing.
        log_lines, log_lines_of_session: log lines that are allowed for an attack, and for each connection that it
            opens: started, refusal, ended.
    """

    pong_median_ms: float = 20.0
    hold_ms: float = 5.0
    collector_ms: float = 100.0
    finals_growth: float = 1.2
    finals_slack_ms: float = 100.0
    rss_bytes: int = 400_000_000
    ready_s: float = 1.0
    log_lines: int = 20
    log_lines_of_session: int = 3


PLAN, BOUNDS = Plan(), Bounds()


@dataclass(frozen=True, slots=True)
class Figures:
    """Latencies in ms; None if there was nothing to measure."""

    pong_median: float | None
    pong_p95: float | None
    pong_worst: float | None
    finals_p95: float | None

    @classmethod
    def of(cls, pongs: Sequence[Timed], finals: Sequence[Timed], spans: Sequence[Timed]) -> Self:
        """Compute the figures of the latencies in some spans of time (begin, end)."""
        pongs_ms, finals_ms = ([ms for at_s, ms in each if _is_in(at_s, spans)] for each in (pongs, finals))
        pong_median, pong_p95, pong_worst = (percentile(pongs_ms, percent) for percent in (50, 95, 100))
        return cls(pong_median, pong_p95, pong_worst, percentile(finals_ms, 95))


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one attack.

    Attributes:
        alone: latencies in all pauses before the attack.
        beside: latencies during the attack.
        hold_ms: longest time that a callback held the server's loop meanwhile, in CPU time.
        collector_ms: longest run of the garbage collector meanwhile.
        rss_before_bytes, rss_peak_bytes: resident memory of the server process.
        ready_s: longest time until a new stream was ready; None: one never was.
        n_log_lines: lines that the server logged meanwhile.
        n_sessions: sessions that the attack and the new streams have opened.
        lives: True if the server still runs.
        outcomes: counts of the answers to the attack, if it counts them.
        faults: descriptions of faults that the attack found.
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


def broken_bounds(row: Row, bounds: Bounds = BOUNDS) -> list[str]:
    """Describe all bounds that are exceeded."""
    broken = list(row.faults)
    if not row.lives:
        broken.append("the server has ended")
    if row.beside.pong_median is None or row.beside.pong_median > bounds.pong_median_ms:
        broken.append(f"pong median {_ms(row.beside.pong_median)} ms")
    if row.alone.finals_p95 is not None and row.beside.finals_p95 is not None:
        limit_ms = bounds.finals_growth * row.alone.finals_p95 + bounds.finals_slack_ms
        if row.beside.finals_p95 > limit_ms:
            broken.append(f"finals p95 {_ms(row.beside.finals_p95)} ms, above {limit_ms:.0f}")
    if row.hold_ms > bounds.hold_ms:
        broken.append(f"the loop was held for {row.hold_ms:.1f} ms")
    if row.collector_ms > bounds.collector_ms:
        broken.append(f"the garbage collector took {row.collector_ms:.0f} ms")
    if row.rss_peak_bytes > bounds.rss_bytes:
        broken.append(f"{row.rss_peak_bytes / 1e6:.0f} MB")
    if row.ready_s is None or row.ready_s > bounds.ready_s:
        broken.append("a new stream was never ready" if row.ready_s is None else f"ready after {row.ready_s:.1f} s")
    if row.n_log_lines > bounds.log_lines + bounds.log_lines_of_session * row.n_sessions:
        broken.append(f"{row.n_log_lines} lines in the log")
    return broken


async def besiege(containers: Mapping[str, bytes], pcm: bytes, plan: Plan) -> tuple[list[Row], list[str]]:
    """Attack a server and stop it.

    Args:
        containers: a recording in all kinds of containers, by name.
        pcm: audio that the bystanders stream.
        plan: the attacks, and the durations.

    Returns:
        A row for each attack, and descriptions of the faults at the end.
    """
    async with AsyncExitStack() as stack:
        # Start this process before the server. Otherwise its shared memory would count as a leftover of the server.
        attacker = stack.enter_context(ProcessPoolExecutor(1, get_context("spawn")))
        await asyncio.get_running_loop().run_in_executor(attacker, os.getpid)  # wait until it has started
        holds_path = Path(stack.enter_context(TemporaryDirectory(prefix="livecaption-siege-")), "holds")
        server = await stack.enter_async_context(serving(*FLAGS, command=(*HOLDS, str(holds_path))))
        url = await server.ready()
        worker_pids = tuple(server.worker_pids)
        bystanders = [Bystander(await stack.enter_async_context(raw_peer(url))) for _ in range(1 + N_PUBLISHERS)]
        pinging, *speaking = bystanders
        sessions = [await bystander.start() for bystander in bystanders]
        runs = [asyncio.ensure_future(pinging.run(pinging.ping()))]
        runs += [asyncio.ensure_future(publisher.run(publisher.speak(pcm))) for publisher in speaking]
        target = Target(
            url, server.pid, worker_pids, sessions[-1], containers, plan.attack_s, plan.share, plan.n_mutants
        )
        alone = [await _span(plan.alone_s)]
        rows: list[Row] = []
        for name in plan.names:
            alone.append(await _span(plan.calm_s))
            rows.append(await _attacked(name, plan, server, target, attacker, pinging, speaking, alone, holds_path))
            if not rows[-1].lives:
                break
        faults = await _stopped(server, target, speaking[0])
        await asyncio.gather(*runs)
        faults += [fault for bystander in bystanders for fault in bystander.faults()]
        return rows, [f"{n} x {fault}" for fault, n in Counter(faults).items()]


async def _attacked(
    name: str,
    plan: Plan,
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
    await asyncio.sleep(plan.settle_s)
    lines = server.lines[n_lines:]
    forbidden = (SECRET, *FORBIDDEN, *plan.forbidden_after.get(name, ()))
    logged = [f"logged: {line}" for line in lines if any(word in line for word in forbidden)]
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
        faults=(*report.faults, *logged[:MAX_LOGGED]),
    )


async def _stopped(server: ServerProcess, target: Target, publisher: Bystander) -> list[str]:
    """Stop the server, if it runs, while an utterance is open and a container is decoded. Describe the faults."""
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
    """Wait, and return the times of the beginning and the end."""
    began_s = time.monotonic()
    await asyncio.sleep(duration_s)
    return began_s, time.monotonic()


async def _peak_bytes(target: Target, over: asyncio.Event) -> int:
    """Return the largest resident memory of the server process, until `over` is set."""
    peak_bytes = 0
    while not over.is_set():
        with suppress(psutil.Error):  # the server has ended
            peak_bytes = max(peak_bytes, target.memory_bytes)
        with suppress(TimeoutError):
            async with asyncio.timeout(PING_INTERVAL_S):
                await over.wait()
    return peak_bytes


def _is_in(at_s: float, spans: Sequence[Timed]) -> bool:
    return any(begin_s <= at_s <= end_s for begin_s, end_s in spans)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def table(rows: Sequence[Row], bounds: Bounds = BOUNDS) -> Table:
    """Make a table of the rows."""
    shown = Table("attack", title="pong: median, p95, worst; alone and beside the attack")
    for heading in (
        *("pong ms", "beside", "finals p95", "beside", "hold ms", "collector"),
        *("ready s", "MB", "peak", "lines", "streams", "broken"),
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
            str(len(broken_bounds(row, bounds)) or ""),
        )
    return shown


def main(arguments: Sequence[str], plan: Plan = PLAN, bounds: Bounds = BOUNDS) -> int:
    """Run the command, and return its exit code: 1 if a bound is exceeded."""
    assert __doc__
    parser = argparse.ArgumentParser("python -m livecaption.evaluation.siege", description=__doc__.split("\n")[0])
    parser.add_argument("recording", type=Path, metavar="RECORDING", help="speech in any container")
    parser.add_argument(
        "--containers", type=int, default=20_000, metavar="N", help="damaged containers to decode (default: 20000)"
    )
    parser.add_argument(
        "--seconds", type=float, default=plan.attack_s, metavar="S", help="duration of an attack (default: %(default)g)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file")
    options = parser.parse_args(arguments)
    pcm = read_pcm(options.recording)
    plan = replace(
        plan,
        names=track(plan.names, "Besieging", console=Console(stderr=True)),
        attack_s=options.seconds,
        n_mutants=min(plan.n_mutants, options.containers),
    )
    containers = {name: encode(pcm[: int(SPOKEN_S * BYTES_PER_S)], kind) for name, kind in KINDS.items()}

    async def run() -> tuple[Tally, list[Row], list[str]]:
        tally = await decode_mutants(containers, options.containers)
        return tally, *await besiege(containers, pcm, plan)

    tally, rows, faults = asyncio.run(run())
    faults = [f"{row.attack}: {what}" for row in rows for what in broken_bounds(row, bounds)] + faults + tally.faults
    Console(width=WIDTH).print(table(rows, bounds))
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
