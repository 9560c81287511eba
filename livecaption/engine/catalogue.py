"""List the models that have names: what they support, their size and cost, and what of them is on this machine.

Nothing is downloaded here. The sizes are those of half-precision weights, 2 bytes for each parameter, as on the hub.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from faster_whisper.utils import _MODELS as HUB_REPOSITORIES

from livecaption.engine.models import find_local
from livecaption.errors import EngineUnusable

PARAMETERS_M = {
    "tiny": 39,
    "base": 74,
    "small": 244,
    "medium": 769,
    "large": 1550,
    "large-v1": 1550,
    "large-v2": 1550,
    "large-v3": 1550,
    "large-v3-turbo": 809,
    "turbo": 809,
    "distil-small": 166,
    "distil-medium": 394,
    "distil-large-v2": 756,
    "distil-large-v3": 756,
    "distil-large-v3.5": 756,
}
"""Millions of parameters, without `.en`. Source: the model cards of openai/whisper and distil-whisper."""

LICENCE = "MIT"
"""The licence on the cards of all repositories in `HUB_REVISIONS`."""

MEASURED_STREAMS_PER_CORE = {"tiny.en": 12.0}
"""Streams that a core of a CPU serves: 24 on two cores (docs/measuring.md, "Under load")."""


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A model that has a name.

    Attributes:
        name: the name for `--model`.
        english_only: whether it supports English only; otherwise 99 languages, and it can translate into English.
        n_mb: size of its weights in MB.
        streams_per_core: streams that a core of a CPU serves, with int8.
        measured: whether that was measured. Otherwise it is estimated.
        licence: licence of the weights.
        place: the directory on this machine, or the package; empty: it is not here.
    """

    name: str
    english_only: bool
    n_mb: int
    streams_per_core: float
    measured: bool
    licence: str
    place: str


def catalogue() -> list[CatalogueEntry]:
    """Return all models that faster-whisper has names for, in its order."""
    return [_entry(name) for name in HUB_REPOSITORIES]


def _entry(name: str) -> CatalogueEntry:
    try:
        files = find_local(name)
    except EngineUnusable:  # a directory of this name is no model, and `serve --model` would refuse it too
        files = None
    return CatalogueEntry(
        name=name,
        english_only=name.endswith(".en") or name.startswith("distil-"),
        n_mb=2 * _parameters_m(name),
        streams_per_core=streams_per_core(name),
        measured=name in MEASURED_STREAMS_PER_CORE,
        licence=LICENCE,
        place=str(files.directory) if files else "",
    )


def streams_per_core(name: str) -> float:
    """Return how many streams a core serves: measured, or estimated from the number of parameters.

    Each weight takes part in the computation of each position, so the time grows with their number. base has 1.9 times
    the parameters of tiny.en and takes 1.83 times its CPU time (docs/measuring.md, "The engine alone").
    """
    reference, streams = next(iter(MEASURED_STREAMS_PER_CORE.items()))
    estimate = streams * _parameters_m(reference) / _parameters_m(name)
    return MEASURED_STREAMS_PER_CORE.get(name, estimate)


def _parameters_m(name: str) -> int:
    return PARAMETERS_M[name.removesuffix(".en")]


def damaged(directory: Path) -> Iterator[Path]:
    """Yield the files of the hub's cache whose content is not that of their name. Other files have no checksums.

    The cache has links to files named after their SHA-256 (large ones) or their Git hash.
    """
    for file in sorted(directory.iterdir()):
        expected = Path(os.path.realpath(file)).name
        if file.is_symlink() and re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", expected):
            with file.open("rb") as content:
                if len(expected) == 64:
                    actual = hashlib.file_digest(content, "sha256").hexdigest()
                else:
                    header = b"blob %d\0" % os.fstat(content.fileno()).st_size
                    actual = hashlib.sha1(header + content.read(), usedforsecurity=False).hexdigest()
            if actual != expected:
                yield file
