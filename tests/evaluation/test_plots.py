"""The plot of a sweep."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

# Imported in the tests, because that takes a second, and each process that shares the tests reads all files.
PLOTS = "livecaption.evaluation.plots"
SPREAD = {"n": 3, "missing": 0, "p50": 300, "p95": 900}


def row(streams: int, **more: Any) -> dict[str, Any]:
    latencies = dict.fromkeys(("word_shown_ms", "word_committed_ms", "final_ms"), SPREAD)
    figures = {"wer": 0.07, "rtf": 0.02, "compute_per_audio": 0.2}
    cpu = {"server_cpu_percent": 5.0, "inference_cpu_percent": 60.0}
    return {"streams": streams, **latencies, **figures, **cpu, **more}


@pytest.mark.parametrize(("suffix", "begins"), [("png", b"\x89PNG\r\n\x1a\n"), ("svg", b"<?xml")])
def test_a_picture_is_of_the_kind_in_its_name(tmp_path: Path, suffix: str, begins: bytes) -> None:
    path = tmp_path / f"sweep.{suffix}"
    import_module(PLOTS).draw([row(1), row(8)], path)
    assert path.read_bytes().startswith(begins)


def test_figures_that_are_unknown_are_left_out(tmp_path: Path) -> None:
    """A remote server without CPU figures, and without any correct word."""
    nothing = {"n": 0, "missing": 3, "p50": None, "p95": None}
    import_module(PLOTS).draw(
        [row(1, wer=None, rtf=None, inference_cpu_percent=None, final_ms=nothing)], tmp_path / "one.png"
    )
    assert (tmp_path / "one.png").exists()
