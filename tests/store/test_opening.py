"""The setting chooses the store, and an error names what is missing for it."""

import sys

import pytest

from livecaption.errors import ConfigError
from livecaption.store.config import StoreConfig
from livecaption.store.opening import store_of
from livecaption.store.postgresql.store import PostgresqlStore
from livecaption.store.transcripts import TranscriptStore


def test_the_setting_chooses_the_store() -> None:
    assert store_of(StoreConfig("none")) is None
    assert isinstance(store_of(StoreConfig("transcripts.db")), TranscriptStore)
    for address in ("postgresql://host/db", "postgres://host/db"):
        assert isinstance(store_of(StoreConfig(address)), PostgresqlStore)


def test_a_missing_library_is_named_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "livecaption.store.postgresql.store", None)
    monkeypatch.delitem(sys.modules, "livecaption.store.postgresql.store")
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    for name in [each for each in sys.modules if each.startswith("livecaption.store.postgresql.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigError, match=r"--store postgresql://host/db needs asyncpg: pip install") as refused:
        store_of(StoreConfig("postgresql://user:password@host/db"))
    assert "password" not in refused.value.message
