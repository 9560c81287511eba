"""Find out what a machine has for computing on a GPU, and how much of its memory is used. Loads no model."""

import functools
import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from livecaption.evaluation.gpu.step import Record, StepSettings, main
from livecaption.evaluation.gpu.unpack import COMMIT_FILE, cublas_files
from livecaption.ipc.gpus import Driver
from livecaption.workers.processors import n_processors

ROOT = Path(__file__).parent.parent.parent.parent
PACKAGES = (
    *("ctranslate2", "faster-whisper", "nvidia-cublas-cu12", "nvidia-cublas", "torch", "numpy", "onnxruntime"),
    *("tokenizers", "aiohttp"),
)
SMI_FIELDS = ("name", "driver_version", "memory.total", "compute_cap", "mig.mode.current")
SMI_TIMEOUT_S = 10.0


def environment(_: StepSettings, record: Record) -> None:
    """Record hardware, driver, libraries and versions."""
    record(
        {
            "commit": _commit(),
            "python": platform.python_version(),
            "cores": n_processors(),
            "processor": _processor(),
            "gpus": parse_gpus(_smi(*SMI_FIELDS)),
            "driver_cuda": _driver_cuda(),
            "cublas": cublas_files(),
            "versions": {name: version for name in PACKAGES if (version := _version(name))},
        }
    )


def used_bytes(device: str, pids: Iterable[int]) -> int:
    """Return the memory of the device that is used: of a GPU by all programs, or for the CPU by these processes.

    This process has a context on the GPU from the first call on, whose memory is counted each time.
    """
    if device != "cpu":
        driver, (_, _, index) = _driver(), device.partition(":")
        return driver.memory(driver.gpus[int(index or 0)]).used_bytes
    total = 0
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            total += psutil.Process(pid).memory_info().rss
    return total


def parse_gpus(text: str) -> list[dict[str, Any]]:
    """Return the GPUs in an answer of nvidia-smi for `SMI_FIELDS`."""
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    return [dict(zip(SMI_FIELDS, row, strict=True)) for row in rows if len(row) == len(SMI_FIELDS)]


def _smi(*names: str) -> str:
    if not shutil.which("nvidia-smi"):
        return ""
    query = ["nvidia-smi", f"--query-gpu={','.join(names)}", "--format=csv,noheader,nounits"]
    return subprocess.run(query, capture_output=True, text=True, timeout=SMI_TIMEOUT_S).stdout


def _driver_cuda() -> str | None:
    """Return the newest version of CUDA that the driver supports, such as `12.8`."""
    try:
        version = _driver().version
    except OSError:
        return None
    return f"{version // 1000}.{version % 1000 // 10}"


@functools.cache
def _driver() -> Driver:
    return Driver()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    match = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else platform.machine()


def _commit() -> str:
    """Return the commit of the checkout, or that which a pack was made from."""
    if (ROOT / COMMIT_FILE).is_file():
        return (ROOT / COMMIT_FILE).read_text(encoding="utf-8").strip()
    described = subprocess.run(
        ["git", "-C", ROOT, "describe", "--always", "--dirty", "--exclude=*"], capture_output=True, text=True
    )
    return described.stdout.strip() or "unknown"


if __name__ == "__main__":
    main({"environment": environment}, sys.argv[1:])
