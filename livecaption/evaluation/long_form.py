"""Compare `livecaption transcribe` with faster-whisper on long recordings: words, CPU time, wall time.

    python -m livecaption.evaluation.long_form DIRECTORY PATTERN... [--join] [--model NAME] [--turns N] [--json FILE]

Each side is a command that transcribes one file, from the start of its process to its end. The sides take turns, so
that other load on the machine concerns all of them. faster-whisper runs with its defaults: its `transcribe`, and its
`BatchedInferencePipeline` with batches of `BATCH_SIZE`. `--join` makes one recording of all chosen ones.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.engine.models import ModelFiles, find_model
from livecaption.evaluation.clips import Clip, choose, read_manifest, read_pcm
from livecaption.evaluation.command import count, reporting
from livecaption.evaluation.wer import word_error_rate
from livecaption.ipc.config import EngineConfig
from livecaption.workers.processors import n_processors

SIDES = ("livecaption", "plain", "batched")
"""livecaption, and faster-whisper in two ways."""
BATCH_SIZE = 8
PAUSE_S = 1
"""Silence between joined recordings, in s."""

FASTER_WHISPER = """
import sys
from faster_whisper import BatchedInferencePipeline, WhisperModel
model_directory, file, side, language, batch_size, threads = sys.argv[1:]
model = WhisperModel(model_directory, device="cpu", compute_type="int8", cpu_threads=int(threads))
if side == "batched":
    segments, _ = BatchedInferencePipeline(model).transcribe(file, language=language, batch_size=int(batch_size))
else:
    segments, _ = model.transcribe(file, language=language)
print(" ".join(segment.text.strip() for segment in segments))
"""
"""The program of the other sides. It imports nothing that faster-whisper does not need."""


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one side with one recording. Times are medians of the turns, in s.

    Attributes:
        cpu_s: CPU time of the command and its child processes.
        wall_s: time from its start to its end.
    """

    recording: str
    side: str
    model: str
    audio_s: float
    n_words: int
    n_errors: int
    cpu_s: float
    wall_s: float

    @property
    def wer(self) -> float:
        return self.n_errors / self.n_words


def joined(clips: Sequence[Clip], directory: Path) -> Clip:
    """Write the recordings one after another into a file in `directory`, and return it as one clip.

    Raises:
        OSError: a file cannot be read or written.
        InvalidAudio: a file is not audio.
    """
    path = directory / "joined.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        for clip in clips:
            file.writeframes(read_pcm(clip.path) + bytes(2 * SAMPLE_RATE_HZ * PAUSE_S))
    return Clip(f"{len(clips)} joined", path, clips[0].language, " ".join(clip.reference or "" for clip in clips))


def command(side: str, clip: Clip, model: ModelFiles) -> list[str]:
    """Return the command of a side, which prints the text of the recording."""
    language = clip.language or "en"
    if side == "livecaption":
        options = ("--language", language, "--model", str(model.directory), "--device", "cpu")
        return [sys.executable, "-m", "livecaption", "transcribe", str(clip.path), *options]
    arguments = model.directory, clip.path, side, language, BATCH_SIZE, n_processors()
    return [sys.executable, "-c", FASTER_WHISPER, *map(str, arguments)]


def measure(clip: Clip, model: ModelFiles, n_turns: int) -> list[Row]:
    """Run all sides in turn, and return a row for each.

    Raises:
        subprocess.CalledProcessError: a side has failed.
    """
    audio_s = len(read_pcm(clip.path)) / 2 / SAMPLE_RATE_HZ
    commands = {side: command(side, clip, model) for side in SIDES}
    texts: dict[str, str] = {}
    times_s: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
    for _ in range(n_turns):
        for side in SIDES:
            texts[side], *times = _run(commands[side])
            times_s[side].append((times[0], times[1]))
    rows = []
    for side in SIDES:
        errors = word_error_rate([clip.reference or ""], [texts[side]], clip.language)
        cpu_s, wall_s = (statistics.median(figures) for figures in zip(*times_s[side], strict=True))
        rows.append(Row(clip.id, side, model.name, audio_s, errors.reference_words, errors.n_errors, cpu_s, wall_s))
    return rows


def _run(arguments: Sequence[str]) -> tuple[str, float, float]:
    """Run a command, and return its output, its CPU time and its wall time in s."""
    before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True)
    after, wall_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began_s
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall_s


def table(rows: Sequence[Row]) -> Table:
    """Make a table with a line for each recording and side; the ratio is CPU time by that of `batched`."""
    made = Table("recording", "model", "side")
    for heading in ("audio s", "words", "errors", "WER %", "CPU s", "ratio", "wall s", "times real time"):
        made.add_column(heading, justify="right")
    batched_s = {row.recording: row.cpu_s for row in rows if row.side == "batched"}
    for row in rows:
        ratio = row.cpu_s / batched_s[row.recording]
        figures = f"{100 * row.wer:.1f}", f"{row.cpu_s:.1f}", f"{ratio:.2f}", f"{row.wall_s:.1f}"
        speed = f"{row.audio_s / row.wall_s:.1f}"
        counts = f"{row.audio_s:.0f}", str(row.n_words), str(row.n_errors)
        made.add_row(row.recording, row.model, row.side, *counts, *figures, speed)
    return made


@reporting
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path, help="has a manifest.jsonl, as described in evaluation/clips.py")
    parser.add_argument("patterns", nargs="+", metavar="PATTERN", help="ids or tags (*, ?) of recordings with a text")
    parser.add_argument("--join", action="store_true", help="make one recording of all")
    parser.add_argument("--model", default=EngineConfig().model, help="(default: %(default)s)")
    parser.add_argument("--turns", type=count, default=1, help="runs of each side (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    given = parser.parse_args(arguments)
    clips = [clip for clip in choose(read_manifest(given.directory), given.patterns) if clip.reference]
    if not clips:
        raise ValueError("no recording with a text matches")
    model = find_model(given.model)
    with tempfile.TemporaryDirectory(prefix="livecaption-") as directory:
        chosen = [joined(clips, Path(directory))] if given.join else clips
        rows = [row for clip in chosen for row in measure(clip, model, given.turns)]
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    Console(width=140).print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
