"""Stop servers by random signals at random moments, and check for leftovers and lost finals. Linux only.

    python -m livecaption.evaluation.soak RECORDING [--cycles N] [--seed S]

Each cycle starts `livecaption serve` with the scripted engine, and streams the recording in real time as soon as the
server accepts it. After 0 to 4 s it sends SIGINT, SIGTERM, SIGHUP or SIGKILL. The server may leave nothing behind: no
process, port, lock, file or shared memory. After the first three signals, each `speech_start` must have its final. The
exit code must be 0 if the server was already listening.

The same seed gives the same signals at the same moments.
"""

import argparse
import asyncio
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.client import StreamClosed, StreamEvent, StreamRefused, real_time, transcribe
from livecaption.evaluation.clips import read_pcm
from livecaption.evaluation.command import count, reporting
from livecaption.evaluation.server_process import ServerProcess, serving
from livecaption.events import ErrorReport, Final, SpeechStart

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
MAX_DELAY_S = 4.0
BYTES_PER_S = 2 * SAMPLE_RATE_HZ
EXIT_TIMEOUT_S = 10.0
LEFT_AFTER_S = 1.0
"""Time that processes may outlive the server. A worker that just starts notices the end of its server late."""
PHASES = ("unborn", "starting", "loading", "ready", "streaming")
"""The phases of a server's life. An "unborn" server has not run its first line, and may end in any way."""
SCRIPT = "delay 0.1"
LOST_CODES = ("transcription_failed", "worker_died")


@dataclass(frozen=True, slots=True)
class Cycle:
    """One server from its start to its end.

    Attributes:
        number: signal that ended the server.
        phase: phase at the signal, one of `PHASES`.
        took_s: time from the signal to the end of the server process.
        n_finals: finals that the client received.
        faults: descriptions of faults.
    """

    number: signal.Signals
    phase: str
    took_s: float
    n_finals: int
    faults: tuple[str, ...]


def random_end(chance: random.Random) -> tuple[signal.Signals, Awaitable[None]]:
    """Choose a signal and its moment."""
    return chance.choice(SIGNALS), asyncio.sleep(chance.uniform(0, MAX_DELAY_S))


async def run_cycle(pcm: bytes, number: signal.Signals, moment: Awaitable[object]) -> Cycle:
    """Start a server, stream to it, send it the signal when `moment` is over, and check for leftovers."""
    loop = asyncio.get_running_loop()
    events: list[StreamEvent] = []
    async with serving("--model", SCRIPT) as server:
        speaking = asyncio.ensure_future(_speak(server, pcm, events))
        await moment
        phase = _phase(server, events)
        sent_s = loop.time()
        server.send(number)
        exit_code = await server.exited(EXIT_TIMEOUT_S)
        took_s = loop.time() - sent_s
        with suppress(TimeoutError):
            await asyncio.wait_for(speaking, EXIT_TIMEOUT_S)
        faults = await server.leftovers(LEFT_AFTER_S)
        n_finals = sum(isinstance(event, Final) for event in events)
        if phase == "unborn" or number is signal.SIGKILL:
            # A worker whose server is killed while it starts logs a traceback of multiprocessing.
            faults = [fault for fault in faults if not fault.startswith("logged")]
        else:
            if exit_code != 0 and not (phase == "starting" and exit_code == 128 + number):
                faults.append(f"exit code {exit_code} while {phase}")
            n_lost = sum(isinstance(event, SpeechStart) for event in events) - n_finals
            n_lost += sum(isinstance(event, ErrorReport) and event.code in LOST_CODES for event in events)
            if n_lost:
                faults.append(f"{n_lost} finals lost")
    return Cycle(number, phase, took_s, n_finals, tuple(faults))


async def _speak(server: ServerProcess, pcm: bytes, events: list[StreamEvent]) -> None:
    async def say() -> AsyncIterator[bytes]:
        while True:
            yield pcm

    # The stream may end at any moment; the events show which finals are missing.
    with suppress(TimeoutError, StreamRefused, StreamClosed, ConnectionError):
        await transcribe(await server.ready(), real_time(say(), BYTES_PER_S), events.append)


def _phase(server: ServerProcess, events: Sequence[StreamEvent]) -> str:
    if events:
        return "streaming"
    for words, phase in (("livecaption: ready", "ready"), ("listening on", "loading")):
        if words in server.output:
            return phase
    return "starting" if server.catches(signal.SIGTERM) else "unborn"


def table(cycles: Sequence[Cycle]) -> Table:
    """Make a table of the counts and times of all cycles, by signal and phase."""
    result = Table("signal", "phase")
    for heading in ("cycles", "worst s", "finals", "faults"):
        result.add_column(heading, justify="right")
    for number in SIGNALS:
        for phase in PHASES:
            chosen = [cycle for cycle in cycles if (cycle.number, cycle.phase) == (number, phase)]
            if chosen:
                worst_s = max(cycle.took_s for cycle in chosen)
                n_finals = sum(cycle.n_finals for cycle in chosen)
                n_faults = sum(len(cycle.faults) for cycle in chosen)
                result.add_row(number.name, phase, str(len(chosen)), f"{worst_s:.3f}", str(n_finals), str(n_faults))
    return result


@reporting
def main(arguments: Sequence[str]) -> int:
    """Run the command, and return its exit code: 1 if anything was left behind or lost."""
    assert __doc__
    parser = argparse.ArgumentParser("python -m livecaption.evaluation.soak", description=__doc__.split("\n")[0])
    parser.add_argument("recording", type=Path, metavar="RECORDING", help="speech in any container")
    parser.add_argument("--cycles", type=count, default=200, metavar="N", help="servers to start (default: 200)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of moments and signals (default: 0)")
    options = parser.parse_args(arguments)
    pcm = read_pcm(options.recording)
    console = Console(stderr=True)

    async def run() -> list[Cycle]:
        chance = random.Random(options.seed)
        cycles = []
        for _ in track(range(options.cycles), "Soaking", console=console):
            cycles.append(await run_cycle(pcm, *random_end(chance)))
        return cycles

    cycles = asyncio.run(run())
    Console().print(table(cycles))
    faults = Counter(f"{cycle.number.name}, {cycle.phase}: {fault}" for cycle in cycles for fault in cycle.faults)
    for fault, n in faults.items():
        print(f"{n} x {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
