"""Each test has a marker of what it needs, so that a subset such as `pytest -m pure` misses none."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import KIND_OF_PLACE, TESTS, kind_of_place


def test_every_place_with_tests_has_a_kind() -> None:
    assert {str(path) for path in TESTS.rglob("test_*.py") if kind_of_place(path) is None} == set()


def test_every_place_that_has_a_kind_exists() -> None:
    assert {place for place in KIND_OF_PLACE if not (TESTS / place).exists()} == set()


def test_a_file_may_be_of_another_kind_than_its_directory() -> None:
    assert kind_of_place(TESTS / "store" / "test_writer.py") == "server"
    assert kind_of_place(TESTS / "store" / "test_rows.py") == "pure"


def collected(test: Path, marker: str = "") -> tuple[int, str]:
    """Collect a file outside of the tests with their hooks: the exit status, and what pytest wrote."""
    options = ["--collect-only", "-q", "-p", "tests.conftest", "--rootdir", str(test.parent), "-o", "addopts="]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-c", str(TESTS.parent / "setup.cfg"), str(test)],
        capture_output=True,
        text=True,
        cwd=TESTS.parent,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_test_without_a_marker_ends_the_collection(tmp_path: Path) -> None:
    stray = tmp_path / "test_stray.py"
    stray.write_text("def test_nothing():\n    pass\n")
    status, output = collected(stray)
    assert status != 0
    assert f"no marker and no place in tests/conftest.py: {stray}" in output


def test_a_test_with_a_marker_of_its_own_is_collected(tmp_path: Path) -> None:
    marked = tmp_path / "test_marked.py"
    marked.write_text("import pytest\n\n@pytest.mark.model\ndef test_something():\n    pass\n")
    assert collected(marked)[0] == 0
