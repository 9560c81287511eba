"""Names and errors in a terminal."""

import pytest

from livecaption.cli.terminal import complain, printable, reason


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Grüße, 日本語, naïve.wav", "Grüße, 日本語, naïve.wav"),
        ("two\nlines\r.wav", "two\\nlines\\r.wav"),
        ("\x1b]0;title\x07.wav", "\\x1b]0;title\\x07.wav"),
        ("caf\udce9.wav", "caf\\xe9.wav"),
        ("\u202egpj.wav", "\\u202egpj.wav"),
        ("a\u2028b", "a\\u2028b"),
        ("lone\ud800surrogate", "lone\\ud800surrogate"),
    ],
)
def test_a_name_is_one_line_that_changes_no_terminal(name: str, shown: str) -> None:
    assert printable(name) == shown


def test_a_complaint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    complain(OSError("first line\nsecond line"))
    assert capsys.readouterr().err == "livecaption: first line\\nsecond line\n"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError(2, "No such file or directory", "x.wav"), "No such file or directory"),
        (ConnectionError("cannot reach it"), "cannot reach it"),
        (ValueError("not audio"), "not audio"),
    ],
)
def test_the_reason_of_an_error_does_not_repeat_the_path(error: Exception, expected: str) -> None:
    assert reason(error) == expected
