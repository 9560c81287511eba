"""`livecaption bench` measures accuracy, latency and cost of captions with recordings."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from livecaption.cli.streaming import add_authority_argument, check_authority
from livecaption.cli.terminal import FAILED, complain
from livecaption.config import Config, load_config
from livecaption.errors import ConfigError, LivecaptionError

if TYPE_CHECKING:
    from rich.console import Console

    from livecaption.evaluation.playlist import Recording

PACKAGES = "jiwer matplotlib whisper-normalizer"
"""The packages that measuring needs in addition to the server's: the extra `bench`."""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `bench` and its options to the commands."""
    parser = commands.add_parser("bench", help="measure a server under load", allow_abbrev=False)
    parser.description = (
        "Stream recordings to a server in real time, and measure word error rate, latency, stability, CPU and memory. "
        f"Needs: pip install {PACKAGES}."
    )
    parser.epilog = "Example: livecaption bench --data recordings --sweep 1,8,16,24 --plot capacity.png"
    parser.set_defaults(parser=parser)
    parser.add_argument(
        "clips",
        nargs="*",
        metavar="CLIP",
        help="ids or tags, with * and ? as wildcards (default: all English recordings with timed words)",
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="directory of recordings with their manifest.jsonl"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures and transcripts to a file")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--streams", type=_counts, dest="sweep", metavar="N", default=[1], help="number of streams (default: 1)"
    )
    what.add_argument("--sweep", type=_counts, metavar="LIST", help="several numbers of streams, such as 1,8,24")
    what.add_argument("--engine", action="store_true", help="measure the engine alone, in this process")
    parser.add_argument(
        "--server", metavar="URL", help="a running server (default: start one, with the settings of the environment)"
    )
    add_authority_argument(parser)
    parser.add_argument("--duration", type=float, default=60.0, metavar="S", help="seconds per number (default: 60)")
    parser.add_argument("--no-partials", action="store_true", help="request finals only")
    parser.add_argument(
        "--speakers", action="store_true", help="measure each number also with streams that ask for speakers"
    )
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="FILE",
        help="--json file of an earlier run: show its WER beside that of this run",
    )
    parser.add_argument("--per-clip", action="store_true", help="also print a table of all streamed recordings")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="plot the figures by number of streams (.png)")


def _counts(text: str) -> list[int]:
    counts = [int(count) for count in text.split(",")]
    if min(counts) < 1:
        raise argparse.ArgumentTypeError("at least one stream")
    return counts


async def run(options: argparse.Namespace) -> int:
    """Measure, print tables of the figures, and return the exit code."""
    from rich.console import Console

    try:
        from livecaption.evaluation import bench
        from livecaption.evaluation.clips import choose, read_manifest

        if options.plot:
            from livecaption.evaluation import plots
    except ImportError as error:
        raise LivecaptionError(f"{error}: pip install {PACKAGES}") from None

    check_authority(options)
    config = load_config(argparse.Namespace(), os.environ)
    clips = choose(read_manifest(options.data), options.clips)
    if not clips:
        raise ConfigError("no recording is chosen: name ids or tags of the manifest, or * for all")
    # A file or pipe has no width, so choose a large one. A closed stdout is None.
    console = Console(width=None if sys.stdout is not None and sys.stdout.isatty() else 200)
    baseline = bench.read_baseline(options.baseline.read_text(encoding="utf-8")) if options.baseline else None
    recordings = bench.load_recordings(clips)
    if options.engine:
        _measure_engine(options, config, recordings, console)
        return 0
    rows = await bench.run(
        recordings,
        options.server,
        config.server.token,
        options.sweep,
        options.duration,
        partials=not options.no_partials,
        speakers=options.speakers,
        ssl=options.ca,
    )
    if baseline is not None:
        for row in rows:
            bench.compare(row, baseline)
    if options.per_clip:
        for row in rows:
            console.print(bench.clip_table(row))
    console.print(bench.table(rows))
    for warning in bench.warnings(rows):
        complain(warning)
    if options.json:
        options.json.write_text(bench.as_json(rows), encoding="utf-8")
    if options.plot:
        plots.draw([row.figures for row in rows], options.plot)
    return FAILED if any(row.figures["failed"] for row in rows) else 0


def _measure_engine(
    options: argparse.Namespace, config: Config, recordings: "Sequence[Recording]", console: "Console"
) -> None:
    from livecaption.evaluation import engine_bench

    lines = engine_bench.run(recordings, config.engine)
    console.print(engine_bench.table(lines))
    if options.json:
        options.json.write_text(engine_bench.as_json(lines), encoding="utf-8")
