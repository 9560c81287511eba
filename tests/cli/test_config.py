"""`livecaption config`: what it prints is a file for `serve` with the same settings, less the secrets."""

import argparse
import re
import sys
from pathlib import Path

import pytest

from livecaption.cli import main, serve
from livecaption.config import OPTIONS, Config, load_config


@pytest.fixture(autouse=True)
def _own_variables_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in OPTIONS:
        monkeypatch.delenv(option.variable, raising=False)


def loaded(text: str, path: Path) -> Config:
    """Load the text as `serve --config` does."""
    path.write_text(text)
    return load_config(argparse.Namespace(config=str(path)), {}, serve.defaults())


def test_the_example_has_all_settings_and_changes_none(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "example"]) == 0
    text = capfd.readouterr().out
    settings = re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE)
    assert settings != text
    assert loaded(text, tmp_path / "as-it-is.toml") == serve.defaults()
    assert loaded(settings, tmp_path / "used.toml") == serve.defaults()
    assert len(re.findall(r"^\w+ = ", settings, re.MULTILINE)) == len(OPTIONS)


def test_show_has_each_setting_with_its_source_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "livecaption.toml"
    file.write_text("[endpointing]\nhangover_ms = 700\n")
    monkeypatch.setenv("LIVECAPTION_TOKEN", "s3cret")
    monkeypatch.setenv("LIVECAPTION_HOST", '"0.0.0.0"\r')
    monkeypatch.setenv("LIVECAPTION_PROT", "s3cret")
    assert main(["config", "show", "--port=81", f"--config={file}"]) == 0
    printed = capfd.readouterr()
    lines = printed.out.splitlines()
    assert {
        "port = 81  # --port",
        'host = "0.0.0.0"  # LIVECAPTION_HOST',
        "# token is hidden  # LIVECAPTION_TOKEN",
        f"hangover_ms = 700  # {file}: endpointing.hangover_ms",
        "max_readers = 5000  # default",
    } <= set(lines)
    assert "LIVECAPTION_PROT (LIVECAPTION_PORT?)" in printed.err
    assert "s3cret" not in printed.out + printed.err
    shown = loaded(printed.out.replace("# token is hidden", 'token = "s3cret"'), tmp_path / "shown.toml")
    environ = {"LIVECAPTION_TOKEN": "s3cret", "LIVECAPTION_HOST": "0.0.0.0"}
    assert shown == load_config(argparse.Namespace(port=81, config=str(file)), environ, serve.defaults())


def test_show_hides_the_address_of_a_database_which_may_have_a_password(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIVECAPTION_STORE", "postgresql://me:s3cret@host/db?sslmode=require")
    assert main(["config", "show"]) == 0
    printed = capfd.readouterr().out
    assert "# path is hidden  # LIVECAPTION_STORE" in printed
    assert "s3cret" not in printed


def test_show_does_not_repeat_the_address_of_a_database_that_serve_would_refuse(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIVECAPTION_STORE", "postgresql+asyncpg://me:s3cret@host/db")
    assert main(["config", "show"]) == 2
    printed = capfd.readouterr()
    assert "--store must name a file, or a database" in printed.err
    assert "s3cret" not in printed.out + printed.err


def test_show_refuses_what_serve_would_refuse(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--host=0.0.0.0"]) == 2
    assert "LIVECAPTION_TOKEN" in capfd.readouterr().err


@pytest.mark.parametrize("action", ["show", "example"])
def test_output_that_cannot_be_written_ends_with_1(action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["config", action]) == 1
