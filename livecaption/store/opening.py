"""Choose the store by the settings."""

from livecaption.store.config import NOWHERE, StoreConfig
from livecaption.store.keeper import Keeper
from livecaption.store.shared import SharedTranscripts
from livecaption.store.store import Store
from livecaption.store.transcripts import TranscriptStore


def store_of(config: StoreConfig) -> Store | None:
    """Return the store of these settings, which is to be opened; None: nothing is kept.

    Raises:
        ConfigError: a library is missing.
    """
    if config.path == NOWHERE:
        return None
    if config.sharing is not None:
        return SharedTranscripts(config, config.sharing)
    if not config.is_postgresql:
        return TranscriptStore(config)
    with config.importing():
        from livecaption.store.postgresql.store import PostgresqlStore
    return PostgresqlStore(config)


def keeper_of(config: StoreConfig) -> Keeper | None:
    """Return the keeper of a file that several processes are to share; None: they need none."""
    return None if config.path == NOWHERE or config.is_postgresql else Keeper(config)
