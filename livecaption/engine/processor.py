"""Set how numpy and CTranslate2 use the processor.

This must happen before the model's libraries load, because later they ignore it. Figures:
docs/decisions/0009-processor-settings.md.
"""

import os
from pathlib import Path

import threadpoolctl

_AVX512 = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}
"""Instructions that CTranslate2 requires for its AVX512 code."""


def tune_processor(threads: int) -> None:
    """Set threads and instructions for this process. Call it before anything imports `ctranslate2`.

    Args:
        threads: threads of one pass of the model; 0: the libraries choose.
    """
    # CTranslate2 multiplies by oneDNN on most CPUs, and oneDNN obeys only this variable. Without it oneDNN uses all
    # cores, in spite of CTranslate2's own setting, and takes more CPU time.
    if threads:
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    # The features of a window take half a millisecond. With several threads these wait for each other beside a busy
    # model, and take a quarter of a worker's time.
    threadpoolctl.threadpool_limits(limits=1, user_api="blas")
    if isa := faster_isa(_cpu_description()):
        os.environ.setdefault("CT2_FORCE_CPU_ISA", isa)


def faster_isa(cpu_description: str) -> str | None:
    """Return faster instructions that CTranslate2 does not use by itself; None: there are none.

    CTranslate2 does not use AVX512, because some processors lower their clock for it. AMD's processors do not, and
    Intel's do not since Sapphire Rapids. Those are recognized by a later instruction, AVX-VNNI.

    Args:
        cpu_description: text of Linux' /proc/cpuinfo.
    """
    fields = dict[str, str]()
    for line in cpu_description.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = set(fields.get("flags", "").split())
    keeps_its_clock = fields.get("vendor_id") == "AuthenticAMD" or "avx_vnni" in flags
    return "AVX512" if keeps_its_clock and flags >= _AVX512 else None


def _cpu_description() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
