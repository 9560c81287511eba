"""A command that cannot measure reports it by one line of stderr and its exit code, and prints no figure."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from livecaption.errors import InvalidAudio
from livecaption.evaluation import (
    audience,
    diarization,
    long_form,
    loop_cost,
    reliability,
    siege,
    soak,
    uploads,
    virtual_time,
)
from livecaption.evaluation.command import reporting
from tests.support.streaming import JFK

DATA = Path(__file__).parent.parent / "data"
Main = Callable[[Sequence[str]], int]


@pytest.mark.parametrize("main", [each.main for each in (audience, loop_cost, reliability, siege, soak)])
def test_a_recording_that_is_not_there_is_named(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no-such.flac"]) == 2
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "[Errno 2] No such file or directory: 'no-such.flac'\n")


@pytest.mark.parametrize("main", [each.main for each in (diarization, long_form, uploads, virtual_time)])
def test_without_a_recording_that_matches_there_is_no_figure(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(DATA), "no-such-clip"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "no recording" in output.err


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (loop_cost.main, ["--speech", "0"]),
        (loop_cost.main, ["--streams", "50,0"]),
        (loop_cost.main, ["--processes", "0"]),
        (audience.main, ["--readers", "0"]),
        (soak.main, ["--cycles", "0"]),
    ],
)
def test_nothing_is_no_number_of_a_measurement(
    main: Main, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(JFK), *arguments])
    assert "must be" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (TimeoutError(), "TimeoutError\n"),
        (InvalidAudio("no audio"), "no audio\n"),
        (subprocess.CalledProcessError(3, "transcribe"), "Command 'transcribe' returned non-zero exit status 3.\n"),
    ],
)
def test_an_error_is_one_line(error: Exception, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    @reporting
    def main() -> int:
        raise error

    assert main() == 2
    assert capsys.readouterr().err == line
