"""Recorded clips -> a server, at the pace at which they were spoken -> what readers got, in figures.

    python -m livecaption.evaluation.replay --data DIR [--server URL] [--streams N] [ID ...]

DIR holds recordings and their manifest (see `clips`). Each clip is a stream of its own in real time,
so a run takes as long as its audio divided by the number of streams. Without --server one is started
in this process, with the settings of the environment.

The only module of the evaluation that knows the network and the clock.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.audio.container import decode_container
from livecaption.client import real_time, transcribe
from livecaption.config import load_config
from livecaption.errors import LivecaptionError
from livecaption.evaluation.clips import Clip, read_manifest
from livecaption.evaluation.latency import Received
from livecaption.evaluation.measurement import Measurement, measure, spread, summarize
from livecaption.events import Event

BYTES_PER_S = SAMPLE_RATE_HZ * 2

TRAILING_SILENCE_S = 2.0
"""Sent after each clip, so that its last utterance ends by silence, as in a room, and not by `stop`."""


async def replay(clip: Clip, url: str, token: str) -> Measurement:
    """Stream one clip in real time and measure what comes back."""
    clock = asyncio.get_running_loop().time
    begin_s = 0.0
    received: list[Received] = []

    async def say(pcm: bytes) -> AsyncIterator[bytes]:
        nonlocal begin_s
        begin_s = clock()
        yield pcm
        yield bytes(int(TRAILING_SILENCE_S * BYTES_PER_S))

    def receive(event: Event) -> None:
        received.append(Received((clock() - begin_s) * 1000, event))

    try:
        pcm = await asyncio.to_thread(_read_pcm, clip.path)
        await transcribe(url, real_time(say(pcm), BYTES_PER_S), receive, language=clip.language, token=token)
    except (LivecaptionError, OSError) as error:
        return Measurement(clip.id, error=str(error))
    return measure(clip, received)


async def replay_all(
    clips: Sequence[Clip], url: str, token: str, n_streams: int, done: Callable[[Measurement], None]
) -> None:
    """Replay clips in their order, `n_streams` at a time; `done` is told of each as it ends."""
    waiting = iter(clips)

    async def publish() -> None:
        for clip in waiting:
            done(await replay(clip, url, token))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(n_streams):
            tasks.create_task(publish())


def table(measurements: Sequence[Measurement], summary: dict[str, Any]) -> Table:
    """A row for each clip, and below it the whole run's."""
    made = Table(title="Latencies in ms, p50 / p95; words taken back per final word", title_justify="left")
    made.add_column("clip")
    for title in ("WER %", "first partial", "word shown", "word committed", "final", "taken back", "of committed"):
        made.add_column(title, justify="right")
    for m in measurements:
        if m.error is not None:
            made.add_row(m.clip, f"failed: {m.error}")
            continue
        latencies = ([m.first_partial_latency_ms], m.words_shown_ms, m.words_committed_ms, m.final_latencies_ms)
        made.add_row(
            m.clip,
            _percent(m.word_errors.rate if m.word_errors else None),
            *(_figures(spread(values)) for values in latencies),
            f"{m.stability.erasure:.2f}",
            str(m.stability.committed_taken_back),
        )
    made.add_section()
    made.add_row(
        f"{summary['clips']} clips, {summary['failed']} failed",
        _percent(summary["wer"]),
        *(_figures(summary[key]) for key in ("first_partial_ms", "word_shown_ms", "word_committed_ms", "final_ms")),
        f"{summary['taken_back_per_final_word']:.2f}",
        str(summary["committed_words_taken_back"]),
    )
    return made


def _figures(spread_ms: dict[str, Any]) -> str:
    if not spread_ms["n"]:
        return "-"
    if spread_ms["n"] == 1:
        return f"{spread_ms['p50']:.0f}"
    return f"{spread_ms['p50']:.0f} / {spread_ms['p95']:.0f}"


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{rate * 100:.1f}"


def _read_pcm(path: Path) -> bytes:
    """16-bit PCM, mono, 16 kHz: what a browser would send."""
    with path.open("rb") as file:
        return b"".join((samples * 32767).astype("<i2").tobytes() for samples in decode_container(file))


def main(arguments: Sequence[str]) -> int:
    """The command and its exit code: 1 if a clip could not be streamed."""
    assert __doc__
    parser = argparse.ArgumentParser("python -m livecaption.evaluation.replay", description=__doc__.split("\n")[0])
    parser.add_argument("ids", nargs="*", metavar="ID", help="clips to replay; * and ? are allowed (default: all)")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="directory with manifest.jsonl")
    parser.add_argument("--server", metavar="URL", help="a running server (default: start one)")
    parser.add_argument("--streams", type=int, default=1, metavar="N", help="clips at the same time (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures and transcripts to a file")
    options = parser.parse_args(arguments)
    try:
        clips = read_manifest(options.data)
        config = load_config(argparse.Namespace(), os.environ)
    except (LivecaptionError, OSError, ValueError) as error:
        parser.error(str(error))
    if options.ids:
        clips = [clip for clip in clips if any(fnmatch(clip.id, pattern) for pattern in options.ids)]
    if not clips:
        parser.error("no such clip in the manifest")

    measurements: list[Measurement] = []

    async def run() -> None:
        async with AsyncExitStack() as stack:
            url = options.server
            if url is None:
                from livecaption.server.lifecycle import running_server

                url = await stack.enter_async_context(running_server(config))
            progress = stack.enter_context(Progress(console=Console(stderr=True)))
            task = progress.add_task("Replaying", total=len(clips))

            def done(measurement: Measurement) -> None:
                measurements.append(measurement)
                progress.advance(task)

            await replay_all(clips, url, config.server.token, options.streams, done)

    try:
        asyncio.run(run())
    except LivecaptionError as error:
        print(error, file=sys.stderr)
        return 1
    summary = summarize(measurements)
    # In a file or pipe nobody can widen the window.
    Console(width=None if sys.stdout.isatty() else 160).print(table(measurements, summary))
    if options.json:
        report = {"summary": summary, "clips": [asdict(measurement) for measurement in measurements]}
        options.json.write_text(json.dumps(report, ensure_ascii=False, indent=2) + "\n")
    return 1 if summary["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
