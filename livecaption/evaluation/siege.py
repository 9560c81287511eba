"""Attack a real server, and measure whether clients that use it correctly are affected. Linux only.

    python -m livecaption.evaluation.siege RECORDING [--containers 20000] [--seconds 4] [--json FILE]

The server is a separate process on loopback, with the scripted engine and no store. `holds` records which callbacks
hold its loop. Three bystanders are connected all the time: one stream that sends a `ping` every 20 ms, and two that
stream the recording in real time. The attacks of `attacks` run one after the other in another process. Meanwhile a new
stream is opened twice a second. At the end the server gets SIGTERM while an utterance is open.

Before that, `mutants` decodes all damaged containers with the code and in the sandbox of a decoder process, many in one
process. The server gets the first 40 of them over its WebSocket, and each starts its own decoder process.

The exit status is 1 if a bound of `bounds` is exceeded. The bounds of times are for a machine without other load.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from rich.console import Console
from rich.progress import track

from livecaption.evaluation import attacks, holds
from livecaption.evaluation.attacks import ATTACKS, SECRET
from livecaption.evaluation.bounds import BOUNDS, Bounds, Figures, Row, broken_bounds, delayed, table, within
from livecaption.evaluation.bystander import PING_INTERVAL_S, Bystander, Timed, newcomers
from livecaption.evaluation.clips import read_pcm
from livecaption.evaluation.command import reporting
from livecaption.evaluation.containers import KINDS, encode
from livecaption.evaluation.decoding_attacks import CONTAINER
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


PLAN = Plan()


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
        attacked: list[tuple[Timed, Callable[..., Row]]] = []
        for name in plan.names:
            alone.append(await _span(plan.calm_s))
            attacked.append(await _attacked(name, plan, server, target, attacker))
            if server.process.poll() is not None:
                break
        faults = await _stopped(server, target, speaking)
        await asyncio.gather(*runs)
        faults += [fault for bystander in bystanders for fault in bystander.faults()]
        # What was late in an attack may come long after it, so latencies are computed at the end.
        pongs, finals = pinging.pongs, [publisher.finals for publisher in speaking]
        rows = []
        for n, (span, row) in enumerate(attacked, start=1):
            before = alone[: n + 1]
            late_ms = [delayed(each, span) for each in finals]
            hold_ms, collector_ms = holds.read(holds_path, *span)
            rows.append(
                row(
                    alone=Figures.of(within(pongs, before), within([*chain(*finals)], before)),
                    beside=Figures.of(within(pongs, [span]), [*chain(*late_ms)] if all(late_ms) else ()),
                    hold_ms=hold_ms,
                    collector_ms=collector_ms,
                )
            )
        return rows, [f"{n} x {fault}" for fault, n in Counter(faults).items()]


async def _attacked(
    name: str,
    plan: Plan,
    server: ServerProcess,
    target: Target,
    attacker: ProcessPoolExecutor,
) -> tuple[Timed, Callable[..., Row]]:
    """Run an attack. Return its span of time, and its row without what is known at the end."""
    n_lines = len(server.lines)
    before_bytes = target.memory_bytes
    over = asyncio.Event()
    others = asyncio.gather(_peak_bytes(target, over), newcomers(target.url, over))
    began_s = time.monotonic()
    report: Report = await asyncio.get_running_loop().run_in_executor(attacker, attacks.run, name, target)
    ended_s = time.monotonic()
    over.set()
    peak_bytes, ready_s = await others
    await asyncio.sleep(plan.settle_s)
    lines = server.lines[n_lines:]
    forbidden = (SECRET, *FORBIDDEN, *plan.forbidden_after.get(name, ()))
    logged = [f"logged: {line}" for line in lines if any(word in line for word in forbidden)]
    row = partial(
        Row,
        attack=name,
        rss_before_bytes=before_bytes,
        rss_peak_bytes=peak_bytes,
        ready_s=None if None in ready_s else max(each for each in ready_s if each is not None),
        n_log_lines=len(lines),
        n_sessions=report.n_sessions + len(ready_s),
        lives=server.process.poll() is None,
        outcomes=dict(report.outcomes),
        faults=(*report.faults, *logged[:MAX_LOGGED]),
    )
    return (began_s, ended_s), row


async def _stopped(server: ServerProcess, target: Target, publishers: Sequence[Bystander]) -> list[str]:
    """Stop the server, if it runs, while utterances are open and a container is decoded. Describe the faults."""
    faults = []
    async with AsyncExitStack() as stack:
        if server.process.poll() is None:
            container = await stack.enter_async_context(raw_peer(target.url))
            await container.send(CONTAINER)
            await container.send(target.containers["mp3"][:-1000])
            for publisher in publishers:
                publisher.speech_started.clear()
            try:
                async with asyncio.timeout(SENTENCE_TIMEOUT_S):
                    for publisher in publishers:
                        await publisher.speech_started.wait()
            except TimeoutError:
                faults.append(f"a bystander: no utterance began within {SENTENCE_TIMEOUT_S:.0f} s")
            await asyncio.sleep(SPOKEN_BEFORE_STOP_S)
            server.send(signal.SIGTERM)
        exit_code = await server.exited(EXIT_TIMEOUT_S)
    faults += [] if exit_code == 0 else [f"exit code {exit_code}"]
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


@reporting
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
