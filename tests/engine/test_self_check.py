"""A GPU whose numbers are not those of the CPU is refused."""

from collections.abc import Callable
from pathlib import Path

import ctranslate2
import numpy as np
import numpy.typing as npt
import pytest

from livecaption.engine.device import Device
from livecaption.engine.self_check import check_encoder
from livecaption.errors import EngineUnusable
from tests.support.cases import for_each

Numbers = npt.NDArray[np.float32]
WEIGHTS = np.random.default_rng(1).standard_normal((80, 16)).astype(np.float32)


class StubModel:
    """Encodes by one multiplication, and then does to the numbers what a GPU may do."""

    n_mels = 80

    def __init__(self, damage: Callable[[Numbers], Numbers]) -> None:
        self.damage = damage
        self.is_loaded = True

    def encode(self, features: ctranslate2.StorageView) -> ctranslate2.StorageView:
        encoded = np.tanh(np.asarray(features)[:, :, ::2].transpose(0, 2, 1) @ WEIGHTS)
        return ctranslate2.StorageView.from_array(np.ascontiguousarray(self.damage(encoded), np.float32))

    def unload_model(self) -> None:
        self.is_loaded = False


@pytest.fixture
def references(monkeypatch: pytest.MonkeyPatch) -> list[tuple[StubModel, dict[str, str]]]:
    """The models that are loaded as references, with their settings."""
    loaded: list[tuple[StubModel, dict[str, str]]] = []

    def load(directory: str, **settings: str) -> StubModel:
        loaded.append((StubModel(lambda encoded: encoded), settings))
        return loaded[-1][0]

    monkeypatch.setattr(ctranslate2.models, "Whisper", load)
    return loaded


def check(damage: Callable[[Numbers], Numbers], compute_type: str = "float16") -> None:
    check_encoder(StubModel(damage), Path("files"), Device("cuda", 0, "Stub GPU 0 (cuda:0)", compute_type))


def nan_at_the_end(encoded: Numbers) -> Numbers:
    encoded[0, -1, -1] = np.nan
    return encoded


@pytest.mark.usefixtures("references")
@for_each("damage", [lambda x: x, lambda x: x.astype(np.float16), lambda x: 1.05 * x])
def test_numbers_near_those_of_the_cpu_are_accepted(damage: Callable[[Numbers], Numbers]) -> None:
    check(damage)


@pytest.mark.usefixtures("references")
@for_each(
    ("damage", "message"),
    [
        (np.zeros_like, "runs no code of CTranslate2, .*: update NVIDIA's driver"),
        (lambda x: np.full_like(x, 0.5), "runs no code of CTranslate2"),
        (nan_at_the_end, r"no numbers \(NaN\) .*: choose another --compute-type than float16, such as float32"),
        (lambda x: np.where(x > 0.5, np.inf, x), r"no numbers \(NaN\)"),
        (lambda x: x[:, ::-1], r"relative error 1\.\d+.*: choose another --compute-type than float16"),
        (lambda x: np.repeat(x[:, :1], x.shape[1], axis=1), "relative error"),
        (lambda x: 1.2 * x, r"relative error 0\.20"),
    ],
)
def test_other_numbers_are_refused_and_the_message_has_the_way_out(
    damage: Callable[[Numbers], Numbers], message: str
) -> None:
    with pytest.raises(EngineUnusable, match=rf"Stub GPU 0 \(cuda:0\) .*{message}"):
        check(damage)


@pytest.mark.usefixtures("references")
def test_integers_may_differ_by_more() -> None:
    check(lambda x: 1.2 * x, "int8_float32")
    with pytest.raises(EngineUnusable, match=r"0\.40"):
        check(lambda x: 1.4 * x, "int8_float32")


def test_the_reference_is_exact_on_the_cpu_and_is_freed(references: list[tuple[StubModel, dict[str, str]]]) -> None:
    check(lambda x: x)
    [(model, settings)] = references
    assert settings == {"device": "cpu", "compute_type": "float32"}
    assert not model.is_loaded
