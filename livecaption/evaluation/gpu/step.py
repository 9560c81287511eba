"""Run one step of the measurement on a GPU, in a process of its own.

Each finding is a line of JSON on stdout, written at once. What libraries print goes to stderr.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from livecaption.errors import LivecaptionError
from livecaption.evaluation.bench import load_recordings
from livecaption.evaluation.clips import choose, read_manifest
from livecaption.evaluation.playlist import Recording
from livecaption.recognition import MAX_WINDOW_MS

Finding = dict[str, Any]
Record = Callable[[Finding], None]


@dataclass(frozen=True, slots=True)
class StepSettings:
    """The settings of one step.

    Attributes:
        device: `cpu`, `cuda` or `cuda:N`.
        compute_type: `auto` or a type of CTranslate2.
        model: as in `find_model`.
        data: directory of recordings with their manifest.
        limit_s: time after which the step is stopped.
    """

    device: str = "cpu"
    compute_type: str = "auto"
    model: str = ""
    data: Path = Path()
    limit_s: float = 60.0

    @property
    def on_cpu(self) -> bool:
        return self.device == "cpu"

    def recordings(self) -> list[Recording]:
        """Return the English recordings that fit into a window."""
        recordings = load_recordings(choose(read_manifest(self.data), ()))
        return [recording for recording in recordings if recording.duration_ms <= MAX_WINDOW_MS]

    def arguments(self) -> list[str]:
        """Return the settings as arguments for `main`."""
        return [
            *("--device", self.device, "--compute-type", self.compute_type, "--model", self.model),
            *("--data", str(self.data), "--limit", str(self.limit_s)),
        ]


Step = Callable[[StepSettings, Record], None]


def main(steps: Mapping[str, Step], arguments: Sequence[str]) -> NoReturn:
    """Run the step that the arguments name, and end the process.

    A device or a model that cannot be used is a finding, too: `refused`, with the message of the server.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("step", choices=steps)
    parser.add_argument("--device", required=True)
    parser.add_argument("--compute-type", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=float, required=True)
    options = parser.parse_args(arguments)
    settings = StepSettings(options.device, options.compute_type, options.model, options.data, options.limit)
    findings = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def record(finding: Finding) -> None:
        findings.write(json.dumps(finding) + "\n")
        findings.flush()

    try:
        steps[options.step](settings, record)
    except LivecaptionError as error:
        record({"refused": error.message})
    sys.stdout.flush()
    sys.stderr.flush()
    # The destructor of a loaded model is known to hang or crash.
    os._exit(0)
