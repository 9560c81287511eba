"""`livecaption transcribe` turns recordings into text and subtitles."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from livecaption.captions.labels import NO_NAMES
from livecaption.captions.layout import DEFAULT_LINE_LENGTH, LINE_LENGTHS
from livecaption.captions.transcript import FORMATS, in_spoken_order, to_text
from livecaption.cli.outputs import (
    Refused,
    add_existing_arguments,
    choose,
    formats_argument,
    make_directory,
    person,
    targets,
    write,
)
from livecaption.cli.sources import Source, check, opened
from livecaption.cli.streaming import (
    add_stream_arguments,
    begun,
    check_authority,
    chunks,
    server,
    source_argument,
    stream,
    stream_settings,
)
from livecaption.cli.terminal import FAILED, complain, note, printable, reason, show, stderr
from livecaption.config import Config, load_config
from livecaption.errors import ConfigError, LivecaptionError
from livecaption.events import Ack, Final, SpeechStart
from livecaption.messages import Endpointing
from livecaption.speech.endpointing import RECORDINGS

if TYPE_CHECKING:
    from livecaption.client import StreamEvent
    from livecaption.decoding.messages import Opened

RECORDING_ENDPOINTING = Endpointing(silence_ms=RECORDINGS.hangover_ms, max_utterance_ms=RECORDINGS.max_utterance_ms)


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
    parser.add_argument(
        "sources",
        nargs="+",
        type=source_argument,
        metavar="FILE",
        help="a recording, its http(s) address, a FIFO, or - for standard input",
    )
    parser.add_argument(
        "--format", type=formats_argument, metavar="LIST", help=f"write files: one or more of {', '.join(FORMATS)}"
    )
    parser.add_argument(
        "--output-dir",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="directory of the files (default: the current one)",
    )
    add_existing_arguments(parser, "keep files that exist; a recording whose files all exist is not transcribed")
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


async def run(options: argparse.Namespace) -> int:
    """Transcribe the recordings, and return the exit code."""
    check_authority(options)
    config = load_config(options, os.environ)
    jobs, n_failed = _plan(options)
    if not jobs:
        return FAILED if n_failed else 0
    async with server(options, config) as url:
        for job in jobs:
            try:
                finals = await _transcribe(job.source, url, options, config)
                n_failed += not _write(finals, job, options)
            except BrokenPipeError:
                raise  # nobody reads the rest
            except (LivecaptionError, OSError) as error:
                complain(f"{job.source.name}: {reason(error)}")
                n_failed += 1
    return FAILED if n_failed else 0


@dataclass(frozen=True, slots=True)
class _Job:
    """A recording to transcribe, and the files to write, by format. Without files, its text is printed."""

    source: Source
    files: Mapping[str, Path]


def _plan(options: argparse.Namespace) -> tuple[list[_Job], int]:
    """Return the jobs, and the number of recordings that have failed already.

    All is decided before the first recording is transcribed, so that nobody waits for a question or a refusal.
    """
    if options.format is None and options.existing != "ask":
        raise ConfigError("--skip-existing and --overwrite need --format")
    if any(source.is_broadcast for source in options.sources):
        raise ConfigError("a broadcast has no end to wait for: use listen")
    if len([source for source in options.sources if source.is_stdin]) > 1:
        raise ConfigError("standard input can be read only once")
    if options.format and len({source.stem for source in options.sources}) < len(options.sources):
        raise ConfigError("two recordings have the same name and would be written to the same file")
    if options.format:
        try:
            make_directory(options.output_dir)
        except OSError as error:
            raise LivecaptionError(f"--output-dir {options.output_dir}: {reason(error)}") from None
    jobs = []
    n_failed = 0
    for source in options.sources:
        try:
            check(source)
            files = targets(source.stem, options.format or (), options.output_dir)
            chosen, kept = choose(files, options.existing, person())
        except (OSError, Refused) as error:
            complain(f"{source.name}: {reason(error)}")
            n_failed += 1
            continue
        for file in kept:
            note(f"kept {file}")
        if chosen or not files:
            jobs.append(_Job(source, chosen))
    return jobs, n_failed


async def _transcribe(source: Source, url: str, options: argparse.Namespace, config: Config) -> list[Final]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=stderr(), transient=True) as progress:
        # The directory would leave no place for the name.
        bar = progress.add_task(printable(Path(source.name).name), total=None)
        transcript = _Transcript(partial(progress.update, bar))
        n_channels = 1

        def note_contents(contents: "Opened") -> None:
            nonlocal n_channels
            n_channels = contents.n_channels
            if contents.duration_s is not None:
                progress.update(bar, total=contents.duration_s * 1000)

        async with opened(source) as audio:
            decoded = chunks(
                source,
                audio,
                options.raw,
                live=False,
                track=options.track,
                channel_mode=options.channels,
                opened=note_contents,
            )
            async with aclosing(decoded) as audio_chunks:
                if options.channels == "separate":
                    audio_chunks = await begun(audio_chunks)  # now the number of channels is known
                settings = replace(
                    stream_settings(options, n_channels),
                    words=options.words,
                    partials=False,
                    keep=False,  # the transcript goes to the terminal or into files
                    endpointing=RECORDING_ENDPOINTING,
                )
                await stream(url, audio_chunks, transcript.receive, settings, config, options.ca)
    return in_spoken_order(transcript.finals)


class _Transcript:
    """Collects finals from events, and reports the progress.

    Args:
        show_done: called with `completed`, the ms of audio that are transcribed or contain no speech.
    """

    def __init__(self, show_done: Callable[..., None]) -> None:
        self.finals: list[Final] = []
        self._show_done = show_done
        self._awaited: set[int] = set()

    def receive(self, event: "StreamEvent") -> None:
        if isinstance(event, SpeechStart):
            self._awaited.add(event.utterance)
        elif isinstance(event, Final):
            self._awaited.discard(event.utterance)
            self.finals.append(event)
            self._show_done(completed=event.end_ms)
        elif isinstance(event, Ack) and not self._awaited:
            self._show_done(completed=event.received_ms)


def _write(finals: Sequence[Final], job: _Job, options: argparse.Namespace) -> bool:
    """Print or write what was said. Return False if some of it could not be written, which has been reported.

    Raises:
        OSError: it could not be printed.
    """
    if not job.files:
        heading = f"==> {printable(job.source.name)} <==\n" if len(options.sources) > 1 else ""
        return show(heading + to_text(finals))
    complete = True
    for name, file in job.files.items():
        try:
            write(file, FORMATS[name](finals, options.line_length, NO_NAMES))
        except OSError as error:
            complain(f"{job.source.name}: {file}: {reason(error)}")
            complete = False
        else:
            note(f"wrote {file}" if any(final.text for final in finals) else f"wrote {file} (no words)")
    return complete
