"""Translate the text of finals by a model of CTranslate2, such as NLLB, M2M100 or OPUS-MT.

The directory has the model as `ct2-transformers-converter` writes it, and its SentencePiece files:

    sentencepiece.bpe.model, or another *.model    one vocabulary (NLLB, M2M100)
    source.spm, target.spm                         two (OPUS-MT)

A model of many languages has a token for each. It comes before the text, and first in the translation. A model without
such tokens translates one language into one other; `tokenizer_config.json` may name them.
"""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ctranslate2

from livecaption.engine.device import choose_device
from livecaption.engine.failures import is_memory_error, typed_errors
from livecaption.engine.language_tokens import token_of
from livecaption.errors import EngineUnusable, OutOfMemory
from livecaption.recognition import Hypothesis, Window

END_OF_TEXT = "</s>"
MAX_TOKENS = 256
"""Length of the translation of a sentence, at most; 30 s of fast speech have 150 tokens."""
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])")


def load_translation_model(
    directory: str, tracks: Sequence[str], device: str = "auto", compute_type: str = "auto", threads: int = 0
) -> "TranslationModel":
    """Load a model.

    Args:
        directory: see the module.
        tracks: languages into which it has to translate.
        device, compute_type: see `choose_device`.
        threads: CPU threads of one pass; 0: CTranslate2 chooses.

    Raises:
        EngineUnusable: there is no such model, it cannot be loaded, or does not have one of the languages.
        OutOfMemory: there is not enough memory now.
    """
    path = Path(directory)
    pieces = _piece_files(path)
    if not (path / "model.bin").is_file() or pieces is None:
        raise EngineUnusable(
            f"{directory} is not a translation model in CTranslate2's format: it needs model.bin, and "
            "sentencepiece.bpe.model or source.spm and target.spm. Convert one with ct2-transformers-converter "
            "--copy_files sentencepiece.bpe.model"
        )
    try:
        import sentencepiece
    except ImportError:
        raise EngineUnusable(
            "--translation-model needs the package sentencepiece: run pip install 'livecaption-server[translation]'"
        ) from None
    chosen = choose_device(device, compute_type)
    try:
        translator = ctranslate2.Translator(
            str(path),
            device=chosen.kind,
            device_index=chosen.index,
            compute_type=chosen.compute_type,
            intra_threads=threads,
        )
        source, target = (sentencepiece.SentencePieceProcessor(model_file=str(file)) for file in pieces)
        model = TranslationModel(translator, source, target, path)
    except (RuntimeError, ValueError, OSError, MemoryError) as error:
        if is_memory_error(error):
            raise OutOfMemory(f"No memory for the translation model {directory}: {error}") from error
        raise EngineUnusable(f"The translation model {directory} cannot be loaded: {error}") from error
    missing = [language for language in tracks if not model.writes(language)]
    if missing:
        raise EngineUnusable(f"--translate: the model {directory} does not translate into {', '.join(missing)}")
    return model


def _piece_files(directory: Path) -> tuple[Path, Path] | None:
    source, target = directory / "source.spm", directory / "target.spm"
    if source.is_file() and target.is_file():
        return source, target
    joint = next(iter(sorted(directory.glob("*.model"))), None)
    return None if joint is None else (joint, joint)


class TranslationModel:
    """A `Translator`.

    Args:
        translator: the model.
        source, target: `SentencePieceProcessor` of the languages.
        directory: has its settings.
    """

    def __init__(self, translator: ctranslate2.Translator, source: Any, target: Any, directory: Path) -> None:
        self._translator = translator
        self._source = source
        self._target = target
        self._vocabulary = frozenset(_vocabulary(directory))
        self._adds_end = bool(_settings(directory / "config.json").get("add_source_eos"))
        pair = _settings(directory / "tokenizer_config.json")
        self._pair = pair.get("source_lang"), pair.get("target_lang")
        self._is_multilingual = token_of("en", self._vocabulary) is not None

    def writes(self, language: str) -> bool:
        """Return whether it can translate into this language, as far as that is known."""
        if self._is_multilingual:
            return token_of(language, self._vocabulary) is not None
        return self._pair[1] in (None, language)

    def translate(self, windows: Sequence[Window]) -> list[Hypothesis | None]:
        """See `Translator`. The translation is empty if the model does not have the language of the final."""
        return [self._translate(window) for window in windows]

    def _translate(self, window: Window) -> Hypothesis | None:
        task, spoken = window.translation, window.options.language or ""
        assert task is not None  # because it is in the batch of a translator
        before, after = token_of(spoken, self._vocabulary), token_of(task.language, self._vocabulary)
        if self._is_multilingual:
            known = before is not None and after is not None
        else:
            known, before, after = self._pair[0] in (None, spoken), None, None
        # Most models are trained on single sentences, and leave out what follows the first one.
        sentences = [each for each in _SENTENCE_END.split(task.text) if each.strip()] if known else []
        if not sentences:
            return Hypothesis("", task.language, confidence=0.0, no_speech_probability=0.0)
        end = [] if self._adds_end else [END_OF_TEXT]
        with typed_errors():
            results = self._translator.translate_batch(
                [[*([before] if before else []), *self._source.encode(each, out_type=str), *end] for each in sentences],
                target_prefix=[[after]] * len(sentences) if after else None,
                return_scores=True,
                max_decoding_length=MAX_TOKENS,
            )
        texts = [self._target.decode(result.hypotheses[0][1 if after else 0 :]).strip() for result in results]
        score = sum(result.scores[0] for result in results) / len(results)
        if math.isnan(score):
            return None
        return Hypothesis(
            " ".join(text for text in texts if text),
            task.language,
            confidence=min(1.0, math.exp(score)),
            no_speech_probability=0.0,
        )


def _settings(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty: there is no such file."""
    if not file.is_file():
        return {}
    settings: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return settings


def _vocabulary(directory: Path) -> list[str]:
    """Return the tokens that the model writes."""
    for name in ("shared_vocabulary", "target_vocabulary"):
        if (file := directory / f"{name}.json").is_file():
            tokens: list[str] = json.loads(file.read_text("utf-8"))
            return tokens
        if (file := directory / f"{name}.txt").is_file():
            return file.read_text("utf-8").splitlines()
    raise ValueError("its vocabulary was not found")
