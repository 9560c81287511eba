"""Configure where transcripts are kept, and how long."""

from dataclasses import dataclass
from pathlib import Path

from livecaption.errors import ConfigError

NOWHERE = "none"
NO_HOME = "the home directory is unknown: set HOME"
KEEP_DAYS = 30.0
"""Days for which `livecaption serve` keeps transcripts: docs/decisions/0045-privacy-by-default.md."""


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Path and retention time of the store.

    Attributes:
        path: the database file; `none`: nothing is kept.
        keep_days: days after its end when a transcript is deleted; 0: never.
    """

    path: str = NOWHERE
    keep_days: float = 0.0

    def __post_init__(self) -> None:
        if not self.path:
            raise ConfigError(f"--store must name a file, or be {NOWHERE}")
        if not 0 <= self.keep_days <= 36_500:
            raise ConfigError("--keep-days must be from 0 to 36500")

    @property
    def description(self) -> str:
        """The place of transcripts and the time for which they are kept, as a sentence for the log."""
        if self.path == NOWHERE:
            return "transcripts are not kept (--store none)"
        days = f"for {self.keep_days:g} days after the end of their session" if self.keep_days else "without limit"
        return f"transcripts are kept in {self.path} {days} (--keep-days)"


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
