"""Transcripts are kept where the settings name a place."""

import pytest

from livecaption.errors import ConfigError
from livecaption.store.config import NOWHERE, StoreConfig, data_directory, default_path
from tests.support.cases import for_each
from tests.support.users import without_home


def test_nothing_is_kept_by_default() -> None:
    """An application that mounts livecaption, and the commands with a server of their own, write no files."""
    assert StoreConfig().path == NOWHERE


@for_each(
    ("config", "sentence"),
    [
        (
            StoreConfig("/data/t.db", 30),
            "transcripts are kept in /data/t.db for 30 days after the end of their session",
        ),
        (StoreConfig("/data/t.db", 0.5), "transcripts are kept in /data/t.db for 0.5 days after"),
        (StoreConfig("/data/t.db", 0), "transcripts are kept in /data/t.db without limit (--keep-days)"),
        (
            StoreConfig("postgresql://me:pa@ss?w@host:5432/db?password=word", 0),
            "transcripts are kept in postgresql://host:5432/db without limit (--keep-days)",
        ),
        (StoreConfig("PostgreSQL://me:pass@host/db", 0), "transcripts are kept in PostgreSQL://host/db without limit"),
        (StoreConfig(NOWHERE, 30), "transcripts are not kept (--store none)"),
    ],
)
def test_the_operator_reads_where_transcripts_are_kept_and_how_long(config: StoreConfig, sentence: str) -> None:
    assert config.description.startswith(sentence)


@for_each("scheme", ["postgresql+asyncpg", "mysql", "SQLite", "file", " postgresql"])
def test_an_address_that_is_none_of_postgresql_is_no_file_and_its_password_is_not_repeated(scheme: str) -> None:
    with pytest.raises(ConfigError, match="postgresql://USER@HOST/DATABASE") as refused:
        StoreConfig(f"{scheme}://me:s3cret@host/db")
    assert "s3cret" not in refused.value.message


def test_the_default_is_in_the_data_directory_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_path() == "/data/livecaption/transcripts.db"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/ada")
    assert default_path() == "/home/ada/.local/share/livecaption/transcripts.db"


def test_a_user_without_a_home_may_still_say_where(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command reads the default for its help. The store refuses the path when it is opened."""
    without_home(monkeypatch)
    assert default_path() == "~/.local/share/livecaption/transcripts.db"


@for_each("days", [-1.0, float("nan"), float("inf")])
def test_a_time_that_nothing_can_be_kept_for_is_refused(days: float) -> None:
    with pytest.raises(ConfigError, match="--keep-days"):
        StoreConfig(keep_days=days)


def test_a_directory_of_a_user_without_a_home_is_an_error_that_names_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_home(monkeypatch)
    with pytest.raises(ConfigError, match="the home directory is unknown: set HOME, or XDG_DATA_HOME"):
        data_directory()
