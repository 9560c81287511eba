"""Errors of CTranslate2 end the process if the device is lost, and else only the batch."""

import pytest

from livecaption.engine.failures import typed_errors
from livecaption.errors import EngineError, EngineUnusable, TranscriptionFailed


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("CUDA failed with error an illegal memory access was encountered"), EngineUnusable),
        (RuntimeError("cuBLAS failed with status CUBLAS_STATUS_EXECUTION_FAILED"), EngineUnusable),
        (RuntimeError("CUDA driver failed: out of memory"), TranscriptionFailed),
        (ValueError("the prompt is too long"), TranscriptionFailed),
        (MemoryError(), TranscriptionFailed),
    ],
)
def test_an_error_of_the_model_is_one_of_ours(error: Exception, kind: type[EngineError]) -> None:
    with pytest.raises(kind), typed_errors():
        raise error


def test_a_mistake_of_ours_is_not_hidden() -> None:
    with pytest.raises(KeyError), typed_errors():
        raise KeyError
