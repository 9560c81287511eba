"""`livecaption export` writes the transcripts of a store to files, while a server uses it."""

import argparse
import asyncio
import hashlib
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from livecaption.captions.layout import DEFAULT_LINE_LENGTH
from livecaption.captions.transcript import FORMATS, Part, in_sequence, lay_out_as, names_in_sequence
from livecaption.cli import serve
from livecaption.cli.backup import store_of
from livecaption.cli.outputs import (
    Refused,
    add_existing_arguments,
    choose,
    formats_argument,
    make_directory,
    person,
    write,
)
from livecaption.cli.terminal import FAILED, complain, counted, note, reason
from livecaption.config import add_config_arguments
from livecaption.errors import LivecaptionError

if TYPE_CHECKING:
    from livecaption.store.archive import Transcripts
    from livecaption.store.rows import SessionRecord

MAX_TITLE_BYTES = 80
"""Bytes of a title in the name of a file. With the rest, all file systems take the name, encrypted ones too."""
ONLY_USER = 0o600
"""Mode of the files. The store, from which they come, has it too."""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `export` and its options to the commands."""
    parser = commands.add_parser(
        "export",
        help="write the stored transcripts to files",
        description="Write the transcripts of all stored sessions to files, of private ones too. A server may use the "
        "store meanwhile. Sessions that are not over are left out. The names have the time in UTC and the title. "
        "Translations have files of their own, and so have all parts of a room together.",
        epilog="Example: livecaption export --all transcripts --format txt,vtt --skip-existing",
        allow_abbrev=False,
    )
    parser.set_defaults(parser=parser)
    parser.add_argument(
        "--all", type=Path, required=True, metavar="DIRECTORY", help="directory of the files, which is made"
    )
    parser.add_argument(
        "--format",
        type=formats_argument,
        default=list(FORMATS),
        metavar="LIST",
        help=f"one or more of {', '.join(FORMATS)} (default: all)",
    )
    add_existing_arguments(parser, "keep files that exist")
    add_config_arguments(parser, serve.defaults(), only=("store",))


@dataclass(frozen=True, slots=True)
class Transcript:
    """A transcript that is exported.

    Attributes:
        stem: the beginning of its files' names.
        parts: its sessions in their order: one, or all parts of a room's present event.
        tracks: languages into which it was translated.
        is_over: whether nothing comes any more.
    """

    stem: str
    parts: "tuple[SessionRecord, ...]"
    tracks: tuple[str, ...]
    is_over: bool

    def files(self, directory: Path, formats: list[str]) -> "dict[tuple[Transcript, str, str | None], Path]":
        """Return the files by format and track. The JSON of the originals has all translations."""
        return {
            (self, name, track): directory / ".".join(filter(None, (self.stem, track, name)))
            for track in (None, *self.tracks)
            for name in formats
            if track is None or name != "json"
        }


async def run(options: argparse.Namespace) -> int:
    """Export, and return the exit code.

    Raises:
        StoreFailed: the store cannot be read.
        LivecaptionError: a file cannot be written.
    """
    from livecaption.store.archive import transcripts_of

    async with transcripts_of(store_of(options)) as store:
        _make(options.all)
        found = [each async for each in transcripts(store)]
        exported = [each for each in found if each.is_over]  # the file of another would never get the rest
        files = {key: file for each in exported for key, file in each.files(options.all, options.format).items()}
        try:
            chosen, kept = choose(files, options.existing, person())
        except Refused as error:
            complain(error)
            return FAILED
        for (transcript, name, track), file in chosen.items():
            parts = [
                Part(part.started_at_ms, part.duration_ms, await store.finals(part), part.n_speakers, part.names)
                for part in transcript.parts
            ]
            text = lay_out_as(name, DEFAULT_LINE_LENGTH, track, names_in_sequence(parts), in_sequence(parts))
            try:
                write(file, text, ONLY_USER)
            except OSError as error:
                raise LivecaptionError(f"{file}: {reason(error)}") from None
            note(f"wrote {file}")
            await asyncio.sleep(0)  # Ctrl+C ends it here
    note(f"wrote {counted(len(chosen), 'file')} of {counted(len(exported), 'transcript')}, kept {len(kept)}")
    if n_left_out := len(found) - len(exported):
        note(f"left out {counted(n_left_out, 'transcript')} of sessions that are not over")
    return 0


def _make(directory: Path) -> None:
    """Make the directory, which only its user can read, unless it is there."""
    try:
        make_directory(directory, 0o700)
    except OSError as error:
        raise LivecaptionError(f"--all {directory}: {reason(error)}") from None


async def transcripts(store: "Transcripts") -> "AsyncIterator[Transcript]":
    """Return all transcripts that have captions, the newest first. Rooms of several parts follow."""
    sessions = [each for each in await store.sessions() if each.n_finals]
    unfinished = await store.unfinished()
    for session in sessions:
        yield await _transcript(store, session.title, (session,), unfinished)
    for name in sorted({session.room for session in sessions if session.room}):
        room = await store.room(name)
        parts = tuple(part for part in await store.parts(room) if part.n_finals) if room else ()
        if len(parts) > 1:
            yield await _transcript(store, f"{parts[0].room_title or name} (all parts)", parts, unfinished)


async def _transcript(
    store: "Transcripts", title: str, parts: "tuple[SessionRecord, ...]", unfinished: frozenset[str]
) -> Transcript:
    ids = [part.id for part in parts]
    tracks = sorted({track for part in parts for track in await store.tracks(part)})
    return Transcript(
        file_stem(parts[0].started_at_ms, title, " ".join(ids)), parts, tuple(tracks), unfinished.isdisjoint(ids)
    )


def file_stem(started_at_ms: int, title: str, identity: str) -> str:
    """Return a name that every file system takes. It depends on nothing else, so it is the same the next time.

    Its last part is that of a hash, because an id in the name of a file would give access to the transcript.
    """
    started_at = datetime.fromtimestamp(started_at_ms / 1000, UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    return "_".join(filter(None, (started_at, _safe(title), digest)))


def _safe(title: str) -> str:
    """Return the letters and digits of a title, with hyphens between its words."""
    kept = "".join(
        character if unicodedata.category(character)[0] in "LMN" else " "
        for character in unicodedata.normalize("NFC", title)
    )
    hyphenated = "-".join(kept.split()).encode()[:MAX_TITLE_BYTES]
    return hyphenated.decode(errors="ignore").strip("-")  # without half a character at the end
