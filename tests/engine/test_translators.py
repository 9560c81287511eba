"""An engine with tracks transcribes and translates, each batch by the right one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from livecaption.engine.engine import Compute
from livecaption.engine.scripted import ScriptedEngine
from livecaption.engine.translators import WhisperTranslator, with_tracks
from livecaption.errors import EngineUnusable
from livecaption.ipc.config import EngineConfig
from livecaption.recognition import Analysis, Hypothesis, TranscriptionOptions, TranslationTask, Window
from tests.support.translation_models import nllb

SAMPLES = np.zeros(16_000, np.float32)
PLAIN = Window(SAMPLES)
TASK = TranslationTask("en", "eins zwei")
ANALYSIS = Analysis(np.zeros(31, np.float32), np.zeros((2, 128), np.float32), 0.5, np.zeros((99, 80), np.float32))


class KeepingEngine(ScriptedEngine):
    """An engine that keeps the windows that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.windows: list[Window] = []

    def prepare(self, windows: Sequence[Window]) -> Compute:
        self.windows += windows
        return super().prepare(windows)


class AnalyzingEngine(ScriptedEngine):
    """An engine whose answers have an analysis."""

    def transcribe(self, windows: Sequence[Window]) -> list[Hypothesis | None]:
        return [hypothesis and replace(hypothesis, analysis=ANALYSIS) for hypothesis in super().transcribe(windows)]


def test_without_a_model_whisper_translates_the_audio_with_nothing_in_another_language() -> None:
    engine = KeepingEngine()
    options = TranscriptionOptions("de", prompt="Vorher.", hotwords=("Zaphod",))
    translating = with_tracks(engine, EngineConfig(tracks=("en",)))
    [hypothesis] = translating.transcribe([Window(SAMPLES, options, translation=TASK)])
    assert hypothesis.text == "One two three."
    [window] = engine.windows
    assert window.options == TranscriptionOptions("de", task="translate")
    assert (window.is_final, window.translation) == (True, None)


def test_whisper_translates_with_the_analysis_of_the_final_and_sends_none_back() -> None:
    engine = KeepingEngine()
    WhisperTranslator(engine).translate([Window(SAMPLES, translation=TASK, analysis=ANALYSIS)])
    assert engine.windows[0].analysis is ANALYSIS
    [translation] = WhisperTranslator(AnalyzingEngine()).translate([Window(SAMPLES, translation=TASK)])
    assert translation.analysis is None


def test_a_translation_model_gets_the_text_and_the_engine_all_else(tmp_path: Path) -> None:
    config = EngineConfig(tracks=("en",), translation_model=str(nllb(tmp_path / "nllb")), device="cpu", threads=1)
    translating = with_tracks(ScriptedEngine(), config)
    [translation] = translating.transcribe([Window(SAMPLES, TranscriptionOptions("de"), translation=TASK)])
    assert translation.text == "one two"
    assert [hypothesis.text for hypothesis in translating.transcribe([PLAIN])] == ["One two three."]
    assert translating.device_memory() is None


def test_the_description_has_the_tracks() -> None:
    engine = ScriptedEngine()
    described = with_tracks(engine, EngineConfig(tracks=("en",))).description
    assert described == replace(engine.description, tracks=("en",))


def test_a_model_of_one_language_cannot_translate() -> None:
    engine = ScriptedEngine()
    engine.description = replace(engine.description, model="tiny.en", translates=False)
    with pytest.raises(EngineUnusable, match=r"^--translate: model tiny.en cannot translate\. .*--translation-model$"):
        with_tracks(engine, EngineConfig(tracks=("en",)))
