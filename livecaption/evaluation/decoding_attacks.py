"""Attacks on the decoders of containers. The attacks on the rest of the server are in `attacks`."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack, suppress

import psutil

from livecaption.evaluation.containers import flac_of_silence
from livecaption.evaluation.mutants import DOCUMENTED, mutant
from livecaption.evaluation.peers import RawPeer, raw_peer
from livecaption.evaluation.target import Report, Target

CONTAINER = {"type": "start", "encoding": "auto"}
N_BOMBS = 4
N_SURROUND = 8
MUTANTS_AT_A_TIME = 4
ANSWER_TIMEOUT_S = 30.0
"""Time to wait for an event. A stream whose decoder was stopped ends after 10 s, or later on a busy machine."""


async def bombs(target: Target) -> Report:
    """Send FLACs of 40 KB with 6.8 h of silence: they decode to 1.6 GB of samples unless decoding is held back."""
    bomb = flac_of_silence(3000)

    async def attack() -> None:
        async with raw_peer(target.url) as peer:
            await peer.send(CONTAINER)
            await peer.send(bomb)
            while await peer.receive():
                pass

    with suppress(TimeoutError):
        async with asyncio.timeout(target.seconds):
            await asyncio.gather(*(attack() for _ in range(N_BOMBS)))
    return Report(N_BOMBS)


async def surround(target: Target) -> Report:
    """Send recordings with eight channels, whose planes PyAV counts wrongly."""
    name, n = "7.1 adts of aac", target.count(N_SURROUND)
    report = Report(n)
    for _ in range(n):
        report.outcomes[await outcome_of(target.url, target.containers[name])] += 1
    if set(report.outcomes) != {"end"}:
        report.faults.append(f"a valid recording gave {dict(report.outcomes)}")
    return report


async def faults_of_decoders(target: Target) -> Report:
    """Kill and stop the decoders of streams: each costs its own stream only."""
    numbers = (signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP)
    report = Report(len(numbers) + 1)
    recording = target.containers["mp3"]
    half = len(recording) // 2
    async with AsyncExitStack() as stack:
        peers = []
        for _ in range(report.n_sessions):
            peers.append(await stack.enter_async_context(raw_peer(target.url)))
            await peers[-1].send(CONTAINER)
            await peers[-1].send(recording[:half])
            # After the `ack`, the decoder of this stream runs. Each stream takes the oldest spare decoder.
            await _event(peers[-1], "ack")
        for pid, number in zip(_decoder_pids(target), numbers, strict=False):
            os.kill(pid, number)
        outcomes = await asyncio.gather(*(_rest(peer, recording[half:]) for peer in peers))
    report.outcomes.update(outcomes)
    if outcomes != ["invalid_container"] * len(numbers) + ["end"]:
        report.faults.append(f"streams whose decoders got {[each.name for each in numbers]} or nothing: {outcomes}")
    return report


async def mutants(target: Target) -> Report:
    """Send damaged containers, several at a time. Each gets its own decoder process."""
    report = Report(target.n_mutants)
    at_a_time = asyncio.Semaphore(MUTANTS_AT_A_TIME)

    async def attack(seed: int) -> None:
        name, container = mutant(target.containers, seed)
        async with at_a_time:
            what = await outcome_of(target.url, container)
        report.outcomes[what] += 1
        if what not in DOCUMENTED:
            report.faults.append(f"{name} with seed {seed}: {what}")

    await asyncio.gather(*(attack(seed) for seed in range(target.n_mutants)))
    return report


async def outcome_of(url: str, container: bytes) -> str:
    """Stream a container. Return `end`, the code of its first error, or `closed` if the stream had no `end`."""
    try:
        async with raw_peer(url) as peer:
            await peer.send(CONTAINER)
            return await _rest(peer, container)
    except ConnectionError:
        return "closed"


async def _rest(peer: RawPeer, container: bytes) -> str:
    """Send the rest of a container and `stop`, and return the outcome."""

    async def send() -> None:
        with suppress(ConnectionError):  # the server may close the stream earlier
            for begin in range(0, len(container), 4000):
                await peer.send(container[begin : begin + 4000])
            await peer.send({"type": "stop"})

    sending = asyncio.ensure_future(send())
    code, ended = "end", False
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            async for event in peer.events():
                ended |= event["type"] == "end"
                if event["type"] == "error" and code == "end":
                    code = event["code"]  # only the first: audio after a fatal error is an error too
    except TimeoutError:
        return "no answer"
    finally:
        sending.cancel()
        await asyncio.wait({sending})
    return code if ended else "closed"


async def _event(peer: RawPeer, kind: str) -> None:
    async for event in peer.events():
        if event["type"] == kind:
            return
    raise ConnectionError(f"the stream ended before {kind}")


def _decoder_pids(target: Target) -> list[int]:
    """Return the process ids of the decoders, the oldest first."""
    children = psutil.Process(target.pid).children()
    ours = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    pids = [child.pid for child in sorted(ours, key=lambda child: (child.create_time(), child.pid))]
    return [pid for pid in pids if pid not in target.worker_pids]
