"""Choose the store by the settings, and open it."""

import asyncio
import logging
import time

from livecaption.errors import StoreAway
from livecaption.store.config import NOWHERE, StoreConfig
from livecaption.store.keeper import Keeper
from livecaption.store.shared import SharedTranscripts
from livecaption.store.store import Store
from livecaption.store.transcripts import TranscriptStore

PATIENCE_S = 60.0
"""Time in s for which a start waits for a database that is away. Longer: the failure of the start is noticed later.
Shorter: a service manager starts the server again and again while the machine of the database boots."""
AGAIN_S = 1.0

logger = logging.getLogger(__name__)


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


async def open_patiently(store: Store) -> None:
    """Open a store. A database that is away, as after a boot of its machine, is tried again for `PATIENCE_S`.

    Raises:
        StoreUnusable: see `Store.open`.
    """
    give_up_s = time.monotonic() + PATIENCE_S
    is_reported = False
    while True:
        try:
            await store.open()
            return
        except StoreAway as error:
            if time.monotonic() >= give_up_s:
                raise
            if not is_reported:
                logger.warning("%s; the server tries again for %.0f s", error, PATIENCE_S)
            is_reported = True
        await asyncio.sleep(AGAIN_S)
