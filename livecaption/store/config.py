"""Configure where transcripts are kept, and how long."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from livecaption.errors import ConfigError

NOWHERE = "none"
POSTGRESQL = ("postgresql://", "postgres://")
"""The beginnings of the address of a database of PostgreSQL, in small letters."""
_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
NO_HOME = "the home directory is unknown: set HOME"
KEEP_DAYS = 30.0
"""Days for which `livecaption serve` keeps transcripts: docs/decisions/0045-privacy-by-default.md."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """Data that one process needs to share the file with the others of its server. No user sets it.

    Attributes:
        owner: the id of the process, which no other has or had.
        directory: where the processes have the sockets by which they ask each other for sessions.
        expires: whether this process deletes old transcripts, which one of them does.
    """

    owner: str
    directory: str
    expires: bool


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Path and retention time of the store.

    Attributes:
        path: the database file, or the address of a database of PostgreSQL; `none`: nothing is kept.
        keep_days: days after its end when a transcript is deleted; 0: never.
        sharing: None: the file is for this process alone, or a database keeps the transcripts.
    """

    path: str = NOWHERE
    keep_days: float = 0.0
    sharing: Sharing | None = None

    def __post_init__(self) -> None:
        if not self.path:
            raise ConfigError(f"--store must name a file or a database, or be {NOWHERE}")
        if _ADDRESS.match(self.path) and not self.is_postgresql:
            # As a file, its name would show a password. Neither does this message have it.
            raise ConfigError("--store must name a file, or a database as postgresql://USER@HOST/DATABASE")
        if not 0 <= self.keep_days <= 36_500:
            raise ConfigError("--keep-days must be from 0 to 36500")

    @property
    def is_postgresql(self) -> bool:
        """True if a database of PostgreSQL keeps the transcripts."""
        return self.path.lower().startswith(POSTGRESQL)

    @property
    def place(self) -> str:
        """The place for messages: of an address neither user nor password nor parameters."""
        return re.sub("//.*@", "//", self.path).partition("?")[0] if self.is_postgresql else self.path

    @contextmanager
    def importing(self) -> Iterator[None]:
        """Let this block import what a database of PostgreSQL needs, and few machines have.

        Raises:
            ConfigError: a library is missing.
        """
        try:
            yield
        except ModuleNotFoundError as error:
            raise ConfigError(f"--store {self.place} needs {error.name}: pip install 'asyncpg>=0.30'") from None

    @property
    def description(self) -> str:
        """The place of transcripts and the time for which they are kept, as a sentence for the log."""
        if self.path == NOWHERE:
            return "transcripts are not kept (--store none)"
        days = f"for {self.keep_days:g} days after the end of their session" if self.keep_days else "without limit"
        return f"transcripts are kept in {self.place} {days} (--keep-days)"


def default_path() -> str:
    """Return a path in the user's data directory.

    It begins with `~` if the home directory is unknown. Then the store cannot be opened, and reports that.
    """
    try:
        return str(data_directory() / "transcripts.db")
    except ConfigError:  # of a user who is not in the system's list, as in many containers
        return "~/.local/share/livecaption/transcripts.db"


def data_directory() -> Path:
    """Return the user's data directory, which depends on the system.

    Raises:
        ConfigError: the home directory is unknown.
    """
    # Imported here, because only `serve` needs it.
    from platformdirs import user_data_path

    try:
        return user_data_path("livecaption", appauthor=False)
    except RuntimeError:
        raise ConfigError(f"{NO_HOME}, or XDG_DATA_HOME") from None
