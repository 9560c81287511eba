"""Errors of CTranslate2 end the process if the device may be lost, and else only the batch."""

import pytest

from livecaption.engine.failures import typed_errors
from livecaption.errors import EngineError, EngineUnusable, OutOfMemory, TranscriptionFailed
from tests.support.cases import for_each

CUDA = "CUDA failed with error "
CUBLAS = "cuBLAS failed with status CUBLAS_STATUS_"

MESSAGES: list[tuple[str, type[EngineError]]] = [
    # Memory is short.
    (CUDA + "out of memory", OutOfMemory),
    (CUBLAS + "ALLOC_FAILED", OutOfMemory),
    ("parallel_for failed: cudaErrorMemoryAllocation: out of memory", OutOfMemory),
    ("std::bad_alloc", OutOfMemory),
    # This call never works here, and others do.
    (CUDA + "operation not supported", TranscriptionFailed),
    (CUBLAS + "NOT_SUPPORTED", TranscriptionFailed),
    # The context may be lost, or the GPU.
    (CUDA + "an illegal memory access was encountered", EngineUnusable),
    (CUDA + "an illegal instruction was encountered", EngineUnusable),
    (CUDA + "misaligned address", EngineUnusable),
    (CUDA + "invalid program counter", EngineUnusable),
    (CUDA + "operation not supported on global/shared address space", EngineUnusable),
    (CUDA + "hardware stack error", EngineUnusable),
    (CUDA + "device-side assert triggered", EngineUnusable),
    (CUDA + "unspecified launch failure", EngineUnusable),
    (CUDA + "the launch timed out and was terminated", EngineUnusable),
    (CUDA + "uncorrectable ECC error encountered", EngineUnusable),
    (CUDA + "uncorrectable NVLink error detected during the execution", EngineUnusable),
    (CUDA + "unknown error", EngineUnusable),
    (CUDA + "context is destroyed", EngineUnusable),
    (CUDA + "initialization error", EngineUnusable),
    (CUDA + "driver shutting down", EngineUnusable),
    (CUDA + "no CUDA-capable device is detected", EngineUnusable),
    (CUDA + "all CUDA-capable devices are busy or unavailable", EngineUnusable),
    (CUDA + "CUDA driver version is insufficient for CUDA runtime version", EngineUnusable),
    (CUDA + "no kernel image is available for execution on the device", EngineUnusable),
    (CUDA + "the provided PTX was compiled with an unsupported toolchain.", EngineUnusable),
    (CUDA + "invalid argument", EngineUnusable),
    (CUDA + "system not yet initialized", EngineUnusable),
    ("parallel_for failed: cudaErrorUnsupportedPtxVersion: the provided PTX was compiled ...", EngineUnusable),
    (CUBLAS + "NOT_INITIALIZED", EngineUnusable),
    (CUBLAS + "EXECUTION_FAILED", EngineUnusable),
    (CUBLAS + "INTERNAL_ERROR", EngineUnusable),
    (CUBLAS + "MAPPING_ERROR", EngineUnusable),
    (CUBLAS + "ARCH_MISMATCH", EngineUnusable),
]
"""The messages of RuntimeErrors that CTranslate2 raises."""


@for_each(("message", "kind"), MESSAGES)
def test_an_error_of_cuda_ends_the_process_unless_memory_is_short_or_the_call_is_not_supported(
    message: str, kind: type[EngineError]
) -> None:
    assert len(MESSAGES) == 34
    with pytest.raises(EngineError) as raised, typed_errors():
        raise RuntimeError(message)
    assert type(raised.value) is kind


@for_each(
    ("error", "kind"), [(ValueError("the prompt is too long"), TranscriptionFailed), (MemoryError(), OutOfMemory)]
)
def test_an_error_of_the_model_is_one_of_ours(error: Exception, kind: type[EngineError]) -> None:
    with pytest.raises(EngineError) as raised, typed_errors():
        raise error
    assert type(raised.value) is kind


def test_a_mistake_of_ours_is_not_hidden() -> None:
    with pytest.raises(KeyError), typed_errors():
        raise KeyError
