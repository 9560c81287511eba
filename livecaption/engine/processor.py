"""How numpy and CTranslate2 use the processor. Said before the model's libraries load, for later they do not listen."""

import os
from pathlib import Path

import threadpoolctl

_AVX512 = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}
"""The instructions that CTranslate2 means by AVX512."""


def tune_processor(threads: int) -> None:
    """Settle threads and instructions for this process; call it before anything imports `ctranslate2`.

    Args:
        threads: of one pass of the model; 0: as many as its libraries like.
    """
    # oneDNN, by which CTranslate2 multiplies on most CPUs, heeds only this. Left alone it takes all cores whatever
    # CTranslate2 was told, at a fifth more CPU time (tiny.en int8, batch 8, two cores).
    if threads:
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    # The features of a window take half a millisecond of multiplying. On threads that wait for each other beside a
    # busy model they took a quarter of a worker's time: 24 streams on two cores got 10.8 partials a second, not 22.4.
    threadpoolctl.threadpool_limits(limits=1, user_api="blas")
    if isa := faster_isa(_cpu_description()):
        os.environ.setdefault("CT2_FORCE_CPU_ISA", isa)


def faster_isa(cpu_description: str) -> str | None:
    """Instructions that CTranslate2 does not take by itself and that are faster; None: there are none.

    It leaves AVX512 alone, for which some processors clock down. AMD's do not: with it, Zen 5 encodes 10 s in 23 ms
    instead of 29 (tiny.en int8) and decodes as before. Nor do Intel's since Sapphire Rapids, which are known by a later
    instruction: 42 ms instead of 47.

    Args:
        cpu_description: as in Linux' /proc/cpuinfo.
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
