"""Measure the accuracy of captions in virtual time, with recordings, and compare it with faster-whisper alone.

    python -m livecaption.evaluation.virtual_time DIRECTORY [PATTERN...] [--model NAME] [--translate] [--json FILE]

Each recording is one stream, whose audio arrives in chunks. Each request of the stream is answered `ANSWER_MS` of
stream time later, no matter how long the engine took. The captions are therefore those that one stream gets from an
idle server, and they are the same in each run. faster-whisper transcribes the whole recording with its defaults. FILE
is a baseline for `livecaption bench`, which shows how much accuracy the same recordings lose on a busy server.
"""

import argparse
import itertools
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.engine.engine import Engine, answered
from livecaption.engine.models import find_model
from livecaption.engine.processor import tune_processor
from livecaption.evaluation import bench
from livecaption.evaluation.clips import Clip, choose, read_manifest
from livecaption.evaluation.command import reporting
from livecaption.evaluation.latency import SAME_SPEECH_MS, Received
from livecaption.evaluation.measurement import Measurement, measure
from livecaption.evaluation.playlist import GAP_MS, Recording
from livecaption.evaluation.stability import Stability
from livecaption.evaluation.wer import WordErrors, word_error_rate
from livecaption.events import Event, Final, Partial
from livecaption.ipc.config import EngineConfig
from livecaption.pipeline.options import StreamOptions
from livecaption.pipeline.stream import Output, StreamPipeline
from livecaption.recognition import Hypothesis, RequestId, SessionId, TranscriptionOptions
from livecaption.scheduling.load_control import ServiceLevel
from livecaption.scheduling.request import Request

CHUNK_MS = 100
CHUNK_BYTES = SAMPLE_RATE_HZ * 2 * CHUNK_MS // 1000
ANSWER_MS = 100
"""Time that tiny.en takes for one window on a CPU, roughly."""
THREADS = 2
SERVICE_LEVEL = ServiceLevel(partial_interval_ms=500, effort="full")

Transcribe = Callable[[Request], Hypothesis]
TranscribeWhole = Callable[[Recording, TranscriptionOptions], str]


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one recording.

    Attributes:
        measurement: accuracy, latencies and stability.
        alone: word errors of faster-whisper on the whole recording; None: it did not run, or there is no reference.
        n_finals: finals with text.
        n_partials: all partials.
        n_in_silence: finals with text where the reference has no word; 0 if the reference has no times.
        languages: languages of the finals.
    """

    measurement: Measurement
    alone: WordErrors | None
    n_finals: int
    n_partials: int
    n_in_silence: int
    languages: tuple[str, ...]


def stream(recording: Recording, transcribe: Transcribe, options: StreamOptions) -> list[Received]:
    """Return the events that a publisher receives which streams the recording in real time."""
    received: list[Received] = []
    # All answers have the same delay, so they arrive in the order of the requests.
    answers: deque[tuple[int, Request, Hypothesis]] = deque()
    numbers = itertools.count()
    pipeline = StreamPipeline(SessionId("virtual"), options, lambda: SERVICE_LEVEL, lambda: RequestId(next(numbers)))

    def handle(outputs: Sequence[Output], now_ms: int) -> None:
        for output in outputs:
            if isinstance(output, Request):
                answers.append((now_ms + ANSWER_MS, output, transcribe(output)))
            elif isinstance(output, Event):
                received.append(Received(now_ms, output))

    pcm = recording.pcm + bytes(2 * SAMPLE_RATE_HZ * GAP_MS // 1000)
    now_ms = 0
    for begin in range(0, len(pcm), CHUNK_BYTES):
        now_ms += CHUNK_MS
        handle(pipeline.receive_audio(pcm[begin : begin + CHUNK_BYTES], now_ms / 1000), now_ms)
        while answers and answers[0][0] <= now_ms:
            _, request, hypothesis = answers.popleft()
            handle(pipeline.receive_answer(request, hypothesis, now_ms / 1000), now_ms)
    handle(pipeline.end("stop", now_ms / 1000), now_ms)
    while answers:
        now_ms, request, hypothesis = answers.popleft()
        handle(pipeline.receive_answer(request, hypothesis, now_ms / 1000), now_ms)
    return received


def measure_row(recording: Recording, transcribe: Transcribe, options: StreamOptions, alone: str | None) -> Row:
    """Measure one recording. `alone` is faster-whisper's text of the whole recording."""
    clip = recording.clip
    received = stream(recording, transcribe, options)
    events = [item.event for item in received]
    finals = [event for event in events if isinstance(event, Final) and event.text]
    return Row(
        measurement=measure(clip, received),
        alone=None if alone is None or clip.reference is None else _errors(clip, alone),
        n_finals=len(finals),
        n_partials=sum(isinstance(event, Partial) for event in events),
        n_in_silence=sum(_in_silence(final, clip) for final in finals) if clip.words else 0,
        languages=tuple(sorted({final.language for final in finals if final.language})),
    )


def _errors(clip: Clip, text: str) -> WordErrors:
    assert clip.reference is not None
    return word_error_rate([clip.reference], [text], clip.language)


def _in_silence(final: Final, clip: Clip) -> bool:
    begin_ms, end_ms = final.start_ms - SAME_SPEECH_MS, final.end_ms + SAME_SPEECH_MS
    return not any(begin_ms < word.end_ms <= end_ms for word in clip.words)


def table(rows: Sequence[Row]) -> Table:
    """Make a table with a line for each recording and one for all."""
    made = Table("recording", title_justify="left", title=f"{len(rows)} recordings, one stream each, in virtual time")
    headings = "words", "errors", "WER %", "alone %", "finals", "no final", "in silence", "partials", "taken back"
    for heading in (*headings, "committed taken back", "language"):
        made.add_column(heading, justify="right")
    for row in rows:
        made.add_row(row.measurement.clip, *_cells([row]), " ".join(row.languages))
    made.add_section()
    made.add_row("all", *_cells(rows), "")
    return made


def _cells(rows: Sequence[Row]) -> list[str]:
    errors = sum((row.measurement.word_errors for row in rows if row.measurement.word_errors), WordErrors())
    alone = sum((row.alone for row in rows if row.alone), WordErrors())
    stable = sum((row.measurement.stability for row in rows), Stability())
    finals_ms = [latency for row in rows for latency in row.measurement.final_latencies_ms]
    return [
        str(errors.reference_words),
        str(errors.n_errors),
        _percent(errors.rate),
        _percent(alone.rate),
        str(sum(row.n_finals for row in rows)),
        f"{finals_ms.count(None)} of {len(finals_ms)}",
        str(sum(row.n_in_silence for row in rows)),
        str(sum(row.n_partials for row in rows)),
        f"{stable.erasure:.2f}",
        str(stable.committed_taken_back),
    ]


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.1f}"


def _whole(directory: Path) -> TranscribeWhole:
    """Load faster-whisper with its default settings."""
    from faster_whisper import WhisperModel

    model = WhisperModel(str(directory), device="cpu", compute_type="int8", cpu_threads=THREADS)

    def transcribe(recording: Recording, options: TranscriptionOptions) -> str:
        segments, _ = model.transcribe(recording.samples, language=options.language, task=options.task)
        return " ".join(segment.text.strip() for segment in segments)

    return transcribe


def transcriber(model: str, config: EngineConfig) -> Transcribe:
    """Load a model, and what finds voices if the settings allow speakers.

    Raises:
        EngineUnusable, OutOfMemory: that is impossible.
    """
    files = find_model(model)
    tune_processor(THREADS)
    from livecaption.engine.voices import voices_of
    from livecaption.engine.whisper import load_engine  # which imports ctranslate2

    engine: Engine = load_engine(files, "cpu", "int8", THREADS, voices=voices_of(config))
    return lambda request: answered(engine.transcribe([request.window]))[0]


@reporting
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the measurement, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path, help="has a manifest.jsonl, as described in evaluation/clips.py")
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="ids or tags (*, ?); default: English")
    parser.add_argument("--model", default=EngineConfig().model, help="(default: %(default)s)")
    parser.add_argument("--detect-language", action="store_true", help="let the model detect the language")
    parser.add_argument("--translate", action="store_true", help="translate to English")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write transcripts and figures, for bench --baseline")
    given = parser.parse_args(arguments)
    rows = []
    recordings = bench.load_recordings(choose(read_manifest(given.directory), given.patterns))
    transcribe = transcriber(given.model, EngineConfig())
    whole = _whole(find_model(given.model).directory)
    for recording in recordings:
        language = None if given.detect_language else recording.clip.language or "en"
        transcription = TranscriptionOptions(language, task="translate" if given.translate else "transcribe")
        alone = whole(recording, transcription)
        rows.append(measure_row(recording, transcribe, StreamOptions(transcription=transcription), alone))
        print(recording.clip.id, file=sys.stderr)
    if given.json:
        given.json.write_text(bench.as_json([bench.Row({}, [row.measurement for row in rows])]))
    Console(width=180).print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
