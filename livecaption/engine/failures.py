"""Turn errors of CTranslate2 into those of livecaption."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from livecaption.errors import EngineUnusable, TranscriptionFailed

# Messages of CUDA once its context is lost. Every later call fails too, so the process must end.
STICKY_CUDA_ERRORS = (
    "illegal memory access",
    "illegal instruction",
    "misaligned address",
    "device-side assert",
    "unspecified launch failure",
    "cuda driver",
    "uncorrectable ecc",
    "cublas_status_execution_failed",
)
MEMORY_ERRORS = ("out of memory", "cublas_status_alloc_failed", "bad_alloc")


def has_sign(error: Exception, signs: Iterable[str]) -> bool:
    """Return whether the message of an error has one of these."""
    return any(sign in str(error).lower() for sign in signs)


@contextmanager
def typed_errors() -> Iterator[None]:
    """Turn errors of CTranslate2 into ours. They differ in whether the next batch may succeed."""
    try:
        yield
    except (RuntimeError, ValueError, MemoryError) as error:
        if has_sign(error, STICKY_CUDA_ERRORS) and not has_sign(error, MEMORY_ERRORS):
            raise EngineUnusable(f"The GPU is lost to this process: {error}") from error
        raise TranscriptionFailed(f"The model failed: {error}") from error
