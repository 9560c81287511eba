"""Threads and instructions of the inference process."""

import os
import subprocess
import sys

import pytest

from livecaption.engine.processor import faster_isa
from tests.support.cases import for_each

AVX512 = "avx512f avx512cd avx512bw avx512dq avx512vl"


@for_each(
    ("vendor", "flags", "isa"),
    [
        ("AuthenticAMD", f"fpu {AVX512} avx512_vnni", "AVX512"),
        ("AuthenticAMD", "fpu avx2", None),
        ("AuthenticAMD", AVX512.removesuffix(" avx512vl"), None),
        ("GenuineIntel", f"fpu {AVX512} avx512_vnni avx_vnni", "AVX512"),
        ("GenuineIntel", "fpu avx2 avx_vnni", None),
        ("GenuineIntel", f"fpu {AVX512} avx512_vnni", None),
    ],
)
def test_avx512_is_asked_for_where_it_was_measured_to_help(vendor: str, flags: str, isa: str | None) -> None:
    assert faster_isa(f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: {flags}\n\nprocessor\t: 1\n") == isa


def test_a_processor_that_is_not_described_is_left_alone() -> None:
    assert faster_isa("") is None


@pytest.mark.processes
def test_numpy_multiplies_on_one_thread_and_the_model_on_as_many_as_it_was_given() -> None:
    program = """
import os
import numpy
import threadpoolctl
from livecaption.engine.processor import tune_processor
tune_processor(3)
print([pool["num_threads"] for pool in threadpoolctl.threadpool_info()], os.environ["OMP_NUM_THREADS"])
"""
    environ = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environ)
    assert ran.stdout.split() == ["[1]", "3"]
