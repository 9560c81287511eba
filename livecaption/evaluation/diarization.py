"""Measure who is named in captions, in virtual time, with recordings whose turns are known.

    python -m livecaption.evaluation.diarization DIRECTORY [PATTERN...] [--fast] [--speakers N] [--speaker-model FILE]

Each recording is one stream that asks for speakers, as in `virtual_time`. Without patterns, all recordings with turns
of at least two people are measured. `--fast` adds conversations with short turns that are made of those with three
people or more: one of all of them, and one of each pair in `PAIRS`.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from livecaption.evaluation import bench, virtual_time
from livecaption.evaluation.clips import choose, read_manifest
from livecaption.evaluation.command import reporting
from livecaption.evaluation.fast_turns import fast_turns
from livecaption.evaluation.latency import Received
from livecaption.evaluation.playlist import Recording
from livecaption.evaluation.speaker_errors import SpeakerErrors, Stretch, speaker_errors
from livecaption.events import MAX_SPEAKERS, Final
from livecaption.ipc.config import EngineConfig
from livecaption.pipeline.options import StreamOptions
from livecaption.recognition import TranscriptionOptions

SEED = 7
PAIRS = (("LS-3005-M", "LS-2414-M"),)
"""Two men with similar voices, in `long-meeting-a`."""


def errors_of(recording: Recording, received: Sequence[Received]) -> SpeakerErrors:
    """Compare the speakers of finals with the turns of the recording."""
    finals = [item.event for item in received if isinstance(item.event, Final)]
    turns = [Stretch(turn.start_ms, turn.end_ms, turn.speaker) for final in finals for turn in final.turns or ()]
    words = [Stretch(word.start_ms, word.end_ms, word.speaker) for final in finals for word in final.words or ()]
    return speaker_errors(recording.clip.turns, turns, words)


def with_fast_turns(recordings: Sequence[Recording]) -> Iterator[Recording]:
    """Yield the recordings, and after each with several people the conversations that are made of it."""
    for recording in recordings:
        yield recording
        people = sorted({str(turn.speaker) for turn in recording.clip.turns})
        if len(people) < 3:
            continue
        chance = np.random.default_rng(SEED)
        yield fast_turns(recording, people, chance, f"{recording.clip.id}, fast")
        for pair in PAIRS:
            if set(pair) <= set(people):
                yield fast_turns(recording, pair, chance, f"{recording.clip.id}, fast, two of them")


def table(rows: Sequence[tuple[str, SpeakerErrors]]) -> Table:
    """Make a table with a line for each recording and one for all."""
    made = Table("recording", title_justify="left", title="speakers, in % of the reference's speech")
    for heading in (
        *("speech s", "DER", "missed", "false", "confused", "unnamed", "purity", "coverage", "found"),
        *("words", "wrong or none", "%"),
    ):
        made.add_column(heading, justify="right")
    for name, errors in rows:
        made.add_row(name, *_cells(errors))
    made.add_section()
    sums = {field.name: sum(getattr(errors, field.name) for _, errors in rows) for field in fields(SpeakerErrors)}
    made.add_row("all", *_cells(SpeakerErrors(**sums)))
    return made


def _cells(errors: SpeakerErrors) -> list[str]:
    def share(part: float, whole: float) -> str:
        return f"{100 * part / whole:.1f}" if whole else "-"

    return [
        f"{errors.total_ms / 1000:.0f}",
        f"{100 * errors.error_rate:.1f}",
        share(errors.missed_ms, errors.total_ms),
        share(errors.false_ms, errors.total_ms),
        share(errors.confused_ms, errors.total_ms),
        share(errors.unnamed_ms, errors.total_ms),
        share(errors.pure_ms, errors.named_ms),
        share(errors.covered_ms, errors.named_ms),
        f"{errors.n_found} of {errors.n_speakers}",
        str(errors.n_words),
        str(errors.n_wrong_words),
        share(errors.n_wrong_words, errors.n_words),
    ]


@reporting
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the measurement, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path, help="has a manifest.jsonl, as described in evaluation/clips.py")
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="ids or tags (*, ?); default: all with turns")
    parser.add_argument("--model", default=EngineConfig().model, help="(default: %(default)s)")
    parser.add_argument("--fast", action="store_true", help="make conversations with short turns, too")
    parser.add_argument("--speakers", type=int, default=MAX_SPEAKERS, help="speakers at most (default: %(default)s)")
    parser.add_argument("--speaker-model", default="", metavar="FILE", help="another network for voices")
    given = parser.parse_args(arguments)
    rows = []
    clips = choose(read_manifest(given.directory), given.patterns or ["*"])
    clips = [clip for clip in clips if len({turn.speaker for turn in clip.turns}) > 1]
    recordings = bench.load_recordings(clips)
    config = EngineConfig(speakers=True, speaker_model=given.speaker_model)
    transcribe = virtual_time.transcriber(given.model, config)
    for recording in with_fast_turns(recordings) if given.fast else recordings:
        transcription = TranscriptionOptions(recording.clip.language or "en", words=True)
        options = StreamOptions(transcription=transcription, speakers=given.speakers)
        rows.append((recording.clip.id, errors_of(recording, virtual_time.stream(recording, transcribe, options))))
        print(recording.clip.id, file=sys.stderr)
    Console(width=180).print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
