"""Libraries that answer as NVIDIA's do, for machines without a GPU.

They are C, compiled by gcc, because what is tested is how shared libraries are found, loaded and called.
"""

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

CUBLAS = """
int cublasGetProperty(int property, int *value) { *value = 12; return 0; }
int cublasCreate_v2(void **handle) { return 42; }
"""

CUDA = r"""
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

static int number(const char *name, int otherwise) {
    const char *value = getenv(name);
    return value ? atoi(value) : otherwise;
}
static size_t current;  /* the context of this thread: 1 more than the number of its GPU */

int cuDriverGetVersion(int *version) { *version = number("STUB_DRIVER", 13000); return 0; }
int cuInit(unsigned flags) { return number("STUB_INIT", 0); }
int cuDeviceGetCount(int *n) { *n = number("STUB_GPUS", 1); return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int size, int device) { snprintf(name, size, "Stub GPU %d", device); return 0; }
int cuDeviceGetUuid_v2(unsigned char *uuid, int device) {
    for (int i = 0; i < 16; i++) uuid[i] = 16 * device + i;
    return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    int capability = number("STUB_CAPABILITY", 90);
    *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : -1;
    return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)(size_t)(device + 1); return 0; }
int cuCtxPushCurrent_v2(void *context) { current = (size_t)context; return 0; }
int cuCtxPopCurrent_v2(void **context) { *context = (void *)current; current = 0; return 0; }
int cuMemGetInfo_v2(size_t *free, size_t *total) {
    int error = number("STUB_MEMORY", 0);
    if (!current || error) return current ? error : 201;
    *total = (size_t)80 << 30;
    *free = *total - (current << 30);
    return 0;
}
static unsigned long long kept;
int cuDeviceGetDefaultMemPool(void **pool, int device) { *pool = &kept; return number("STUB_POOL", 0); }
int cuMemPoolSetAttribute(void *pool, int attribute, unsigned long long *value) {
    if (pool != &kept || attribute != 4) return 1;
    kept = *value;
    return 0;
}
unsigned long long stub_kept(void) { return kept; }
int cuGetErrorString(int error, const char **text) {
    *text = error == 803 ? "system not yet initialized" : NULL;
    return 0;
}
"""


@functools.cache
def stub_library(name: str, source: str) -> Path:
    """Compile a shared library whose file and SONAME have this name, in a directory of its own.

    Without gcc skip the test, or fail it where `CI` is set.
    """
    compiler = shutil.which("gcc")
    if compiler is None:
        stop = pytest.fail if os.environ.get("CI") else pytest.skip
        stop("gcc, which compiles stubs of CUDA's libraries, is not installed")
    directory = Path(tempfile.mkdtemp(prefix="livecaption-stub-"))
    path = directory / name
    subprocess.run(
        [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(path), "-x", "c", "-"],
        input=source,
        text=True,
        check=True,
    )
    return path


def stub_cuda() -> Path:
    """Return a `libcuda.so.1`. The variables `STUB_...` of the environment set what it answers."""
    return stub_library("libcuda.so.1", CUDA)


def stub_cublas_packages(directory: Path) -> Path:
    """Install stubs as `nvidia-cublas-cu12` does, below `directory`, which is then one of `sys.path`."""
    below = directory / "nvidia" / "cublas" / "lib"
    below.mkdir(parents=True)
    for name in ("libcublas.so.12", "libcublasLt.so.12"):
        (below / name).symlink_to(stub_library(name, CUBLAS))
    return directory
