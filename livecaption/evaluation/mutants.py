"""Many damaged containers, each decoded by the code and in the sandbox of a decoder process.

A decoder process takes 0.4 s of CPU to start, so that one for each of 20,000 containers would take an hour. Here a
process decodes one after the other. What is real: `decode_container`, FFmpeg, the sandbox with its limits, a source
that cannot seek. What is not: the messages to the server, and that a process has seen no other container before.
A process that dies or hangs costs the container that it was at; its successor begins behind that one.
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

DOCUMENTED = frozenset(["end", "invalid_container", "truncated_audio"])
"""What may become of a container: it ends, or one of the codes of docs/protocol.md."""
HANG_S = 30.0
"""One container of a second or two takes less, on a busy machine too. The sandbox ends a process after 10 s of CPU."""
REAP_TIMEOUT_S = 5.0
PROGRAM = __name__
"""Whose `run` decodes."""


@dataclass(slots=True)
class Tally:
    """What became of many containers.

    Attributes:
        outcomes: how often each: `end`, a code, or the name of an exception that should not be.
        deaths: the containers that ended or hung their process, in words.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    deaths: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """What should not be, in words."""
        undocumented = {what: n for what, n in self.outcomes.items() if what not in DOCUMENTED}
        return [f"{n} containers gave {what}" for what, n in undocumented.items()] + self.deaths


def mutant(containers: Mapping[str, bytes], seed: int) -> tuple[str, bytes]:
    """The name of the kind that this seed takes its turn at, and its damaged container."""
    name = list(containers)[seed % len(containers)]
    return name, mutate(containers[name], seed)


async def decode_mutants(containers: Mapping[str, bytes], n: int, n_processes: int = os.cpu_count() or 1) -> Tally:
    """Decode the mutants with the seeds 0 to n-1, in some processes at a time."""
    tally = Tally()
    shares = [range(n * i // n_processes, n * (i + 1) // n_processes) for i in range(n_processes)]
    await asyncio.gather(*(_decode_share(containers, seeds, tally) for seeds in shares))
    return tally


async def _decode_share(containers: Mapping[str, bytes], seeds: range, tally: Tally) -> None:
    while seeds:
        ours, theirs = socket.socketpair()
        with theirs:
            process = children.start("mutants", PROGRAM, theirs, dict(containers), seeds)
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            async with asyncio.timeout(None) as limit:
                while True:
                    limit.reschedule(asyncio.get_running_loop().time() + HANG_S)
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
    """Live the life of a process, once its lifeline holds: one line for each seed, then the end."""
    for _ in decode_container(io.BytesIO(WARM_UP)):
        pass
    sandbox.enter()
    for seed in seeds:
        sandbox.renew_cpu_time()
        _, container = mutant(containers, seed)
        what = outcome(container)
        if what not in DOCUMENTED:
            print(f"seed {seed}: {what}", file=sys.stderr)
        os.write(parent.fileno(), f"{what}\n".encode())
    os._exit(0)


def outcome(container: bytes) -> str:
    """Decode a container: `end`, the code of its error, or the name of an exception that should not be."""
    try:
        for _samples in decode_container(_Stream(container)):
            pass
    except InvalidAudio as error:
        return error.code
    except Exception as error:
        return type(error).__name__
    return "end"


class _Stream(io.BytesIO):
    """A container as it comes from a client: nobody can go back in it."""

    def seekable(self) -> bool:
        return False
