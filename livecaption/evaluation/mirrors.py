"""Measure how old events are when another server with the same PostgreSQL has them. It needs an empty database.

    python -m livecaption.evaluation.mirrors postgresql://USER@HOST/DATABASE [--sessions N] [--rate N] [--seconds N]

One process publishes from hubs, of five events one final. A second process follows all of them. Nothing is stored. A
partial that is replaced before it is sent is left out, as for every slow reader.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from livecaption.errors import LivecaptionError
from livecaption.evaluation.command import count, reporting
from livecaption.events import Final, Partial
from livecaption.live.bulletin import decode
from livecaption.live.hub import Hub
from livecaption.live.mirror import Mirror, log_of
from livecaption.live.publication import Publications
from livecaption.store.postgresql.broadcast import NotifyBroadcast

EVENTS_PER_FINAL = 5
PADDING = "word " * 15
LAST_S = 1.0
"""Time in s for which the last events are awaited."""


async def publish(url: str, n_sessions: int, rate: float, seconds: float, follower: Sequence[str]) -> str:
    """Publish events, and return the report of this process and of the one that follows.

    Raises:
        LivecaptionError: the process that follows has failed.
    """
    hubs = {f"session {n}": Hub(session=f"session {n}") for n in range(n_sessions)}
    options = SimpleNamespace(keep=True)
    sessions = {name: SimpleNamespace(id=name, hub=hub, options=options) for name, hub in hubs.items()}
    broadcast = NotifyBroadcast(url)
    publications = Publications(cast(Any, SimpleNamespace(known=sessions.get)), broadcast)
    broadcast.listen(publications.answer, lambda _: None)
    broadcast.start()
    process = await asyncio.create_subprocess_exec(
        *follower, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdout.readline()  # it follows
    began_s, cpu_s, n_published = time.monotonic(), time.process_time(), 0
    while (passed_s := time.monotonic() - began_s) < seconds:
        while n_published < passed_s * rate:
            n, session = divmod(n_published, n_sessions)
            utterance, revision = divmod(n, EVENTS_PER_FINAL)
            text = f"{time.monotonic_ns()} {PADDING}"
            if revision < EVENTS_PER_FINAL - 1:
                hubs[f"session {session}"].publish(Partial(utterance, revision, text, "", 0, 1))
            else:
                hubs[f"session {session}"].publish(Final(utterance, text, 0, 1, "en", 1.0, 0))
            n_published += 1
        await asyncio.sleep(0.001)
    cpu_s = time.process_time() - cpu_s
    await asyncio.sleep(LAST_S)
    report, _ = await process.communicate(b"\n")
    await publications.close()
    await broadcast.close()
    if process.returncode:
        raise LivecaptionError("the process that follows has failed")
    return f"published {n_published} events, {cpu_s / seconds:.2f} s of CPU a second; {report.decode().strip()}"


async def follow(url: str, n_sessions: int) -> None:
    """Follow all sessions until a line comes, and print a report.

    Raises:
        LivecaptionError: no event came.
    """
    broadcast, connected = NotifyBroadcast(url), asyncio.Event()
    broadcast.listen(lambda _: None, lambda _: connected.set())
    broadcast.start()
    await connected.wait()
    mirrors = {f"session {n}": Mirror() for n in range(n_sessions)}
    ages_ms: list[float] = []

    def receive(name: str, text: str | None) -> None:
        now_ns = time.monotonic_ns()
        bulletin = None if text is None else decode(text)
        mirror = mirrors[name]
        mirror.receive(bulletin)
        if mirror.answer is not None:
            mirror.mend(log_of(name, None, mirror.answer), mirror.answer)
        for _, event in bulletin.events if bulletin else ():
            if isinstance(event, Partial | Final):
                ages_ms.append((now_ns - int(event.text.split(maxsplit=1)[0])) / 1e6)

    for name, mirror in mirrors.items():
        mirror.begin_mending()
        broadcast.follow(name, partial(receive, name))
        broadcast.ask(name)
    while not all(mirror.n_received for mirror in mirrors.values()):  # noqa: ASYNC110 - it is only the beginning
        await asyncio.sleep(0.01)
    print("follows", flush=True)
    cpu_s, began_s = time.process_time(), time.monotonic()
    await asyncio.to_thread(sys.stdin.readline)
    cpu_s = (time.process_time() - cpu_s) / (time.monotonic() - began_s)
    n_torn = sum(mirror.is_torn for mirror in mirrors.values())
    if not ages_ms:
        raise LivecaptionError("no event came")
    ages_ms.sort()
    ages = ", ".join(f"{ages_ms[int(part * (len(ages_ms) - 1))]:.1f}" for part in (0.5, 0.95, 0.99, 1.0))
    print(f"received {len(ages_ms)}, {cpu_s:.2f} s; ages p50, p95, p99, oldest (ms): {ages}; torn mirrors: {n_torn}")
    await broadcast.close()


@reporting
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="the address of the database")
    parser.add_argument("--sessions", type=count, default=20, help="how many sessions are followed")
    parser.add_argument("--rate", type=float, default=2000, help="events in a second, of all sessions together")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--follow", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.follow:
        asyncio.run(follow(options.url, options.sessions))
        return 0
    module = [sys.executable, "-m", "livecaption.evaluation.mirrors", options.url]
    follower = [*module, "--sessions", str(options.sessions), "--follow"]
    print(asyncio.run(publish(options.url, options.sessions, options.rate, options.seconds, follower)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
