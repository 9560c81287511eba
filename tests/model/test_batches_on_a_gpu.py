"""Batches on a GPU have few passes. A stand-in for CTranslate2 counts them; nothing here has a GPU."""

import math
import random
import sys
import weakref
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import numpy.typing as npt
import pytest
import tokenizers

from livecaption.engine import calibration, whisper
from livecaption.engine.models import ModelFiles, find_model
from livecaption.engine.whisper import WhisperEngine, load_engine
from livecaption.evaluation.clips import Clip
from livecaption.recognition import PrecedingUtterance, TranscriptionOptions, Window
from tests.support.cases import for_each
from tests.support.counting_gpu import GPU, Call, CountingModel, Storage

pytestmark = pytest.mark.model

N_WINDOWS = 64
CONTEXT = "It is a truth universally acknowledged, that a single man in possession of a good fortune."
PROMPT = "A reading from a novel of the last century. "
HOTWORDS = ("Kubernetes", "Zaphod", "Quilter", "Marguerite")


def counting_model(files: ModelFiles, monkeypatch: pytest.MonkeyPatch, *languages: str) -> CountingModel:
    """Return the model that the next engine will get."""
    tokens = tokenizers.Tokenizer.from_file(str(files.directory / "tokenizer.json"))
    # Too few for a long window, which is therefore decoded again.
    text = tokens.encode(" one two three four five six seven eight", add_special_tokens=False).ids
    made = CountingModel(
        text, *map(tokens.token_to_id, ("<|startoftranscript|>", "<|notimestamps|>")), languages=languages
    )
    monkeypatch.setattr(ctranslate2.models, "Whisper", lambda *_, **__: made)
    monkeypatch.setattr(ctranslate2, "StorageView", Storage)
    monkeypatch.setitem(sys.modules, "torch", None)
    return made


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> CountingModel:
    return counting_model(find_model(), monkeypatch)


@pytest.fixture
def engine(model: CountingModel) -> WhisperEngine:
    return WhisperEngine(find_model(), GPU)


def recorded_window(draw: random.Random, clips: dict[str, Clip], samples: dict[str, npt.NDArray[np.float32]]) -> Window:
    """Draw a window as streams have them: the beginning of one or two recordings, with anything before it."""
    first, second = (draw.choice(sorted(clips)) for _ in range(2))
    audio = np.concatenate([samples[first], samples[second]]) if draw.random() < 0.2 else samples[first]
    audio = audio[: draw.randint(8_000, min(len(audio), 28 * 16_000))]
    said = (clips[first].reference or "").split()
    options: dict[str, Any] = {"words": draw.random() < 0.5}
    window: dict[str, Any] = {"is_final": draw.random() < 0.5, "effort": draw.choice(["full", "full", "reduced"])}
    match draw.choice(["none", "none", "none", "none", "none", "none", "hotwords", "prompt"]):
        case "hotwords":
            options["hotwords"] = tuple(draw.sample(HOTWORDS, draw.randint(1, 4)))
        case "prompt":
            options["prompt"] = PROMPT * draw.randint(1, 30)
    match draw.choice(["context", "context", "preceding", "none"]):
        case "context":
            window["context"] = CONTEXT
        case "preceding" if len(audio) > 40_000:
            before, audio = np.split(audio, [24_000])
            window["preceding"] = PrecedingUtterance(before, " ".join(said[:3]), 1400, 1600)
    if draw.random() < 0.2:
        window["prefix"] = " ".join(said[:2])
    return Window(audio, TranscriptionOptions(**options), **window)


def split_rounds(calls: list[Call]) -> tuple[list[Call], list[Call]]:
    """Split the passes into those that decode each window once, and the others."""
    n_decoded = np.cumsum([call.n_windows * (call.kind == "generate") for call in calls])
    n_first = int(np.searchsorted(n_decoded, N_WINDOWS)) + 1
    return calls[:n_first], calls[n_first:]


def count(calls: list[Call], kind: str) -> int:
    return sum(call.kind == kind for call in calls)


def test_a_gpu_without_memory_for_the_largest_batch_loads_and_takes_smaller_ones(
    model: CountingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whisper, "choose_device", lambda *_: GPU)
    monkeypatch.setattr(whisper, "check_encoder", lambda *_: None)
    monkeypatch.setattr(calibration, "SIZES_ON_GPU", (1, 32, 64))
    monkeypatch.setattr(calibration, "NEW_S", 0.0)
    monkeypatch.setattr(calibration, "LONGEST_S", inf)  # the windows are analyzed here, on a busy CPU perhaps
    model.fits = 40
    costs = load_engine(find_model(), calibrates=True).costs
    assert [each.n_windows for each in costs.finals] == [each.n_windows for each in costs.partials] == [1, 32]
    assert costs.max_batch == 32


def test_a_process_that_replaces_another_checks_no_numbers_and_computes_one_window_after_its_first(
    model: CountingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_checks: list[object] = []
    monkeypatch.setattr(whisper, "choose_device", lambda *_: GPU)
    monkeypatch.setattr(whisper, "check_encoder", lambda *_: n_checks.append(1))
    load_engine(find_model(), is_replacement=True)
    assert n_checks == []
    assert [call.n_windows for call in model.calls if call.kind == "encode"] == [1, 1]
    load_engine(find_model())
    assert n_checks == [1]


@for_each("seed", range(2))
def test_a_batch_is_a_batch(
    seed: int, engine: WhisperEngine, model: CountingModel, clips: dict[str, Clip], samples: Any
) -> None:
    draw = random.Random(seed)
    model.calls.clear()
    hypotheses = engine.transcribe([recorded_window(draw, clips, samples) for _ in range(N_WINDOWS)])
    assert len(hypotheses) == N_WINDOWS
    first, others = split_rounds(model.calls)
    assert sum(call.n_windows for call in first if call.kind == "encode") == N_WINDOWS
    assert 1 <= count(first, "encode") <= 3
    assert 1 <= count(first, "generate") <= 5
    assert {call.beam_size for call in first if call.kind == "generate"} == {5}
    n_redone = sum(hypothesis.redone for hypothesis in hypotheses)
    assert 1 < n_redone < N_WINDOWS
    # Doubtful ones again, the parts of those that skip speech, and the doubtful parts again.
    assert 1 <= count(others, "encode") <= 3 * 3
    assert 1 <= count(others, "generate") <= 3 * 5
    assert {call.beam_size for call in others if call.kind == "generate"} == {5}


def test_a_batch_in_many_languages_has_more_passes_only_for_the_words_of_publishers(
    clips: dict[str, Clip], samples: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only English prompts are filled to one length. So each window with such words in another language may need one.

    Here, rows that are no neighbours go by way of the host, because the languages are known after the encoder alone.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    files = find_model("base")
    model = counting_model(files, monkeypatch, "en", "de", "ja", "fr")
    draw = random.Random(0)
    windows = [
        replace(recorded_window(draw, clips, samples), likely_language=draw.choice([None, "en", "de"]))
        for _ in range(N_WINDOWS)
    ]
    hypotheses = WhisperEngine(files, GPU).transcribe(windows)
    n_apart = sum(
        hypothesis.language != "en" and bool(window.options.prompt or window.options.hotwords)
        for window, hypothesis in zip(windows, hypotheses, strict=True)
    )
    assert 1 < n_apart < N_WINDOWS / 5
    first, _ = split_rounds(model.calls)
    assert 1 <= count(first, "encode") <= 3
    assert count(first, "detect") == count(first, "encode")
    assert 5 < count(first, "generate") <= 5 + n_apart


def test_the_gpu_keeps_nothing_of_a_batch_that_waits_for_its_last_stage(
    engine: WhisperEngine, model: CountingModel, samples: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, made = model.encode, []

    def encode_and_note(features: Storage) -> Storage:
        encoded = encode(features)
        made.append(weakref.ref(encoded))
        return encoded

    monkeypatch.setattr(model, "encode", encode_and_note)
    finish = engine.prepare([Window(samples["jfk"], TranscriptionOptions(words=True))])()
    assert len(made) > 1  # all, and the doubtful ones again
    assert [kept() for kept in made] == [None] * len(made)
    assert finish()[0].words


def test_a_window_keeps_its_text_if_the_gpu_makes_no_numbers_of_its_parts(
    engine: WhisperEngine, model: CountingModel, samples: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = model.generate

    def generate_worse(*arguments: Any, **how: Any) -> list[Any]:
        results = generate(*arguments, **how)
        for result in results if count(model.calls, "generate") > 2 else ():
            result.scores = [math.nan]
        return results

    monkeypatch.setattr(model, "generate", generate_worse)
    long = [samples["ls-374-180298-0000"], np.zeros(16_000, np.float32), samples["ls-1995-1837-0001"]]
    [hypothesis] = engine.transcribe([Window(np.concatenate(long))])
    assert count(model.calls, "generate") > 2
    assert hypothesis is not None
    assert hypothesis.text == "one two three four five six seven eight"


def test_the_parts_of_all_skipped_speech_are_decoded_together(
    engine: WhisperEngine, model: CountingModel, clips: dict[str, Clip], samples: Any
) -> None:
    pause = np.zeros(16_000, np.float32)
    long = [samples["ls-374-180298-0000"], pause, samples["ls-1995-1837-0001"]]
    engine.transcribe([Window(np.concatenate(long))] * 8)
    n_windows = [call.n_windows for call in model.calls if call.kind == "encode"]
    # All, all again, their parts of two lengths, and the parts of one length again.
    assert n_windows == [8, 8, 8, 8, 8]
