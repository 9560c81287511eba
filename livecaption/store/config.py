"""Where transcripts are kept, and how long."""

from dataclasses import dataclass

from livecaption.errors import ConfigError

NOWHERE = "none"


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Attributes:
    path: the database file; `none`: nothing is kept.
    keep_days: transcripts that ended longer ago are deleted; 0: none is.
    """

    path: str = NOWHERE
    keep_days: float = 0.0

    def __post_init__(self) -> None:
        if not self.path:
            raise ConfigError(f"--store must name a file, or be {NOWHERE}")
        if not 0 <= self.keep_days <= 36_500:
            raise ConfigError("--keep-days must be from 0 to 36500")


def default_path() -> str:
    """In the user's data directory, wherever this system has it."""
    # Here, because only `serve` asks.
    from platformdirs import user_data_path

    return str(user_data_path("livecaption", appauthor=False) / "transcripts.db")
