"""Flags over environment over file over defaults, and one clear error for each setting that makes no sense."""

import argparse
from pathlib import Path

import pytest

from livecaption.config import GROUPS, OPTIONS, Config, add_config_arguments, is_loopback, load_config
from livecaption.errors import ConfigError
from livecaption.store.config import StoreConfig
from tests.support.cases import for_each


def load(*flags: str, **environ: str) -> Config:
    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    return load_config(parser.parse_args(flags), environ)


def test_nothing_given_means_the_defaults() -> None:
    assert load() == Config()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "livecaption.toml"
    path.write_text('[server]\nport = 1111\nhost = "127.0.0.2"\n[endpointing]\nhangover_ms = 700\n')
    return path


def test_a_flag_wins_over_the_environment_and_that_over_the_file(file: Path) -> None:
    assert load(f"--config={file}").server.port == 1111
    assert load(f"--config={file}", LIVECAPTION_PORT="2222").server.port == 2222
    assert load(f"--config={file}", "--port=3333", LIVECAPTION_PORT="2222").server.port == 3333
    config = load(LIVECAPTION_CONFIG=str(file))
    assert (config.server.host, config.endpointing.hangover_ms) == ("127.0.0.2", 700)


def test_lists_and_switches_are_understood_in_every_source(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[server]\nallowed_origins = ["https://a", "https://b"]\ninsecure = true\n')
    from_file = load(f"--config={path}").server
    from_environment = load(LIVECAPTION_ALLOWED_ORIGIN="https://a, https://b", LIVECAPTION_INSECURE="true").server
    from_flags = load("--allowed-origin=https://a", "--allowed-origin=https://b", "--insecure").server
    assert from_file == from_environment == from_flags
    assert from_file.allowed_origins == ("https://a", "https://b")


def test_languages_for_readers_are_a_list_and_another_engine_has_others() -> None:
    assert load("--translate=en").engine.tracks == ("en",)
    assert load("--translate=de,fr", "--translation-model=nllb").engine.tracks == ("de", "fr")
    assert load("--translate=de", "--engine=scripted").engine.tracks == ("de",)
    assert load(LIVECAPTION_TRANSLATE="de, fr", LIVECAPTION_ENGINE="scripted").engine.tracks == ("de", "fr")


@for_each(
    ("flags", "named"),
    [
        (["--port=http"], "--port"),
        (["--port=70000"], "--port"),
        (["--translate=de"], "--translate: Whisper translates into en only; other languages need --translation-model"),
        (["--translate=German"], "--translate takes codes of languages, such as en,de: not German"),
        (["--translation-model=nllb"], "--translation-model needs --translate with the languages"),
        (["--speaker-model=voices.onnx"], "--speaker-model needs --speakers"),
        (["--max-streams=0"], "--max-streams"),
        (["--silence=0"], "--silence must be an integer from 20 to 10000"),
        (["--partial-interval=1"], "--partial-interval must be from 100 to 10000"),
        (["--max-readers=-1"], "--max-readers"),
        (["--max-streams=many"], "--max-streams must be auto or a whole number"),
        (["--drain-timeout=-1"], "--drain-timeout"),
        (["--drain-timeout=nan"], "--drain-timeout"),
        (["--load-timeout=0"], "--load-timeout"),
        (["--threads=-1"], "--threads"),
        (["--keep-days=-1"], "--keep-days"),
        (["--keep-days=long"], "--keep-days must be a number"),
        (["--store="], "--store"),
        (["--token=s3cret "], "--token has a space before or after it, which clients cannot send"),
        (["--tls-cert=cert.pem"], "--tls-key"),
        (["--tls-cert=cert.pem", "--tls-key=key.pem", "--tls-self-signed"], "--tls-self-signed"),
        *(
            ([f"--public-url={url}"], "--public-url must be an address such as https://captions.example.org/hall")
            for url in (
                *(
                    "captions.example.org",
                    "ftp://captions.example.org",
                    "https://",
                    "https://captions.example.org:70000",
                ),
                *("https://me@captions.example.org/", "https://captions.example.org/?room=1", "https://c.example/#top"),
                *("https://captions.example.org/a b", "https://captions.example.org/ rubbish", "https://c.example//x"),
                f"https://captions.example.org/{'x' * 500}",
            )
        ),
        *(
            ([f"--{flag}=https://a.example/x"], f"--{flag}: https://a.example/x has a path, and an origin has none.")
            for flag in ("allowed-origin", "allowed-frame")
        ),
        (
            ["--trusted-proxy=10.0.0.7/8"],
            "--trusted-proxy: 10.0.0.7/8 has host bits set. Write an address, or a network",
        ),
        (["--host=0.0.0.0"], "LIVECAPTION_TOKEN"),
        (["--config=/nowhere/at/all.toml"], "/nowhere/at/all.toml"),
    ],
)
def test_a_flag_that_makes_no_sense_is_named(flags: list[str], named: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load(*flags)
    assert named in refusal.value.message


def test_a_setting_that_the_server_can_find_out_may_be_auto(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    for content, max_streams in (("'auto'", None), ("5", 5)):
        path.write_text(f"[server]\nmax_streams = {content}\n")
        assert load(f"--config={path}").server.max_streams == max_streams
    assert load(f"--config={path}", "--max-streams=auto").server.max_streams is None
    assert load(LIVECAPTION_MAX_STREAMS="7").server.max_streams == 7


def test_a_command_may_have_defaults_of_its_own() -> None:
    """Only `serve` keeps transcripts; the choice of a user wins all the same."""
    defaults = Config(store=StoreConfig("100 %.db"))
    parser = argparse.ArgumentParser()
    add_config_arguments(parser, defaults)
    assert "(default: 100 %.db)" in " ".join(parser.format_help().split())
    assert load_config(parser.parse_args([]), {}, defaults) == defaults
    assert load_config(parser.parse_args(["--keep-days=7"]), {}, defaults).store == StoreConfig("100 %.db", 7)
    assert load_config(parser.parse_args([]), {"LIVECAPTION_STORE": "none"}, defaults) == Config()


def test_the_help_has_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "more are refused with 503 (default: auto)" in text
    assert "None" not in text


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("[server]\nprot = 1", "server.prot"),
        ("[sever]\nport = 1", "[sever]"),
        ("[live]\ntick_s = 1", "unknown section [live]"),
        ("port = 1", "[port]"),
        ("[server]\nport = true", "server.port"),
        ("[server]\nhost = 1", "server.host"),
        ('[server]\nallowed_origins = "*"\nallowed_hosts = [1]', "server.allowed_hosts"),
        ("[server]\ninsecure = 3", "server.insecure"),
        ('[engine]\nengine = "magic"', "engine.engine"),
        ("[server", "config.toml"),
    ],
)
def test_a_file_that_makes_no_sense_is_named_with_its_key(tmp_path: Path, content: str, named: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(content)
    with pytest.raises(ConfigError) as refusal:
        load(f"--config={path}")
    assert named in refusal.value.message


def test_a_token_or_insecure_opens_the_server_to_other_machines() -> None:
    assert load("--host=0.0.0.0", LIVECAPTION_TOKEN="secret").server.host == "0.0.0.0"
    assert load("--host=0.0.0.0", "--insecure").server.insecure


@for_each(
    ("url", "page"),
    [
        ("https://Captions.example.org", "https://captions.example.org/"),
        ("http://192.0.2.7:8000/", "http://192.0.2.7:8000/"),
        ("https://captions.example.org/Hall-1", "https://captions.example.org/Hall-1/"),
        ("https://[2001:DB8::7]:8443/a/b/", "https://[2001:db8::7]:8443/a/b/"),
    ],
)
def test_a_public_address_is_brought_into_one_form(url: str, page: str) -> None:
    assert load(f"--public-url={url}").server.public_page == page


def test_without_a_public_address_there_is_none() -> None:
    assert load().server.public_page is None


def test_the_help_of_insecure_lists_what_it_opens(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "anyone who reaches the server may stream and see figures" in text
    assert "listed and deleted from this machine only, and private sessions need their reader token" in text


@for_each(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("", False),
        ("127.evil.example", False),
    ],
)
def test_loopback_is_distinguished_from_other_hosts(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_every_option_names_a_field_that_exists() -> None:
    for option in OPTIONS:
        assert option.type is not None
        assert option.variable.startswith("LIVECAPTION_")


def test_variables_are_read_without_the_line_ends_and_quotes_of_a_file_of_variables(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_bytes(b"\xef\xbb\xbfs3cret\r\n")
    assert load(LIVECAPTION_STORE="none\r").store.path == "none"
    assert load(LIVECAPTION_HOST='"127.0.0.3"', LIVECAPTION_PORT="'81'\r").server.host == "127.0.0.3"
    assert load(LIVECAPTION_TOKEN='"s3cret"\r').server.token == "s3cret"
    assert load(LIVECAPTION_TOKEN_FILE=f"{secret}\r").server.token == "s3cret"
    assert load("--token=flag", LIVECAPTION_TOKEN_FILE=str(secret)).server.token == "flag"


def test_a_flag_with_a_line_end_is_refused() -> None:
    """A shell script with line ends of Windows would keep transcripts in a file of that name."""
    with pytest.raises(ConfigError, match="--store contains a line break"):
        load("--store=none\r")


def test_every_option_is_in_a_group_of_the_help() -> None:
    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    text = parser.format_help()
    assert [group for group in GROUPS if f"\n{group}:\n  --{GROUPS[group][0].flag} " not in text] == []
    assert len({option.flag for option in OPTIONS}) == len(OPTIONS)
