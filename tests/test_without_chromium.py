"""The browser tests on a machine without Chromium."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run_browser_tests(path: Path, ci: str) -> tuple[int, list[str]]:
    """Run some of them with nothing but the directory `path` to find programs in; return the code and the output."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/browser/test_meter_module.py"],
        cwd=ROOT,
        env={**os.environ, "PATH": str(path), "CI": ci},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return run.returncode, run.stdout.splitlines()


def test_browser_tests_are_skipped_with_one_line_that_names_what_is_missing(tmp_path: Path) -> None:
    code, lines = run_browser_tests(tmp_path, ci="")
    assert code == pytest.ExitCode.OK
    [line] = [line for line in lines if "Chromium" in line]
    assert line.startswith("SKIPPED [5]")
    assert line.endswith("the browser tests need Chromium: apt-get install chromium chromium-headless-shell")


def test_browser_tests_fail_in_continuous_integration(tmp_path: Path) -> None:
    """A skipped test would look like a passed one there."""
    code, lines = run_browser_tests(tmp_path, ci="true")
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "5 errors" in lines[-1]
