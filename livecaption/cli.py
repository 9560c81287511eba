"""Words of the command line -> a server, transcripts of files, or live captions in the terminal.

    serve       runs the server
    transcribe  files -> text, subtitles          both stream to a server: the one at --server,
    listen      a file or microphone -> captions  or one of their own that ends with them
    bench       recordings -> how good and how late captions are, and what they cost

Exit codes: 0 done, 1 something failed, 2 wrong usage or settings, 3 the model cannot be used,
130 Ctrl+C. What fails is one line on stderr.

Importing this module and `--help` load nothing heavy; each command imports what it needs.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from livecaption import __version__
from livecaption.captions.layout import DEFAULT_LINE_LENGTH, LINE_LENGTHS, RollUp
from livecaption.captions.transcript import FORMATS, to_text
from livecaption.config import Config, add_config_arguments, load_config
from livecaption.errors import ConfigError, EngineUnusable, InvalidAudio, LivecaptionError
from livecaption.events import Ack, ErrorReport, Event, Final, Gap, Partial, SpeechStart, Status
from livecaption.store.config import StoreConfig, default_path

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from livecaption.server.signals import SignalInbox

FAILED = 1
WRONG_USAGE = 2
ENGINE_UNUSABLE = 3
INTERRUPTED = 130

BYTES_PER_S = 16_000 * 4
"""Of what a container is decoded to: mono, 16 kHz, float32."""

RECORDING_ENDPOINTING = {"silence_ms": 1000, "max_utterance_ms": 25_000}
"""Nobody waits for the captions of a recording, and longer utterances are transcribed better."""


def main(arguments: Sequence[str], signals: "SignalInbox | None" = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: the words after the program's name.
        signals: installed by `__main__` where the command is `serve`, else None.

    Raises:
        SystemExit: by argparse: 2 on wrong usage, 0 after `--help` and `--version`.
        KeyboardInterrupt: Ctrl+C, after everything has been put in order.
    """
    options, unknown = _parser().parse_known_args(arguments)
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        if options.command == "serve":
            assert signals is not None  # `__main__` looks at the same word
            return _serve(options, signals)
        return asyncio.run({"transcribe": _transcribe, "listen": _listen, "bench": _bench}[options.command](options))
    except ConfigError as error:
        _complain(error)
        return WRONG_USAGE
    except EngineUnusable as error:
        _complain(error)
        return ENGINE_UNUSABLE
    except BrokenPipeError:
        # Whoever read our output has seen enough. What is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (LivecaptionError, OSError, ValueError) as error:
        _complain(error)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "livecaption",
        description="Live captions from your own machine: a WebSocket server, and transcripts of files.",
        epilog="Try: livecaption serve, then open http://localhost:8000 and speak.",
    )
    parser.add_argument("--version", action="version", version=f"livecaption {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    serve = commands.add_parser(
        "serve",
        help="run the server",
        description="Run the server until Ctrl+C or SIGTERM. Each option can also be set in the environment "
        "(LIVECAPTION_PORT) or in a TOML file.",
        allow_abbrev=False,
    )
    serve.set_defaults(parser=serve)
    add_config_arguments(serve, _serve_defaults())

    transcribe = commands.add_parser(
        "transcribe",
        help="write down what is said in recordings",
        description="Write down what is said in recordings of any format: WAV, MP3, FLAC, Ogg, WebM, MP4, AAC, ... "
        "The text is printed, or written to files with --format.",
        epilog="Example: livecaption transcribe talk.mp3 --format srt,txt --output-dir subtitles",
        allow_abbrev=False,
    )
    transcribe.add_argument("files", nargs="+", type=Path, metavar="FILE")
    transcribe.add_argument(
        "--format", type=_formats, metavar="LIST", help=f"write files: one or more of {', '.join(FORMATS)}"
    )
    transcribe.add_argument(
        "--output-dir", type=Path, default=Path(), metavar="DIR", help="where to write them (default: here)"
    )
    transcribe.add_argument("--words", action="store_true", help="time every word: exact subtitles, words in JSON")
    transcribe.add_argument(
        "--line-length",
        type=int,
        choices=LINE_LENGTHS,
        default=DEFAULT_LINE_LENGTH,
        help="characters in a line of subtitles: television, teletext (default), streaming",
    )
    _add_stream_arguments(transcribe)

    listen = commands.add_parser(
        "listen",
        help="show live captions in the terminal",
        description="Show live captions of a recording, played at its own pace, or of the microphone. "
        "Words that may still change are dim.",
        allow_abbrev=False,
    )
    listen.add_argument("file", nargs="?", type=Path, metavar="FILE", help="a recording (default: the microphone)")
    _add_stream_arguments(listen)
    _add_bench_arguments(commands.add_parser("bench", help="measure a server under load", allow_abbrev=False))
    return parser


def _add_stream_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(parser=parser)
    parser.add_argument("--language", metavar="CODE", help="what is spoken, such as en (default: detect)")
    parser.add_argument(
        "--task", choices=("transcribe", "translate"), default="transcribe", help="translate: into English"
    )
    parser.add_argument("--server", metavar="URL", help="a running server (default: start one for this command)")
    parser.add_argument("--token", help="the server's secret (better in LIVECAPTION_TOKEN)")
    parser.add_argument("--model", help="without --server: the model to load, as for serve")
    parser.add_argument("--device", help="without --server: auto, cpu, cuda or cuda:INDEX")
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings (or LIVECAPTION_CONFIG)")


def _add_bench_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Stream recordings to a server at the pace of speech, and measure word error rate, delays, stability, CPU and "
        "memory. Needs: pip install 'livecaption[bench]'."
    )
    parser.epilog = "Example: livecaption bench --data recordings --sweep 1,8,16,24 --plot capacity.png"
    parser.set_defaults(parser=parser)
    parser.add_argument(
        "clips",
        nargs="*",
        metavar="CLIP",
        help="ids or tags, * and ? are allowed (default: all in English with known words)",
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="directory of recordings with their manifest.jsonl"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures and transcripts to a file")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--streams", type=_counts, dest="sweep", metavar="N", default=[1], help="(default: 1)")
    what.add_argument("--sweep", type=_counts, metavar="LIST", help="several numbers of streams, such as 1,8,24")
    what.add_argument("--engine", action="store_true", help="measure the engine alone, in this process")
    parser.add_argument(
        "--server", metavar="URL", help="a running server (default: start one, with the settings of the environment)"
    )
    parser.add_argument("--duration", type=float, default=60.0, metavar="S", help="of each number (default: 60)")
    parser.add_argument("--no-partials", action="store_true", help="ask for finals only")
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="FILE",
        help="--json of a quiet run: show beside the WER that of the same there",
    )
    parser.add_argument("--per-clip", action="store_true", help="also print a table of all recordings that were played")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the figures over the number of streams (.png)")


def _counts(text: str) -> list[int]:
    counts = [int(count) for count in text.split(",")]
    if min(counts) < 1:
        raise argparse.ArgumentTypeError("at least one stream")
    return counts


def _formats(names: str) -> list[str]:
    formats = names.split(",")
    if unknown := [name for name in formats if name not in FORMATS]:
        raise argparse.ArgumentTypeError(f"no format {unknown[0]!r}; there are {', '.join(FORMATS)}")
    return formats


def _serve(options: argparse.Namespace, signals: "SignalInbox") -> int:
    from livecaption.server.lifecycle import run

    return run(load_config(options, os.environ, _serve_defaults()), signals)


def _serve_defaults() -> Config:
    """Of all commands, only this one keeps transcripts."""
    return Config(store=StoreConfig(default_path()))


async def _transcribe(options: argparse.Namespace) -> int:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    config = load_config(options, os.environ)
    if options.format and len({path.stem for path in options.files}) < len(options.files):
        raise ConfigError("two files of the same name would be written to the same file")
    files = [path for path in options.files if _readable(path)]
    n_failed = len(options.files) - len(files)
    if not files:
        return FAILED
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    async with _server(options, config) as url:
        for path in files:
            with Progress(*columns, console=_stderr(), transient=True) as progress:
                bar = progress.add_task(path.name, total=None)
                transcript = _Transcript(partial(progress.update, bar))
                try:
                    await _stream(
                        url,
                        _decode(path, lambda duration_s: progress.update(bar, total=duration_s * 1000)),  # noqa: B023
                        transcript.receive,
                        options,
                        config,
                        words=options.words,
                        partials=False,
                        endpointing=RECORDING_ENDPOINTING,
                    )
                except (LivecaptionError, OSError) as error:
                    _complain(f"{path}: {error}")
                    n_failed += 1
                    continue
            _write(transcript.finals, path, options)
    return FAILED if n_failed else 0


class _Transcript:
    """Events -> finals, and how much of the recording is done.

    Args:
        show_done: called with `completed`, the ms that are transcribed or hold no speech.
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


async def _listen(options: argparse.Namespace) -> int:
    from rich.console import Console

    from livecaption.client import real_time

    config = load_config(options, os.environ)
    if options.file is not None and not _readable(options.file):
        return FAILED
    sample_rate, chunks = (16_000, None) if options.file else _microphone()
    async with _server(options, config) as url:
        if chunks is None:
            chunks = real_time(_decode(options.file), BYTES_PER_S)
        # The first Ctrl+C ends the audio, so that the last words still come; the second one ends everything.
        interrupted = asyncio.Event()
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        loop.add_signal_handler(signal.SIGINT, lambda: task.cancel() if interrupted.is_set() else interrupted.set())
        with _LiveCaptions(Console(highlight=False), options.language) as captions:
            audio = _until(interrupted, chunks)
            try:
                await _stream(url, audio, captions.receive, options, config, sample_rate=sample_rate)
            except asyncio.CancelledError:
                return INTERRUPTED
    return INTERRUPTED if interrupted.is_set() else 0


async def _bench(options: argparse.Namespace) -> int:
    from rich.console import Console

    try:
        from livecaption.evaluation import bench
        from livecaption.evaluation.clips import choose, read_manifest

        if options.plot:
            from livecaption.evaluation import plots
    except ImportError as error:
        raise LivecaptionError(f"{error}: pip install 'livecaption[bench]'") from None

    config = load_config(argparse.Namespace(), os.environ)
    clips = choose(read_manifest(options.data), options.clips)
    if not clips:
        raise ConfigError("no such clip in the manifest")
    # In a file or pipe nobody can widen the window.
    console = Console(width=None if sys.stdout.isatty() else 200)
    baseline = bench.read_baseline(options.baseline.read_text(encoding="utf-8")) if options.baseline else None
    recordings = bench.load_recordings(clips)
    if options.engine:
        from livecaption.evaluation import engine_bench

        lines = engine_bench.run(recordings, config.engine)
        console.print(engine_bench.table(lines))
        if options.json:
            options.json.write_text(engine_bench.as_json(lines), encoding="utf-8")
        return 0
    rows = await bench.run(
        recordings,
        options.server,
        config.server.token,
        options.sweep,
        options.duration,
        partials=not options.no_partials,
    )
    if baseline is not None:
        for row in rows:
            bench.compare(row, baseline)
    if options.per_clip:
        for row in rows:
            console.print(bench.clip_table(row))
    console.print(bench.table(rows))
    for warning in bench.warnings(rows):
        _complain(warning)
    if options.json:
        options.json.write_text(bench.as_json(rows), encoding="utf-8")
    if options.plot:
        plots.draw([row.figures for row in rows], options.plot)
    return FAILED if any(row.figures["failed"] for row in rows) else 0


class _LiveCaptions:
    """Events -> the terminal: finals scroll up, below them the last two lines of the open utterance roll up.

    Where stdout is no terminal, finals only.
    """

    def __init__(self, console: "Console", language: str | None) -> None:
        from rich.live import Live

        self._console = console
        self._language = language
        self._utterance = -1
        self._roll_up = RollUp(language, console.width)
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def receive(self, event: Event) -> None:
        from rich.text import Text

        if isinstance(event, Final) and event.text:
            self._show(Text())
            seconds = event.start_ms // 1000
            clock = Text(f"{seconds // 60:02}:{seconds % 60:02} ", style="cyan")
            # Not wrapped by us: lines that a terminal wraps can be copied whole.
            self._console.print(clock + Text(event.text), soft_wrap=True)
        elif isinstance(event, Partial):
            if event.utterance != self._utterance or event.revision == 0:  # it may have begun anew
                self._utterance = event.utterance
                self._roll_up = RollUp(self._language, self._console.width)
            lines = self._roll_up.show(event.stable, event.text[len(event.stable) :])
            self._show(
                Text("\n").join(Text.assemble((stable, "bold"), (tentative, "dim")) for stable, tentative in lines)
            )
        elif isinstance(event, Status) and event.state != "ready":
            self._show(Text(f"({event.state})", style="yellow"))

    def _show(self, text: "Text") -> None:
        if self._live:
            self._live.update(text, refresh=True)


async def _stream(
    url: str,
    audio: AsyncIterator[bytes],
    receive: Callable[[Event], None],
    options: argparse.Namespace,
    config: Config,
    **more: Any,
) -> None:
    """Stream float32 audio from beginning to end.

    Raises:
        LivecaptionError: the server ended the stream before the audio did.
        OSError: the server or the audio failed.
    """
    from livecaption.client import transcribe

    def receive_or_complain(event: Event) -> None:
        if isinstance(event, ErrorReport) and not event.fatal:
            _complain(event.message)
        if isinstance(event, Gap) and event.end_ms > event.start_ms:
            _complain(f"captions were lost with the connection, from {event.start_ms} to {event.end_ms} ms")
        receive(event)

    end = await transcribe(
        url,
        audio,
        receive_or_complain,
        encoding="pcm_f32le",
        language=options.language,
        task=options.task,
        token=config.server.token,
        **more,
    )
    if end.reason != "stop":
        raise LivecaptionError(f"the server ended the stream ({end.reason})")


@asynccontextmanager
async def _server(options: argparse.Namespace, config: Config) -> AsyncIterator[str]:
    """The URL of the server to use: the named one, or one that lives as long as the block."""
    if options.server is not None:
        yield options.server
        return
    from livecaption.server.lifecycle import running_server

    async with AsyncExitStack() as stack:
        with _stderr().status("Loading the model"):
            url = await stack.enter_async_context(running_server(config))
        yield url


async def _decode(path: Path, opened: Callable[[float], None] = lambda duration_s: None) -> AsyncIterator[bytes]:
    """Give the audio of a recording as mono float32 at 16 kHz; call `opened` with its length, if its head tells it.

    Decoded on this side and not by the server, which cannot seek: cameras and phones write MP4 with the index at its
    end. In a process of its own like there, as the recording may come from anybody.
    """
    from livecaption.decoding.pool import ContainerDecoder, DecoderPool

    pool = DecoderPool()
    try:
        with path.open("rb") as file:
            decoder = ContainerDecoder(pool, file)
            async with aclosing(decoder.samples()) as pieces:
                async for samples in pieces:
                    if decoder.duration_s is not None:
                        opened(decoder.duration_s)
                        decoder.duration_s = None
                    yield samples.tobytes()
    except InvalidAudio as error:
        if error.fatal:
            raise
        _complain(f"{path}: {error}")
    finally:
        await pool.close()


def _microphone() -> tuple[int, AsyncIterator[bytes]]:
    """Sample rate in Hz, and endless mono float32 audio, of the default microphone.

    Raises:
        LivecaptionError: there is none, or what is needed to use it is not installed.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise LivecaptionError(
            f"the microphone needs the package sounddevice and the library PortAudio ({error}): "
            "pip install 'livecaption[microphone]'; on Linux also: apt install libportaudio2"
        ) from None
    try:
        # At its own rate: not every device can do 16 kHz, and the server resamples.
        sample_rate = int(sounddevice.query_devices(kind="input")["default_samplerate"])
    except (sounddevice.PortAudioError, ValueError) as error:
        raise LivecaptionError(f"no microphone: {error}") from None

    async def record() -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        recorded: asyncio.Queue[bytes] = asyncio.Queue()

        def take(data: Any, *_: object) -> None:
            # In PortAudio's thread; the buffer is gone when this returns.
            loop.call_soon_threadsafe(recorded.put_nowait, bytes(data))

        with sounddevice.RawInputStream(
            samplerate=sample_rate, blocksize=sample_rate // 25, channels=1, dtype="float32", callback=take
        ):
            while True:
                yield await recorded.get()

    return sample_rate, record()


async def _until(stopped: asyncio.Event, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        if stopped.is_set():
            return
        yield chunk


def _readable(path: Path) -> bool:
    try:
        path.open("rb").close()
    except OSError as error:
        _complain(f"{path}: {error.strerror}")
        return False
    return True


def _stderr() -> "Console":
    from rich.console import Console

    # Bars and spinners are for people; where nobody watches they would only leave blank lines.
    return Console(stderr=True, quiet=not sys.stderr.isatty())


def _complain(error: object) -> None:
    print(f"livecaption: {error}", file=sys.stderr)
