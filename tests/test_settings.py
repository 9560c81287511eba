"""The rules of each source of settings: quotes, line ends, byte-order marks, files of secrets, misspelled names."""

import tomllib
from pathlib import Path

import pytest

from livecaption.errors import ConfigError
from livecaption.settings import as_toml, convert, read_toml, text_of, unknown_variables, unquoted, variable
from tests.support.cases import for_each


@for_each(
    ("given", "expected"),
    [
        ("none\r", "none"),
        ('"0.0.0.0"', "0.0.0.0"),
        ("'0.0.0.0'\r", "0.0.0.0"),
        ("  8000 ", "8000"),
        ("\ufeffnone", "none"),
        ('"it\'s"', "it's"),
        ('"', '"'),
        ("\"a'", "\"a'"),
        ("' a '", " a "),
        ("", ""),
    ],
)
def test_a_variable_loses_what_a_file_of_variables_leaves_around_it(given: str, expected: str) -> None:
    assert unquoted(given) == expected


@pytest.mark.parametrize("content", [b"s3cret\r\n", b"\xef\xbb\xbfs3cret\n", b'"s3cret"', b"s3cret"])
def test_a_secret_may_be_in_a_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    assert variable("X", {"X_FILE": f'"{path}"\r'}, secret=True) == ("s3cret", "X_FILE")
    assert variable("X", {"X_FILE": str(path)}) is None


@for_each(
    ("content", "named"),
    [
        (b"\r\n", "must have one secret"),
        (b"", "must have one secret"),
        (b"x" * 70_000, "must have one secret"),
        (b"\xff\xfes\x00", "is in UTF-16: save it as UTF-8"),
        (b"s3cr\xe9t", "is not in UTF-8"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: bytes | None, named: str) -> None:
    path = tmp_path / "secret"
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as refusal:
        variable("X", {"X_FILE": str(path)}, secret=True)
    assert named in refusal.value.message
    assert refusal.value.message.startswith("X_FILE: ")
    assert "s3cr" not in refusal.value.message
    assert str(path) not in refusal.value.message


@for_each("secret", ["s3cret", "/s3cret", "s3cr\0et", "s3cret" * 1000])
def test_a_secret_in_place_of_the_path_of_its_file_is_not_shown(secret: str) -> None:
    with pytest.raises(ConfigError, match="X_FILE: the file cannot be read") as refusal:
        variable("X", {"X_FILE": secret}, secret=True)
    assert "s3cr" not in refusal.value.message


def test_an_empty_variable_is_not_set(tmp_path: Path) -> None:
    """Files for Compose and systemd leave some of their variables empty."""
    path = tmp_path / "secret"
    path.write_text("s3cret")
    for empty in ("", " \r", '""'):
        assert variable("X", {"X": empty}) is None
        assert variable("X", {"X": empty, "X_FILE": str(path)}, secret=True) == ("s3cret", "X_FILE")
        assert variable("X", {"X": "s3cret", "X_FILE": empty}, secret=True) == ("s3cret", "X")
        assert text_of("X", {"X": empty}) == text_of("X", {}) == ""


@for_each("value", [float("inf"), float("nan"), 8000.7, "8000.7", "1e400"])
def test_only_whole_numbers_are_taken_where_one_is_needed(value: object) -> None:
    with pytest.raises(ConfigError, match=r"server\.port must be a whole number"):
        convert(value, int, "server.port")
    assert convert(8000.0, int, "server.port") == 8000


def test_a_secret_has_one_source_in_the_environment(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="X and X_FILE are both set"):
        variable("X", {"X": "s3cret", "X_FILE": str(tmp_path)}, secret=True)


@for_each(
    ("content", "expected"),
    [
        (b"\xef\xbb\xbf[server]\r\nport = 1\r\n", {"server": {"port": 1}}),
        (b"[server]\nport = 1\n", {"server": {"port": 1}}),
        ("[server]\nport = 1".encode("utf-16"), "is in UTF-16: save it as UTF-8"),
        (b"[server]\nhost = '\xe9'", "is not in UTF-8"),
        (b"[server", "config.toml: "),
        (b"x = " + b"[" * 5000, "config.toml: too many brackets within each other"),
    ],
)
def test_a_file_is_read_as_editors_save_it(tmp_path: Path, content: bytes, expected: dict[str, object] | str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    if isinstance(expected, dict):
        assert read_toml(path) == expected
        return
    with pytest.raises(ConfigError) as refusal:
        read_toml(path)
    assert expected in refusal.value.message


def test_a_misspelled_variable_is_named_with_the_nearest_setting_and_without_its_value() -> None:
    environ = {
        "LIVECAPTION_PROT": "s3cret",
        "LIVECAPTION_DASHBOARD": "s3cret",
        "LIVECAPTION_PORT": "8000",
        "LIVECAPTION_TEST_MARKER": "1",
        "HOME": "/",
    }
    found = unknown_variables(environ, ["LIVECAPTION_PORT", "LIVECAPTION_HOST"])
    assert found == ["LIVECAPTION_DASHBOARD", "LIVECAPTION_PROT (LIVECAPTION_PORT?)"]


@pytest.mark.parametrize("kind", [str, tuple[str, ...]])
def test_a_control_character_is_refused_and_the_value_is_not_shown(kind: object) -> None:
    with pytest.raises(ConfigError) as refusal:
        convert("s3cret\rmore", kind, "--token")
    assert refusal.value.message == "--token contains a line break or another control character"


@for_each("value", ["", 'a"b\\c', "Grüße 😀", 5, 7.5, True, ("https://a", 'b"')])
def test_a_setting_is_written_as_toml(value: object) -> None:
    parsed = tomllib.loads(f"key = {as_toml(value)}")["key"]
    assert (tuple(parsed) if isinstance(value, tuple) else parsed) == value


def test_a_setting_that_is_found_out_is_written_as_the_word_for_it() -> None:
    assert as_toml(None) == '"auto"'
