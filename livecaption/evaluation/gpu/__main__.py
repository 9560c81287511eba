"""Measure on a machine with a GPU what can be known in nine minutes, the most important first.

    python -m livecaption.evaluation.gpu [--device cuda] [--model MODEL] [--out DIR]

It answers whether captions run there at all, whether the words are those of a CPU, how much batches bring, how many
streams the server takes until p95 of finals passes 1.5 s, and when memory is free after SIGKILL.

Each step is a process of its own with a time limit, so that a crash or a hang costs one step. Each finding is printed
at once, and `findings.json` and `report.md` in DIR are written again. A run that is aborted therefore leaves what it
measured. With `--device cpu` all steps run on a machine without a GPU, on a smaller scale.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from livecaption.evaluation.gpu.environment import ROOT
from livecaption.evaluation.gpu.report import line, report
from livecaption.evaluation.gpu.step import Finding, Record, StepSettings
from livecaption.evaluation.server_process import processes_with

MARKER = "LIVECAPTION_STEP_MARKER"
LINES_OF_LOG = 12


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step to run.

    Attributes:
        name: its name in the findings.
        module: the module of this package that has it.
        function: its name there.
        limit_s: time after which it is stopped, with all its processes.
        device: another device than that of the run; empty: that one.
        compute_type: `auto` or a type of CTranslate2.
    """

    name: str
    module: str
    function: str
    limit_s: float
    device: str = ""
    compute_type: str = "auto"


COMPUTE_TYPES = {"cpu": ("float32",), "cuda": ("float16", "int8_float16")}
"""The types that are compared with int8 on the CPU."""
ACCURACY_LIMIT_S = 45.0
"""Limit for each type. A GPU may compile kernels of its own for it."""


def plan(device: str) -> list[PlannedStep]:
    """Return the steps for a device. Their limits make nine minutes at most, less 20 s for the rest."""
    compute_types = COMPUTE_TYPES[device.partition(":")[0]]
    accuracy = PlannedStep("accuracy", "engine", "accuracy", ACCURACY_LIMIT_S)
    return [
        PlannedStep("environment", "environment", "environment", 15),
        # A GPU of a new architecture compiles its kernels in the first one.
        PlannedStep("load", "engine", "load", 90),
        PlannedStep("load again", "engine", "load", 35),
        replace(accuracy, device="cpu", compute_type="int8"),
        *(replace(accuracy, compute_type=compute_type) for compute_type in compute_types),
        PlannedStep("batches", "engine", "batches", 55),
        PlannedStep("streams", "server", "streams", 140),
        PlannedStep("kill", "server", "kill", 50),
    ]


async def run_step(command: Sequence[str], limit_s: float, record: Record) -> None:
    """Run a process that prints findings. Record them, and a `problem` if it does not end well.

    All processes that it leaves are killed.
    """
    marker = uuid.uuid4().hex
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=log, env={**os.environ, MARKER: marker}
        )
        assert process.stdout
        problem = ""
        try:
            async with asyncio.timeout(limit_s):
                async for finding in process.stdout:
                    record(json.loads(finding))
                code = await process.wait()
            problem = f"exit code {code}" if code else ""
        except TimeoutError:
            problem = f"stopped after {limit_s:.0f} s"
        finally:
            while pids := processes_with(f"{MARKER}={marker}"):
                for pid in pids:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            await process.wait()
        if problem:
            log.seek(0)
            lines = log.read().decode(errors="replace").splitlines()
            record({"problem": ": ".join([problem, *lines[-1:]]), "log": lines[-LINES_OF_LOG:]})


class Findings:
    """All findings of a run. They are printed and written at once."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._day = datetime.now(UTC).date()
        self._all: list[Finding] = []

    def add(self, step: str, found: Finding) -> None:
        finding = {"step": step, **found}
        self._all.append(finding)
        print(line(finding), flush=True)
        text = json.dumps({"date": self._day.isoformat(), "findings": self._all}, indent=1)
        (self._directory / "findings.json").write_text(text + "\n", encoding="utf-8")
        (self._directory / "report.md").write_text(self.report, encoding="utf-8")

    @property
    def report(self) -> str:
        return report(self._all, self._day)

    @property
    def is_good(self) -> bool:
        """False if the model did not load, or a step did not end well."""
        return not any(
            "problem" in finding or (finding["step"] == "load" and "refused" in finding) for finding in self._all
        )


async def measure(settings: StepSettings, steps: Sequence[PlannedStep], findings: Findings) -> None:
    """Run all steps in turn."""
    for step in steps:
        chosen = replace(
            settings, device=step.device or settings.device, compute_type=step.compute_type, limit_s=step.limit_s
        )
        command = [
            sys.executable,
            "-m",
            f"livecaption.evaluation.gpu.{step.module}",
            step.function,
            *chosen.arguments(),
        ]
        await run_step(command, step.limit_s, partial(findings.add, step.name))


def main(arguments: Sequence[str]) -> int:
    """Run the command, and return its exit code."""
    assert __doc__
    parser = argparse.ArgumentParser("python -m livecaption.evaluation.gpu", description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu (default: cuda)")
    parser.add_argument("--model", default="", help="as for serve (default: tiny.en)")
    parser.add_argument("--data", type=Path, default=ROOT / "tests/data", help="recordings (default: tests/data)")
    parser.add_argument("--out", type=Path, default=Path("gpu-measurement"), help="(default: gpu-measurement)")
    options = parser.parse_args(arguments)
    if options.device.partition(":")[0] not in COMPUTE_TYPES:
        parser.error("the device is cuda, cuda:N or cpu")
    findings = Findings(options.out)
    settings = StepSettings(options.device, model=options.model, data=options.data.resolve())
    with tempfile.TemporaryDirectory(prefix="livecaption-gpu-") as cache:
        # Kernels that the driver compiles: none for the first load, and then those.
        os.environ["CUDA_CACHE_PATH"] = cache
        asyncio.run(measure(settings, plan(options.device), findings))
    print(f"\n{findings.report}")
    return 0 if findings.is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
