"""`livecaption transcribe` turns recordings into text and subtitles."""

import argparse
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from livecaption.captions.layout import DEFAULT_LINE_LENGTH, LINE_LENGTHS
from livecaption.captions.transcript import FORMATS, to_text
from livecaption.cli.streaming import add_stream_arguments, decode, readable, server, stream
from livecaption.cli.terminal import FAILED, complain, stderr
from livecaption.config import load_config
from livecaption.errors import ConfigError, LivecaptionError
from livecaption.events import Ack, Event, Final, SpeechStart

RECORDING_ENDPOINTING = {"silence_ms": 1000, "max_utterance_ms": 25_000}
"""Endpointing of recordings: long utterances, because latency does not matter and they are transcribed better."""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `transcribe` and its options to the commands."""
    parser = commands.add_parser(
        "transcribe",
        help="transcribe recordings",
        description="Transcribe recordings of any format: WAV, MP3, FLAC, Ogg, WebM, MP4, AAC, ... "
        "The text is printed, or written to files with --format.",
        epilog="Example: livecaption transcribe talk.mp3 --format srt,txt --output-dir subtitles",
        allow_abbrev=False,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument(
        "--format", type=_formats, metavar="LIST", help=f"write files: one or more of {', '.join(FORMATS)}"
    )
    parser.add_argument(
        "--output-dir",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="directory of the files (default: the current one)",
    )
    parser.add_argument("--words", action="store_true", help="time each word: exact subtitles, and words in JSON")
    parser.add_argument(
        "--line-length",
        type=int,
        choices=LINE_LENGTHS,
        default=DEFAULT_LINE_LENGTH,
        help="characters in a line of subtitles: television, teletext (default), streaming",
    )
    parser.add_argument(
        "--track",
        type=_track,
        metavar="N",
        help="audio track of the recordings, from 1 (default: the default track, or the first with sound)",
    )
    add_stream_arguments(parser)


def _track(number: str) -> int:
    if not number.isdecimal() or not 1 <= int(number) < 2**31:
        raise argparse.ArgumentTypeError(f"{number!r} is not the number of a track; the first one is 1")
    return int(number)


def _formats(names: str) -> list[str]:
    formats = names.split(",")
    if unknown := [name for name in formats if name not in FORMATS]:
        raise argparse.ArgumentTypeError(f"unknown format {unknown[0]!r}; choose from {', '.join(FORMATS)}")
    return formats


async def run(options: argparse.Namespace) -> int:
    """Transcribe the files, and return the exit code."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    config = load_config(options, os.environ)
    if options.format and len({path.stem for path in options.files}) < len(options.files):
        raise ConfigError("two recordings have the same name and would be written to the same file")
    files = [path for path in options.files if readable(path)]
    n_failed = len(options.files) - len(files)
    if not files:
        return FAILED
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    async with server(options, config) as url:
        for path in files:
            with Progress(*columns, console=stderr(), transient=True) as progress:
                bar = progress.add_task(path.name, total=None)
                transcript = _Transcript(partial(progress.update, bar))
                try:
                    await stream(
                        url,
                        decode(
                            path,
                            lambda duration_s: progress.update(bar, total=duration_s * 1000),  # noqa: B023
                            options.track,
                        ),
                        transcript.receive,
                        options,
                        config,
                        words=options.words,
                        partials=False,
                        endpointing=RECORDING_ENDPOINTING,
                    )
                except (LivecaptionError, OSError) as error:
                    complain(f"{path}: {error}")
                    n_failed += 1
                    continue
            _write(transcript.finals, path, options)
    return FAILED if n_failed else 0


class _Transcript:
    """Collects finals from events, and reports the progress.

    Args:
        show_done: called with `completed`, the ms of audio that are transcribed or contain no speech.
    """

    def __init__(self, show_done: Callable[..., None]) -> None:
        self.finals: list[Final] = []
        self._show_done = show_done
        self._awaited: set[int] = set()

    def receive(self, event: Event) -> None:
        if isinstance(event, SpeechStart):
            self._awaited.add(event.utterance)
        elif isinstance(event, Final):
            self._awaited.discard(event.utterance)
            self.finals.append(event)
            self._show_done(completed=event.end_ms)
        elif isinstance(event, Ack) and not self._awaited:
            self._show_done(completed=event.received_ms)


def _write(finals: Sequence[Final], path: Path, options: argparse.Namespace) -> None:
    if not options.format:
        heading = f"==> {path} <==\n" if len(options.files) > 1 else ""
        print(heading + to_text(finals), end="", flush=True)
        return
    try:
        options.output_dir.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(f"--output-dir {options.output_dir} is not a directory") from None
    for name in options.format:
        (options.output_dir / f"{path.stem}.{name}").write_text(
            FORMATS[name](finals, options.line_length), encoding="utf-8"
        )
