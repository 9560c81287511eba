"""Stop or kill a real server or its worker in several ways, and measure how long each takes. Linux only.

    python -m livecaption.evaluation.reliability RECORDING [--runs N]

The server has one worker with the scripted engine, which takes 0.3 s for a batch, or 5 s where it must still compute
at the second signal. The time of a stop is from the signal to the end of the server process. With open utterances it is
from the last final that a client received. The times of crashes are from the signal too, and are measured outside the
server.

Without all open utterances, with a final that is missing or with another exit code than expected, there is no figure.
The command then ends with 2.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from livecaption.client import Endpointing, StreamError, StreamEvent, StreamSettings, real_time, transcribe
from livecaption.errors import LivecaptionError
from livecaption.evaluation.clips import read_pcm
from livecaption.evaluation.command import count, reporting
from livecaption.evaluation.process_end import TIMEOUT_FACTOR, ProcessEnd
from livecaption.evaluation.server_process import ServerProcess, serving
from livecaption.evaluation.soak import BYTES_PER_S
from livecaption.events import Final, SpeechEnd, SpeechStart

BATCH_SCRIPT = "delay 0.3"
COMPUTING_SCRIPT = "delay 5"
N_PUBLISHERS = 10
FLAGS = ("--workers=1", f"--max-streams={N_PUBLISHERS}")
"""Flags of the server. It accepts all publishers, even if its engine is slow."""
SETTINGS = StreamSettings(partials=False, endpointing=Endpointing(silence_ms=10_000, max_utterance_ms=28_000))
"""Settings of the streams. No pause of the recording ends an utterance."""
SPOKEN_S = 1.5
"""Time for which an utterance is spoken."""
REACHED_WITHIN_S = 20.0
"""Time in which all utterances begin or end."""
COMPUTING_AFTER_S = 0.5
"""Time after the end of utterances at which the worker computes their finals."""
EXIT_TIMEOUT_S = 20.0
SPAWNED_AFTER_S = 0.5
"""Time after the start of a worker at which it loads its model."""
WORKER_STARTED = r"worker \d+ started \(pid \d+\)"
WORKER_DIED = r"the next one starts in"
SECOND_WORKER_READY = r"worker 2 is ready"

Scenario = Callable[[ServerProcess, bytes], Awaitable[float]]


async def idle_stop(server: ServerProcess, _: bytes) -> float:
    """Stop an idle server."""
    await server.ready()
    return await _end_s(server)


async def stop_while_loading(server: ServerProcess, _: bytes) -> float:
    """Stop while the model loads."""
    await server.listening()
    await asyncio.sleep(0.2)
    return await _end_s(server)


async def stop_with_dead_worker(server: ServerProcess, _: bytes) -> float:
    """Stop just after the worker was killed."""
    await server.ready()
    for pid in server.worker_pids:
        os.kill(pid, signal.SIGKILL)
    return await _end_s(server)


async def stop_with_stopped_worker(server: ServerProcess, _: bytes) -> float:
    """Stop while the worker is stopped by SIGSTOP."""
    await server.ready()
    for pid in server.worker_pids:
        os.kill(pid, signal.SIGSTOP)
    return await _end_s(server)


async def stop_in_mid_sentence(server: ServerProcess, pcm: bytes) -> float:
    """Stop with 10 open utterances, from the last final."""
    async with _publishing(server, pcm) as publishers:
        await publishers.have_open_utterances()
        server.send(signal.SIGTERM)
        await _exited(server)
        await publishers.all_received(Final)
    return server.ended_s - publishers.last_final_s


async def second_signal(server: ServerProcess, pcm: bytes) -> float:
    """Send a second signal, with 10 open utterances."""
    async with _publishing(server, pcm) as publishers:
        await publishers.have_open_utterances()
        server.send(signal.SIGTERM)
        await asyncio.sleep(COMPUTING_AFTER_S)
        publishers.check_no_final()
        return await _end_s(server, 128 + signal.SIGTERM)


async def killed_idle(server: ServerProcess, _: bytes) -> float:
    """Kill the idle server, until its worker has ended."""
    await server.ready()
    return await _worker_gone_s(server)


async def killed_while_computing(server: ServerProcess, pcm: bytes) -> float:
    """Kill the server while its worker computes, until that has ended."""
    async with _publishing(server, pcm[: int(SPOKEN_S * BYTES_PER_S)]) as publishers:
        await publishers.all_received(SpeechEnd)
        await asyncio.sleep(COMPUTING_AFTER_S)
        publishers.check_no_final()
        return await _worker_gone_s(server)


async def killed_while_loading(server: ServerProcess, _: bytes) -> float:
    """Kill the server while the model loads, until its worker has ended."""
    await server.logged(WORKER_STARTED)
    await asyncio.sleep(SPAWNED_AFTER_S)
    return await _worker_gone_s(server)


async def killed_at_the_start_of_a_worker(server: ServerProcess, _: bytes) -> float:
    """Kill the server 0 to 100 ms after it started a worker, until that has ended."""
    await server.logged(WORKER_STARTED)
    await asyncio.sleep(random.uniform(0.0, 0.1))
    return await _worker_gone_s(server)


async def death_noticed(server: ServerProcess, _: bytes) -> float:
    """Kill the worker, until the server logs its death."""
    await server.ready()
    killed_s = _kill_worker(server)
    await server.logged(WORKER_DIED)
    return time.monotonic() - killed_s


async def worker_replaced(server: ServerProcess, _: bytes) -> float:
    """Kill the worker, until a new one is ready."""
    await server.ready()
    killed_s = _kill_worker(server)
    await server.logged(SECOND_WORKER_READY)
    return time.monotonic() - killed_s


SCENARIOS: tuple[tuple[Scenario, str], ...] = (
    (idle_stop, BATCH_SCRIPT),
    (stop_while_loading, "hang-load"),
    (stop_with_dead_worker, BATCH_SCRIPT),
    (stop_with_stopped_worker, BATCH_SCRIPT),
    (stop_in_mid_sentence, BATCH_SCRIPT),
    (second_signal, COMPUTING_SCRIPT),
    (killed_idle, BATCH_SCRIPT),
    (killed_while_computing, COMPUTING_SCRIPT),
    (killed_while_loading, "hang-load"),
    (killed_at_the_start_of_a_worker, BATCH_SCRIPT),
    (death_noticed, BATCH_SCRIPT),
    (worker_replaced, BATCH_SCRIPT),
)


def _kill_worker(server: ServerProcess) -> float:
    """Kill the worker, and return the time of the signal."""
    [pid] = server.worker_pids
    killed_s = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    return killed_s


async def _worker_gone_s(server: ServerProcess) -> float:
    [pid] = server.worker_pids
    with ProcessEnd(pid) as worker:
        killed_s = time.monotonic()
        server.send(signal.SIGKILL)
        return await worker.wait(EXIT_TIMEOUT_S) - killed_s


async def _end_s(server: ServerProcess, exit_code: int = 0) -> float:
    sent_s = time.monotonic()
    server.send(signal.SIGTERM)
    await _exited(server, exit_code)
    return server.ended_s - sent_s


async def _exited(server: ServerProcess, exit_code: int = 0) -> None:
    if (found := await server.exited(EXIT_TIMEOUT_S)) != exit_code:
        raise LivecaptionError(f"the server ended with {found} instead of {exit_code}; its log:\n{server.output}")


class _Publishers:
    """Streams of a recording, which go on until the server ends.

    Attributes:
        last_final_s: time of the last final (time.monotonic).
    """

    def __init__(self) -> None:
        self.last_final_s = 0.0
        self._counts: Counter[type[StreamEvent]] = Counter()
        self._failures: list[Exception] = []
        self._news = asyncio.Event()

    async def have_open_utterances(self) -> None:
        """Wait until each has spoken for a while, and check that no utterance is over."""
        await self.all_received(SpeechStart)
        await asyncio.sleep(SPOKEN_S)
        self.check_no_final()

    async def all_received(self, kind: type[StreamEvent]) -> None:
        """Wait until each has received such an event. A stream has one utterance, and so one event of a kind.

        Raises:
            LivecaptionError: a stream was refused or broke off before, or the event did not come in time.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(REACHED_WITHIN_S * TIMEOUT_FACTOR):
                while self._counts[kind] < N_PUBLISHERS and not self._failures:
                    self._news.clear()
                    await self._news.wait()
        if (n := self._counts[kind]) < N_PUBLISHERS:
            failures = dict(Counter(map(str, self._failures)))
            raise LivecaptionError(f"{n} of {N_PUBLISHERS} streams received {kind.__name__}; failures: {failures}")

    def check_no_final(self) -> None:
        """Check that all utterances still wait for their finals.

        Raises:
            LivecaptionError: a final has come.
        """
        if n := self._counts[Final]:
            raise LivecaptionError(f"{n} of {N_PUBLISHERS} utterances already had their finals")

    async def publish(self, url: str, pcm: bytes) -> None:
        """Run one of the streams."""

        async def say() -> AsyncIterator[bytes]:
            yield pcm

        try:
            await transcribe(url, real_time(say(), BYTES_PER_S), self._receive, SETTINGS)
        except StreamError as error:  # after a forced stop, too
            self._failures.append(error)
            self._news.set()

    def _receive(self, event: StreamEvent) -> None:
        self._counts[type(event)] += 1
        if isinstance(event, Final):
            self.last_final_s = time.monotonic()
        self._news.set()


@asynccontextmanager
async def _publishing(server: ServerProcess, pcm: bytes) -> AsyncIterator[_Publishers]:
    url, publishers = await server.ready(), _Publishers()
    streams = [asyncio.ensure_future(publishers.publish(url, pcm)) for _ in range(N_PUBLISHERS)]
    try:
        yield publishers
    finally:
        for stream in streams:
            stream.cancel()
        await asyncio.wait(streams)


@reporting
def main(arguments: Sequence[str]) -> int:
    """Run the command, and return its exit code."""
    assert __doc__
    parser = argparse.ArgumentParser("python -m livecaption.evaluation.reliability", description=__doc__.split("\n")[0])
    parser.add_argument("recording", type=Path, metavar="RECORDING", help="at least 10 s of speech in any container")
    parser.add_argument("--runs", type=count, default=20, metavar="N", help="number of runs of each kind (default: 20)")
    options = parser.parse_args(arguments)
    pcm = read_pcm(options.recording)

    async def run(scenario: Scenario, script: str) -> float:
        async with serving(*FLAGS, "--model", script) as server:
            return await scenario(server, pcm)

    async def run_all() -> Table:
        result = Table("action")
        result.add_column("median ms", justify="right")
        result.add_column("worst ms", justify="right")
        for scenario, script in SCENARIOS:
            assert scenario.__doc__
            runs = track(range(options.runs), scenario.__doc__, console=Console(stderr=True))
            took_ms = sorted([1000 * await run(scenario, script) for _ in runs])
            result.add_row(scenario.__doc__.rstrip("."), f"{took_ms[len(took_ms) // 2]:.0f}", f"{took_ms[-1]:.0f}")
        return result

    Console().print(asyncio.run(run_all()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
