"""Stream recordings to a server on many connections in real time, and measure captions and cost.

This is the implementation of `livecaption bench`. Each stream is a connection that sends one recording after another
until the time is up, so that the load is steady. A recording that is cut off at the end counts as load only, and is in
no figure. The starts of the streams are spread over the first seconds, so that their pauses do not coincide. The usage
of the server is measured while all of them stream.

The client is one process with one loop. Its own lag is measured too, so that a late client is not mistaken for a slow
server.
"""

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import product
from ssl import SSLContext
from typing import Any

from rich.console import Console
from rich.table import Table

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.client import (
    Reconnected,
    Reconnecting,
    StreamError,
    StreamEvent,
    StreamRefused,
    StreamSettings,
    real_time,
    transcribe,
)
from livecaption.errors import LivecaptionError
from livecaption.evaluation.clips import Clip, read_pcm
from livecaption.evaluation.latency import Received, percentile
from livecaption.evaluation.measurement import Measurement, measure, spread, summarize
from livecaption.evaluation.playlist import GAP_MS, Play, Recording, deal, split
from livecaption.evaluation.server_process import serving
from livecaption.evaluation.usage import look, usage
from livecaption.evaluation.wer import WordErrors
from livecaption.events import ErrorReport

CHUNK_MS = 100
"""Audio in a message, the most that browsers send. It adds half of its duration to every latency."""
CHUNK_BYTES = 2 * SAMPLE_RATE_HZ * CHUNK_MS // 1000

MAX_STAGGER_S = 5.0
"""Time over which the starts of the streams are spread."""
END_TIMEOUT_S = 60.0
"""Time that a server may take for its last events after the last audio."""
LAG_INTERVAL_S = 0.02
MAX_LAG_MS = 50.0
"""p99 of the client's lag above which the figures are doubtful."""
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0


@dataclass(slots=True)
class StreamResult:
    """The result of one stream.

    Attributes:
        measurements: one for each recording that was sent completely.
        n_refusals: number of times that the server refused it.
        error: reason of a failure other than a refusal; such a stream is in no figure.
        reports: errors that the server reported, by code.
    """

    measurements: list[Measurement] = field(default_factory=list)
    n_refusals: int = 0
    error: str | None = None
    reports: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Row:
    """The result for one number of streams: its figures (see `bench`), and each recording that was sent."""

    figures: dict[str, Any]
    plays: list[Measurement]


def load_recordings(clips: Iterable[Clip]) -> list[Recording]:
    """Decode clips to PCM as a browser sends it, padded to whole messages.

    Raises:
        OSError: a file cannot be read.
        InvalidAudio: a file is not audio.
        ValueError: there is no clip.
    """
    recordings = []
    for clip in clips:
        pcm = read_pcm(clip.path)
        pcm += bytes(-len(pcm) % CHUNK_BYTES)
        recordings.append(Recording(clip, pcm, len(pcm) // CHUNK_BYTES * CHUNK_MS))
    if not recordings:
        raise ValueError("no recording matches")
    return recordings


@asynccontextmanager
async def started_server(max_streams: int, *, speakers: bool = False) -> AsyncIterator[str]:
    """Start `livecaption serve` on a free port with the settings of the environment, and yield its URL.

    The server accepts `max_streams` streams, even if admission would accept fewer. With `speakers` they may ask for
    speakers.

    Raises:
        TimeoutError: the server does not become ready; the message has its log.
    """
    flags = ("--speakers",) if speakers else ()
    async with serving("--max-streams", str(max_streams), *flags, engine="") as server:
        await server.logged(r" livecaption: ready$", START_TIMEOUT_S)
        yield await server.listening()
        server.send(signal.SIGTERM)
        with suppress(TimeoutError):  # `serving` then kills it
            await server.exited(STOP_TIMEOUT_S)


async def bench(
    url: str,
    token: str,
    recordings: Sequence[Recording],
    n_streams: int,
    duration_s: float,
    *,
    partials: bool = True,
    speakers: bool = False,
    ssl: SSLContext | None = None,
) -> Row:
    """Stream for about `duration_s` on `n_streams` connections.

    Raises:
        OSError: the figures of the server cannot be read.
    """
    clock = asyncio.get_running_loop().time
    languages = {recording.clip.language for recording in recordings}
    # With recordings of several languages, the model detects the language.
    language = languages.pop() if len(languages) == 1 else None
    settings = StreamSettings(partials=partials, language=language, speakers=speakers)
    stagger_s = min(MAX_STAGGER_S, duration_s / 4)
    begin_s = clock()
    end_s = begin_s + duration_s

    async def publish(number: int, plays: Sequence[Play]) -> StreamResult:
        await asyncio.sleep(stagger_s * number / n_streams)
        return await _publish(url, token, plays, end_s, settings, ssl)

    lags_s: list[float] = []
    watching = asyncio.create_task(_watch_lag(lags_s))
    try:
        async with asyncio.TaskGroup() as tasks:
            streams = [
                tasks.create_task(publish(number, plays))
                for number, plays in enumerate(deal(recordings, n_streams, round(duration_s * 1000)))
            ]
            await asyncio.sleep(stagger_s)
            before = await look(url, token, ssl)
            await asyncio.sleep(end_s - clock())
            after = await look(url, token, ssl)
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    finally:
        watching.cancel()
    results = [stream.result() for stream in streams]
    plays = [measurement for result in results for measurement in result.measurements]
    figures = {
        "streams": n_streams,
        "speakers": speakers,
        "refused": sum(result.n_refusals > 0 for result in results),
        "refusals": sum(result.n_refusals for result in results),
        "failed": sum(result.error is not None for result in results),
        "failures": sorted({result.error for result in results if result.error is not None}),
        "error_reports": dict(sum((result.reports for result in results), Counter[str]())),
        **summarize(plays),
        **usage(before, after),
        "client_lag_ms": {
            rank: percentile([1000 * lag for lag in lags_s], p) for rank, p in (("p50", 50), ("p99", 99))
        },
    }
    return Row(figures, plays)


async def _publish(
    url: str, token: str, plays: Sequence[Play], end_s: float, settings: StreamSettings, ssl: SSLContext | None
) -> StreamResult:
    """Run one stream until `end_s` of the loop's clock. After a refusal, try again when the server allows it."""
    clock = asyncio.get_running_loop().time
    result = StreamResult()
    received: list[Received] = []
    begin_s = 0.0
    said_ms = 0
    fatal = ""

    async def recorded() -> AsyncIterator[bytes]:
        silence = bytes(2 * SAMPLE_RATE_HZ * GAP_MS // 1000)
        for play in plays:
            yield play.recording.pcm
            yield silence

    async def say() -> AsyncIterator[bytes]:
        nonlocal begin_s, said_ms
        begin_s = clock()
        async for chunk in real_time(recorded(), 2 * SAMPLE_RATE_HZ, CHUNK_MS):
            if clock() >= end_s:
                return
            said_ms += CHUNK_MS
            yield chunk

    def receive(event: StreamEvent) -> None:
        nonlocal fatal
        if isinstance(event, Reconnecting | Reconnected):
            return
        if isinstance(event, ErrorReport):
            result.reports[event.code] += 1
            fatal = event.message if event.fatal else fatal
        received.append(Received((clock() - begin_s) * 1000, event))

    def refused(_: StreamError) -> None:
        result.n_refusals += 1

    try:
        async with asyncio.timeout_at(end_s + END_TIMEOUT_S):
            end = await transcribe(
                url, say(), receive, settings, token=token, ssl=ssl, wait_s=end_s - clock(), waiting=refused
            )
    except TimeoutError:
        result.error = f"no end within {END_TIMEOUT_S:.0f} s"
    except (LivecaptionError, OSError) as error:
        if isinstance(error, StreamRefused) and error.retry_after_s is not None:
            result.n_refusals += 1
            return result
        result.error = str(error)
    else:
        if end.reason != "stop":
            result.error = fatal or f"the server ended the stream ({end.reason})"
    if result.error is None:
        complete = [play for play in plays if play.over_ms <= said_ms]
        result.measurements = [
            measure(play.recording.clip, captions)
            for play, captions in zip(complete, split(received, complete), strict=True)
        ]
    return result


async def _watch_lag(lags_s: list[float]) -> None:
    clock = asyncio.get_running_loop().time
    while True:
        due_s = clock() + LAG_INTERVAL_S
        await asyncio.sleep(LAG_INTERVAL_S)
        lags_s.append(clock() - due_s)


def read_baseline(text: str) -> dict[str, WordErrors]:
    """Return the word errors of each recording in the first row of an earlier JSON file.

    Raises:
        ValueError: the text is not such a file.
    """
    errors: dict[str, WordErrors] = {}
    try:
        for play in json.loads(text)["rows"][0]["plays"]:
            if play["word_errors"]:
                errors[play["clip"]] = errors.get(play["clip"], WordErrors()) + WordErrors(**play["word_errors"])
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"the baseline is not a JSON file of bench ({type(error).__name__}: {error})") from None
    return errors


def compare(row: Row, baseline: Mapping[str, WordErrors]) -> None:
    """Add to the row's figures what its WER would have been with the word errors of the baseline.

    `wer_baseline` is that WER. `not_in_baseline` is the number of recordings that are left out because the baseline
    does not have them.
    """
    scored = [play for play in row.plays if play.word_errors and play.word_errors.reference_words]
    known = [play for play in scored if play.clip in baseline]
    words = [play.word_errors.reference_words for play in known if play.word_errors]
    errors = sum(n * (baseline[play.clip].rate or 0.0) for n, play in zip(words, known, strict=True))
    row.figures["wer_baseline"] = errors / sum(words) if words else None
    row.figures["not_in_baseline"] = len(scored) - len(known)


def table(rows: Sequence[Row]) -> Table:
    """Make a table with a line for each number of streams."""
    made = Table(title="Latencies in ms, p50 / p95. CPU in % of one core: server + inference.", title_justify="left")
    titles = (
        *("streams", "refused", "failed", "clips", "WER %", "word shown", "committed", "final", "erasure"),
        *("committed taken back", "RTF", "compute / s", "CPU %", "MiB", "client lag p99"),
    )
    for title in titles:
        made.add_column(title, justify="right")
    for figures in (row.figures for row in rows):
        made.add_row(
            f"{figures['streams']}{', speakers' if figures['speakers'] else ''}",
            str(figures["refused"]),
            str(figures["failed"]),
            str(figures["clips"]),
            " / ".join(_number(figures[key], 1, 100) for key in ("wer", "wer_baseline") if key in figures),
            *(_spread(figures[key]) for key in ("word_shown_ms", "word_committed_ms", "final_ms")),
            _number(figures["taken_back_per_final_word"], 2),
            str(figures["committed_words_taken_back"]),
            _number(figures["rtf"], 3),
            _number(figures["compute_per_audio"], 3),
            f"{_number(figures['server_cpu_percent'])} + {_number(figures['inference_cpu_percent'])}",
            " + ".join(_number(figures[f"{of}_memory_bytes"], factor=2**-20) for of in ("server", "inference")),
            _number(figures["client_lag_ms"]["p99"]),
        )
    return made


def clip_table(row: Row) -> Table:
    """Make a table with a line for each recording that was sent."""
    made = Table(title=f"{row.figures['streams']} streams, recording by recording", title_justify="left")
    made.add_column("clip")
    for title in ("WER %", "first partial", "word shown", "committed", "final", "erasure", "committed taken back"):
        made.add_column(title, justify="right")
    for m in row.plays:
        latencies = ([m.first_partial_latency_ms], m.words_shown_ms, m.words_committed_ms, m.final_latencies_ms)
        made.add_row(
            m.clip,
            _number(m.word_errors.rate if m.word_errors else None, 1, 100),
            *(_spread(spread(values)) for values in latencies),
            _number(m.stability.erasure, 2),
            str(m.stability.committed_taken_back),
        )
    return made


def warnings(rows: Sequence[Row]) -> list[str]:
    """Describe everything that makes the figures doubtful."""
    found = []
    for figures in (row.figures for row in rows):
        at = f"with {figures['streams']} streams"
        if (figures["client_lag_ms"]["p99"] or 0.0) > MAX_LAG_MS:
            found.append(f"{at} this client itself lagged by {figures['client_lag_ms']['p99']:.0f} ms (p99)")
        if figures["error_reports"]:
            found.append(f"{at} the server reported errors: {figures['error_reports']}")
        found += [f"{at} a stream failed: {failure}" for failure in figures["failures"]]
        if figures.get("not_in_baseline"):
            found.append(f"{at} {figures['not_in_baseline']} recordings are not in the baseline")
        if not figures["clips"]:
            found.append(f"{at} no recording was sent to its end")
    return found


def as_json(rows: Sequence[Row]) -> str:
    """Return all figures and transcripts as JSON."""
    report = [row.figures | {"plays": [asdict(play) for play in row.plays]} for row in rows]
    return json.dumps({"rows": report}, ensure_ascii=False, indent=2) + "\n"


def _spread(figures: Mapping[str, Any]) -> str:
    if figures["n"] <= 1:
        return _number(figures["p50"])
    return f"{figures['p50']:.0f} / {figures['p95']:.0f}"


def _number(value: float | None, digits: int = 0, factor: float = 1.0) -> str:
    return "-" if value is None else f"{value * factor:.{digits}f}"


async def run(
    recordings: Sequence[Recording],
    url: str | None,
    token: str,
    sweep: Sequence[int],
    duration_s: float,
    *,
    partials: bool = True,
    speakers: bool = False,
    ssl: SSLContext | None = None,
) -> list[Row]:
    """Return a row for each number of streams, all measured on one server: the one at `url`, or a new one.

    With `speakers` there are two rows: for streams that ask for no speakers, and for the same that do.

    Raises:
        OSError: the server does not start, or its figures cannot be read.
    """
    console = Console(stderr=True, quiet=not sys.stderr.isatty())
    rows = []
    async with AsyncExitStack() as stack:
        if url is None:
            with console.status("Starting the server"):
                url = await stack.enter_async_context(started_server(max(sweep), speakers=speakers))
        for n_streams, asking in product(sweep, (False, True) if speakers else (False,)):
            with console.status(f"{n_streams} streams for {duration_s:.0f} s"):
                row = await bench(
                    url, token, recordings, n_streams, duration_s, partials=partials, speakers=asking, ssl=ssl
                )
            rows.append(row)
    return rows
