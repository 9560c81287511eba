"""Configure where transcripts are kept, and how long."""

from dataclasses import dataclass
from pathlib import Path

from livecaption.errors import ConfigError

NOWHERE = "none"


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


def default_path() -> str:
    """Return a path in the user's data directory, which depends on the system.

    It begins with `~` if the home directory is unknown. Then the store cannot be opened, and reports that.
    """
    # Imported here, because only `serve` needs it.
    from platformdirs import user_data_path

    try:
        directory = user_data_path("livecaption", appauthor=False)
    except RuntimeError:
        directory = Path("~/.local/share/livecaption")
    return str(directory / "transcripts.db")
