"""A step of the measurement on a GPU writes its findings and nothing else to stdout."""

import json
import subprocess
import sys
from pathlib import Path

from livecaption.evaluation.gpu.step import StepSettings

DATA = Path(__file__).parent.parent.parent / "data"

PROGRAM = """
import os, sys
from livecaption.errors import EngineUnusable
from livecaption.evaluation.gpu.step import main

def noisy(settings, record):
    print("a library prints")
    os.write(1, b"a native library prints\\n")
    record({"device": settings.device, "limit_s": settings.limit_s})
    raise EngineUnusable("No such device")

main({"noisy": noisy}, sys.argv[1:])
"""


def test_only_findings_are_written_to_stdout_and_a_refusal_is_one() -> None:
    settings = StepSettings("cuda:1", "float16", "tiny.en", DATA, 12.5)
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, "noisy", *settings.arguments()], capture_output=True, text=True, check=True
    )
    assert [json.loads(line) for line in ended.stdout.splitlines()] == [
        {"device": "cuda:1", "limit_s": 12.5},
        {"refused": "No such device"},
    ]
    assert "a library prints" in ended.stderr
    assert "a native library prints" in ended.stderr


def test_the_recordings_are_english_and_fit_into_a_window() -> None:
    recordings = StepSettings(data=DATA).recordings()
    assert len(recordings) == 10
    assert {recording.clip.language for recording in recordings} == {"en"}
