"""A GPU that computes something else, or has too little memory. Whisper on the CPU stands in for it.

The model of CTranslate2 is replaced: its calls go to a real one, and what comes back is broken.
"""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ctranslate2
import numpy as np
import numpy.typing as npt
import pytest

from livecaption.engine import halving
from livecaption.engine.models import find_model
from livecaption.engine.whisper import WhisperEngine, load_engine
from livecaption.errors import EngineUnusable, OutOfMemory
from livecaption.ipc import gpus
from livecaption.recognition import Hypothesis, TranscriptionOptions, Window
from tests.support.stub_gpus import stub_cublas_packages, stub_cuda

Encoded = npt.NDArray[np.float32]
NAN = float("nan")


class FaultyModel:
    """A `ctranslate2.models.Whisper` with faults.

    Args:
        model: the real one.
        max_windows: more of them in one pass are out of memory.
        is_bad: whether the score of a window is NaN, by its prompt.
        damage: changes what the encoder makes.
        writes_nothing: the decoder writes no tokens.
    """

    def __init__(
        self,
        model: Any,
        max_windows: int = 1_000,
        is_bad: Callable[[list[int]], bool] = lambda _: False,
        damage: Callable[[Encoded], Encoded] = lambda encoded: encoded,
        *,
        writes_nothing: bool = False,
    ) -> None:
        self._writes_nothing = writes_nothing
        self._model = model
        self._max_windows = max_windows
        self._is_bad = is_bad
        self._damage = damage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def encode(self, features: Any) -> Any:
        return ctranslate2.StorageView.from_array(self._damage(np.array(self._model.encode(features))))

    def generate(self, encoded: Any, prompts: list[list[int]], **how: Any) -> list[Any]:
        if len(prompts) > self._max_windows:
            raise RuntimeError("CUDA failed with error out of memory")
        return [
            SimpleNamespace(
                sequences_ids=[[]] if self._writes_nothing else result.sequences_ids,
                scores=[NAN] if self._is_bad(prompt) else result.scores,
                no_speech_prob=result.no_speech_prob,
            )
            for prompt, result in zip(prompts, self._model.generate(encoded, prompts, **how), strict=True)
        ]


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Return a function that gives this machine a GPU with faults: those of `FaultyModel`, or an error at the load."""
    real = ctranslate2.models.Whisper
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda *_: {"float32", "int8_float32"})
    monkeypatch.setattr(gpus, "LIBRARY", str(stub_cuda()))
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.syspath_prepend(stub_cublas_packages(tmp_path))

    def use(error: Exception | None = None, **faults: Any) -> None:
        def load(directory: str, device: str, compute_type: str, **settings: Any) -> Any:
            if device == "cpu":
                return real(directory, device, compute_type=compute_type)
            if error is not None:
                raise error
            return FaultyModel(real(directory, "cpu", compute_type=compute_type), **faults)

        monkeypatch.setattr(ctranslate2.models, "Whisper", load)

    return use


@pytest.fixture
def broken(engine: WhisperEngine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., WhisperEngine]:
    """Return a function that gives the loaded engine a model with faults."""

    def break_it(**faults: Any) -> WhisperEngine:
        monkeypatch.setattr(engine._decoder, "model", FaultyModel(engine._decoder.model, **faults))
        return engine

    return break_it


def test_a_gpu_that_computes_as_the_cpu_does_is_used(one_gpu: Callable[..., None]) -> None:
    one_gpu()
    for compute_type in ("float32", "auto"):
        # As a replacement it loads without the kernels of all windows, and its numbers are checked here alone.
        engine = load_engine(find_model(), "cuda", compute_type, is_replacement=True)
        engine.check_numbers()
        description = engine.description
        expected = "float32" if compute_type == "float32" else "int8_float32"
        assert (description.device, description.compute_type) == ("Stub GPU 0 (cuda:0)", expected)


def test_a_gpu_whose_kernels_did_not_run_is_refused(one_gpu: Callable[..., None]) -> None:
    one_gpu(damage=np.zeros_like)
    with pytest.raises(EngineUnusable, match=r"runs no code of CTranslate2.*update NVIDIA's driver"):
        load_engine(find_model(), "cuda", calibrates=True)


def test_a_gpu_is_checked_only_at_the_first_load(one_gpu: Callable[..., None]) -> None:
    """A worker that replaces another one starts sooner without the second model."""
    one_gpu(damage=np.zeros_like)
    assert load_engine(find_model(), "cuda", is_replacement=True).device_kind == "cuda"


def test_a_gpu_whose_encoder_makes_nan_is_refused_and_the_message_names_the_compute_type(
    one_gpu: Callable[..., None],
) -> None:
    one_gpu(damage=lambda encoded: np.full_like(encoded, NAN))
    with pytest.raises(EngineUnusable, match="--compute-type"):
        load_engine(find_model(), "cuda", calibrates=True)


def test_a_gpu_whose_decoder_makes_nan_is_refused_and_the_message_names_the_compute_type(
    one_gpu: Callable[..., None],
) -> None:
    one_gpu(is_bad=lambda _: True)
    with pytest.raises(EngineUnusable, match=r"no numbers \(NaN\).*--compute-type"):
        load_engine(find_model(), "cuda")


@pytest.mark.parametrize(
    "faults", [{"error": RuntimeError("CUDA failed with error out of memory")}, {"max_windows": 0}]
)
def test_memory_that_is_short_at_the_load_may_be_enough_later(
    faults: dict[str, Any], one_gpu: Callable[..., None]
) -> None:
    one_gpu(**faults)
    with pytest.raises(OutOfMemory):
        load_engine(find_model(), "cuda")


def test_every_final_has_its_text_though_memory_is_enough_for_two_at_once(
    broken: Callable[..., WhisperEngine], samples: dict[str, npt.NDArray[np.float32]]
) -> None:
    answers = halving.transcribe(broken(max_windows=2), [Window(samples["jfk"][:32_000])] * 4, "short")
    assert answers.fits == 2
    assert [hypothesis.text for hypothesis in answers.hypotheses] == [answers.hypotheses[0].text] * 4
    assert answers.hypotheses[0].text != ""


@pytest.mark.parametrize("is_final", [True, False])
def test_a_window_with_nan_fails_alone(
    is_final: bool, broken: Callable[..., WhisperEngine], samples: dict[str, npt.NDArray[np.float32]]
) -> None:
    jfk = samples["jfk"][:48_000]
    usual = Window(jfk, TranscriptionOptions(words=True), is_final)
    marked = Window(jfk, TranscriptionOptions(words=True, prompt="President Kennedy speaks."), is_final)
    engine = broken(is_bad=lambda prompt: len(prompt) > 4)
    hypotheses = engine.transcribe([marked if n == 2 else usual for n in range(4)])
    assert [isinstance(hypothesis, Hypothesis) for hypothesis in hypotheses] == [n != 2 for n in range(4)]


@pytest.mark.parametrize("is_bad", [False, True])
def test_a_window_without_text_fails_too_if_its_score_is_nan(
    is_bad: bool, broken: Callable[..., WhisperEngine]
) -> None:
    """Otherwise captions would be empty, and nobody would notice that the GPU computes no numbers."""
    engine = broken(is_bad=lambda _: is_bad, writes_nothing=True)
    [hypothesis] = engine.transcribe([Window(np.zeros(32_000, np.float32))])
    assert (hypothesis is None) == is_bad
