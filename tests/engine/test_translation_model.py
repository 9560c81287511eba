"""A translation model in CTranslate2's format translates finals. The models of these tests have six words."""

import math
from pathlib import Path
from types import SimpleNamespace

import ctranslate2
import numpy as np
import pytest

from livecaption.engine.translation_model import TranslationModel, load_translation_model
from livecaption.errors import EngineUnusable, OutOfMemory
from livecaption.recognition import Hypothesis, TranscriptionOptions, TranslationTask, Window
from tests.support.translation_models import nllb, opus


def load(directory: Path, *tracks: str) -> TranslationModel:
    return load_translation_model(str(directory), tracks or ("en",), "cpu", "float32", 1)


def final(text: str, language: str = "de", into: str = "en") -> Window:
    return Window(np.zeros(160, np.float32), TranscriptionOptions(language), translation=TranslationTask(into, text))


def texts(model: TranslationModel, *windows: Window) -> list[str]:
    return [hypothesis.text for hypothesis in model.translate(windows)]


def test_a_model_of_many_languages_translates_between_those_that_it_has(tmp_path: Path) -> None:
    model = load(nllb(tmp_path / "nllb"))
    windows = [final("eins zwei drei"), final("drei eins"), final("eins", "fr"), final("eins", into="fr"), final("")]
    assert texts(model, *windows) == ["one two three", "three one", "", "", ""]
    [hypothesis] = model.translate([final("eins")])
    assert (hypothesis.language, 0 < hypothesis.confidence <= 1) == ("en", True)


def test_each_sentence_is_translated_by_itself(tmp_path: Path) -> None:
    """More words than the model has positions, in sentences that are short enough."""
    model = load(nllb(tmp_path / "nllb"))
    said = " ".join(["Eins. eins zwei!  zwei drei."] * 8)
    assert texts(model, final(said)) == [" ".join(["One. one two! two three."] * 8)]


@pytest.mark.parametrize("adds_end", [False, True])
def test_a_model_of_one_pair_translates_finals_in_its_language(tmp_path: Path, *, adds_end: bool) -> None:
    model = load(opus(tmp_path / "opus", adds_end=adds_end))
    assert texts(model, final("eins zwei"), final("eins", "fr")) == ["one two", ""]


def test_a_model_of_one_pair_that_nothing_names_translates_what_it_gets(tmp_path: Path) -> None:
    assert texts(load(opus(tmp_path / "opus", None), "nl"), final("eins", "fr", "nl")) == ["one"]


@pytest.mark.parametrize("make", [nllb, opus])
def test_a_model_that_does_not_write_a_language_is_refused(tmp_path: Path, make: object) -> None:
    directory = make(tmp_path / "model")
    with pytest.raises(EngineUnusable, match=r"^--translate: the model .*/model does not translate into fr, it$"):
        load(directory, "en", "fr", "it")


def test_a_translation_with_nan_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(nllb(tmp_path / "nllb"), "en")
    result = SimpleNamespace(hypotheses=[["eng_Latn", "▁one"]], scores=[math.nan])
    monkeypatch.setattr(model, "_translator", SimpleNamespace(translate_batch=lambda *_, **__: [result]))
    assert model.translate([final("eins")]) == [None]


def test_memory_that_is_short_for_a_model_may_be_enough_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA failed with error out of memory")

    monkeypatch.setattr(ctranslate2, "Translator", fail)
    with pytest.raises(OutOfMemory):
        load(nllb(tmp_path / "nllb"), "en")


def test_m2m100_has_other_names_for_the_languages(tmp_path: Path) -> None:
    model = load(nllb(tmp_path / "m2m100", ("__de__", "__en__")))
    assert texts(model, final("zwei")) == ["two"]


@pytest.mark.parametrize("missing", ["model.bin", "sentencepiece.bpe.model"])
def test_a_directory_without_a_model_is_refused_with_what_to_do(tmp_path: Path, missing: str) -> None:
    directory = nllb(tmp_path / "nllb")
    (directory / missing).unlink()
    with pytest.raises(EngineUnusable, match=r"is not a translation model .* ct2-transformers-converter"):
        load(directory)


@pytest.mark.parametrize("damaged", ["model.bin", "sentencepiece.bpe.model", "shared_vocabulary.json"])
def test_a_damaged_model_is_refused(tmp_path: Path, damaged: str) -> None:
    directory = nllb(tmp_path / "nllb")
    (directory / damaged).write_bytes(b"rubbish")
    with pytest.raises(EngineUnusable, match="cannot be loaded"):
        load(directory)


def test_a_model_without_text_is_an_empty_hypothesis(tmp_path: Path) -> None:
    assert load(opus(tmp_path / "opus")).translate([final("eins", "it")]) == [Hypothesis("", "en", 0.0, 0.0)]
