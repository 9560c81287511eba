"""Turn errors of CTranslate2 into those of livecaption."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from livecaption.errors import EngineUnusable, OutOfMemory, TranscriptionFailed

_MEMORY = re.compile(r"out of memory|cublas_status_alloc_failed|bad_alloc", re.IGNORECASE)
# "operation not supported on global/shared address space" is another error, of a lost context.
_UNSUPPORTED = re.compile(r"cublas_status_not_supported|operation not supported$", re.IGNORECASE)
# Apart from these two kinds, each error of CUDA may mean that the context is lost and every later call fails too, so
# the process ends. A list of such messages would miss those of later versions.
_CUDA = re.compile(r"cuda|cublas|cudnn", re.IGNORECASE)


def is_memory_error(error: Exception) -> bool:
    """Return whether memory was short, so that less work, or the same work later, may succeed."""
    return isinstance(error, MemoryError) or _MEMORY.search(str(error)) is not None


@contextmanager
def typed_errors() -> Iterator[None]:
    """Turn errors of CTranslate2 into ours. They differ in whether the next batch may succeed."""
    try:
        yield
    except (RuntimeError, ValueError, MemoryError) as error:
        if is_memory_error(error):
            raise OutOfMemory(f"There is not enough memory: {error}") from error
        if _CUDA.search(str(error)) and not _UNSUPPORTED.search(str(error)):
            raise EngineUnusable(f"The GPU is lost to this process: {error}") from error
        raise TranscriptionFailed(f"The model failed: {error}") from error
