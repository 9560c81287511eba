"""Decode many damaged containers with the code and in the sandbox of a decoder process.

A decoder process takes 0.4 s of CPU to start, so one for each of 20,000 containers would take an hour. Here one process
decodes many containers, one after the other. It uses the real `decode_container`, FFmpeg, the sandbox with its limits,
and a source that cannot seek. It differs in two points: it sends no messages to the server, and it has decoded other
containers before. If a process dies or hangs, the next one continues after the container that was the cause.
"""

import asyncio
import io
import os
import socket
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from livecaption.audio.container import decode_container
from livecaption.decoding import sandbox
from livecaption.decoding.process import WARM_UP
from livecaption.errors import InvalidAudio
from livecaption.evaluation.containers import mutate
from livecaption.ipc import children
from livecaption.workers.processors import n_processors

DOCUMENTED = frozenset(["end", "invalid_container", "truncated_audio"])
"""The valid outcomes of a container: its end, or one of the error codes of docs/protocol.md."""
HANG_S = 30.0
"""Time without an outcome after which a process counts as hung. A container of a second or two takes less, even on a
busy machine. The sandbox ends a process after 10 s of CPU."""
REAP_TIMEOUT_S = 5.0


@dataclass(slots=True)
class Tally:
    """The outcomes of many containers.

    Attributes:
        outcomes: count of each outcome: `end`, an error code, or the name of an unexpected exception.
        deaths: descriptions of the containers that crashed or hung their process.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    deaths: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """Describe all unexpected outcomes."""
        undocumented = {what: n for what, n in self.outcomes.items() if what not in DOCUMENTED}
        return [f"{n} containers gave {what}" for what, n in undocumented.items()] + self.deaths


def mutant(containers: Mapping[str, bytes], seed: int) -> tuple[str, bytes]:
    """Return the kind of container for this seed, and a damaged container of that kind."""
    name = list(containers)[seed % len(containers)]
    return name, mutate(containers[name], seed)


async def decode_mutants(
    containers: Mapping[str, bytes],
    n: int,
    n_processes: int | None = None,
    *,
    hang_s: float = HANG_S,
    program: str = __name__,
) -> Tally:
    """Decode the mutants with the seeds 0 to n-1, in several processes at a time.

    Args:
        containers: the undamaged containers, by name.
        n: number of mutants.
        n_processes: number of processes at a time. None: one for each processor.
        hang_s: time without an outcome after which a process counts as hung.
        program: the module whose `run` is called in each process.
    """
    tally = Tally()
    n_processes = n_processes or n_processors()
    shares = [range(n * i // n_processes, n * (i + 1) // n_processes) for i in range(n_processes)]
    await asyncio.gather(*(_decode_share(containers, seeds, tally, hang_s, program) for seeds in shares))
    return tally


async def _decode_share(
    containers: Mapping[str, bytes], seeds: range, tally: Tally, hang_s: float, program: str
) -> None:
    while seeds:
        ours, theirs = socket.socketpair()
        with theirs:
            process = children.start("mutants", program, theirs, dict(containers), seeds)
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            async with asyncio.timeout(None) as limit:
                while True:
                    limit.reschedule(asyncio.get_running_loop().time() + hang_s)
                    if not (line := await reader.readline()):
                        break
                    tally.outcomes[line.decode().strip()] += 1
                    seeds = seeds[1:]
        except TimeoutError:
            children.kill(process)
        finally:
            writer.close()
        exit_code = children.reap(process, REAP_TIMEOUT_S)
        if seeds:
            name, _ = mutant(containers, seeds[0])
            tally.deaths.append(f"{name} with seed {seeds[0]}: its process {children.describe_exit(exit_code)}")
            seeds = seeds[1:]


def run(parent: socket.socket, containers: Mapping[str, bytes], seeds: range) -> NoReturn:
    """Run in the process: decode the mutant of each seed, and send its outcome as one line. Then end."""
    for _ in decode_container(io.BytesIO(WARM_UP)):
        pass
    sandbox.enter()
    for seed in seeds:
        sandbox.extend_cpu_limit()
        _, container = mutant(containers, seed)
        what = outcome(container)
        if what not in DOCUMENTED:
            print(f"seed {seed}: {what}", file=sys.stderr)
        os.write(parent.fileno(), f"{what}\n".encode())
    os._exit(0)


def outcome(container: bytes) -> str:
    """Decode a container. Return `end`, its error code, or the name of an unexpected exception."""
    try:
        for _samples in decode_container(_Stream(container)):
            pass
    except InvalidAudio as error:
        return error.code
    except Exception as error:
        return type(error).__name__
    return "end"


class _Stream(io.BytesIO):
    """A container as a client sends it: the decoder cannot seek in it."""

    def seekable(self) -> bool:
        return False
