"""Measure what an upload costs live captions, and whether its text is that of a stream.

    python -m livecaption.evaluation.uploads DIRECTORY PATTERN... [--streams N] [--duration S] [--turns N] [--json FILE]

The first part streams recordings as `livecaption bench` does: without an upload, and while one client uploads all
recordings as one file, again and again. Both take turns on one server, so that other load concerns both. The second
part compares the word errors of ten recordings that are uploaded with those of the same recordings as native streams.
"""

import argparse
import asyncio
import io
import json
import statistics
import sys
import wave
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.client import Endpointing, StreamEvent, StreamSettings, transcribe
from livecaption.evaluation.bench import bench, load_recordings, started_server
from livecaption.evaluation.clips import choose, read_manifest
from livecaption.evaluation.command import count, reporting
from livecaption.evaluation.playlist import Recording
from livecaption.evaluation.wer import WordErrors, word_error_rate
from livecaption.events import Final
from livecaption.speech.endpointing import RECORDINGS

N_COMPARED = 10


@dataclass(frozen=True, slots=True)
class Turn:
    """One measurement. Times are latencies of finals in ms; None: there was none.

    Attributes:
        uploads: whether a client uploaded meanwhile.
        n_failed, n_refused: streams that failed, and streams that were refused.
        n_missing: finals that never came; they are in no latency.
        n_uploaded: uploads that were answered.
    """

    uploads: bool
    p50_ms: float | None
    p95_ms: float | None
    n_failed: int = 0
    n_refused: int = 0
    n_missing: int = 0
    n_uploaded: int = 0

    @classmethod
    def of(cls, figures: Mapping[str, Any], uploads: bool, n_uploaded: int = 0) -> Self:
        """Take what counts here from the figures of a row of `bench`."""
        final_ms = figures["final_ms"]
        return cls(
            uploads,
            final_ms["p50"],
            final_ms["p95"],
            figures["failed"],
            figures["refused"],
            final_ms["missing"],
            n_uploaded,
        )

    @property
    def is_incomplete(self) -> bool:
        """True if its latencies are not those of all streams and finals."""
        return self.p95_ms is None or self.n_failed + self.n_refused + self.n_missing > 0


def as_wav(pcm: bytes) -> bytes:
    """Return 16-bit PCM of 16 kHz as a file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(SAMPLE_RATE_HZ)
        written.writeframes(pcm)
    return file.getvalue()


async def upload(url: str, recording: bytes) -> str:
    """Upload a recording in Deepgram's way, and return its text.

    Raises:
        OSError: the server refuses it.
    """
    server = urlsplit(url)
    reader, writer = await asyncio.open_connection(server.hostname, server.port)
    try:
        head = f"POST /v1/listen?punctuate=true HTTP/1.1\r\nHost: {server.netloc}\r\nContent-Type: audio/wav\r\n"
        writer.write(f"{head}Content-Length: {len(recording)}\r\nConnection: close\r\n\r\n".encode() + recording)
        await writer.drain()
        first, _, answer = (await reader.read()).partition(b"\r\n")
        if b" 200 " not in first:
            raise OSError(f"the upload was refused: {first.decode()}")
        body: Any = json.loads(answer.partition(b"\r\n\r\n")[2])
        return str(body["results"]["channels"][0]["alternatives"][0]["transcript"])
    finally:
        writer.close()


@asynccontextmanager
async def uploading(url: str, recording: bytes) -> AsyncIterator[list[str]]:
    """Upload a recording again and again. Yield the texts so far."""
    texts: list[str] = []

    async def repeat() -> None:
        while True:
            texts.append(await upload(url, recording))

    task = asyncio.create_task(repeat())
    try:
        yield texts
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.wait({task})


async def measure(
    url: str, recordings: Sequence[Recording], n_streams: int, duration_s: float, n_turns: int
) -> list[Turn]:
    """Measure finals with and without an upload, in turns."""
    large = as_wav(b"".join(recording.pcm for recording in recordings))
    turns = []
    for _ in range(n_turns):
        row = await bench(url, "", recordings, n_streams, duration_s)
        turns.append(Turn.of(row.figures, uploads=False))
        async with uploading(url, large) as texts:
            row = await bench(url, "", recordings, n_streams, duration_s)
        turns.append(Turn.of(row.figures, uploads=True, n_uploaded=len(texts)))
    return turns


async def stream(url: str, recording: Recording) -> str:
    """Return the text of a recording that is sent as a native stream, as `transcribe` does."""
    finals: list[Final] = []

    def receive(event: StreamEvent) -> None:
        if isinstance(event, Final):
            finals.append(event)

    async def audio() -> AsyncIterator[bytes]:
        yield recording.pcm

    endpointing = Endpointing(silence_ms=RECORDINGS.hangover_ms, max_utterance_ms=RECORDINGS.max_utterance_ms)
    settings = StreamSettings(language="en", partials=False, endpointing=endpointing)
    await transcribe(url, audio(), receive, settings)
    return " ".join(final.text for final in finals if final.text)


async def compare(url: str, recordings: Sequence[Recording]) -> tuple[WordErrors, WordErrors]:
    """Return the word errors of recordings that are uploaded, and of the same as streams."""
    references = [recording.clip.reference or "" for recording in recordings]
    uploaded = [await upload(url, as_wav(recording.pcm)) for recording in recordings]
    streamed = [await stream(url, recording) for recording in recordings]
    return word_error_rate(references, uploaded), word_error_rate(references, streamed)


def report(turns: Sequence[Turn], uploaded: WordErrors, streamed: WordErrors) -> list[str]:
    """Return the figures as lines for people."""
    lines = []
    p95_ms = []
    for uploads in (False, True):
        chosen = [turn for turn in turns if turn.uploads == uploads]
        beside = f"{'with' if uploads else 'without'} an upload"
        each = ", ".join(f"{_ms(turn.p50_ms)} / {_ms(turn.p95_ms)}" for turn in chosen)
        lines.append(f"finals {beside}, p50 / p95 in ms: {each}")
        if any(turn.is_incomplete for turn in chosen):
            counts = [(turn.n_failed, turn.n_refused, turn.n_missing) for turn in chosen]
            failed, refused, missing = map(sum, zip(*counts, strict=True))
            lines.append(f"INCOMPLETE {beside}: {failed} streams failed, {refused} refused, {missing} finals missing")
        p95_ms.append(statistics.median(turn.p95_ms or 0.0 for turn in chosen))
    if not any(turn.is_incomplete for turn in turns):
        lines.append(f"p95 with an upload: {100 * (p95_ms[1] / p95_ms[0] - 1):+.1f} %")
    lines.append(f"uploads that were answered meanwhile: {sum(turn.n_uploaded for turn in turns)}")
    lines.append(
        f"word errors of {uploaded.reference_words} words: {uploaded.n_errors} uploaded, {streamed.n_errors} streamed"
    )
    return lines


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


async def run(
    recordings: Sequence[Recording], n_streams: int, duration_s: float, n_turns: int
) -> tuple[list[Turn], list[str]]:
    """Measure both parts on a new server, and return the turns and the report."""
    async with started_server(n_streams) as url:
        uploaded, streamed = await compare(url, recordings[:N_COMPARED])
        turns = await measure(url, recordings, n_streams, duration_s, n_turns)
    return turns, report(turns, uploaded, streamed)


@reporting
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code: 1 if a stream failed or was refused, or a final is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path, help="has a manifest.jsonl, as described in evaluation/clips.py")
    parser.add_argument("patterns", nargs="+", metavar="PATTERN", help="ids or tags (*, ?) of recordings with a text")
    parser.add_argument("--streams", type=count, default=24, metavar="N", help="live streams (default: %(default)s)")
    parser.add_argument("--duration", type=float, default=60.0, metavar="S", help="time of each turn in s")
    parser.add_argument("--turns", type=count, default=2, metavar="N", help="turns with and without an upload")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    given = parser.parse_args(arguments)
    recordings = load_recordings(choose(read_manifest(given.directory), given.patterns))
    turns, lines = asyncio.run(run(recordings, given.streams, given.duration, given.turns))
    if given.json:
        given.json.write_text(json.dumps([asdict(turn) for turn in turns], indent=2) + "\n")
    print("\n".join(lines))
    return 1 if any(turn.is_incomplete for turn in turns) else 0


if __name__ == "__main__":
    sys.exit(main())
