"""A translation model of a few words, made by hand: its directory is that of a real one in CTranslate2's format.

It is a Transformer with one layer. The decoder attends to the word at its own position, and writes the word that
belongs to it. So it translates word by word, and any number of words.
"""

import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import sentencepiece

WORDS = {"▁eins": "▁one", "▁zwei": "▁two", "▁drei": "▁three", "▁Eins.": "▁One.", "▁zwei!": "▁two!", "▁drei.": "▁three."}
SPECIAL = ("<unk>", "<s>", "</s>")
N_POSITIONS = 32
SHARPNESS = 40.0
"""Factor of the queries. Less: the decoder attends to neighbours too."""

Matrix = npt.NDArray[np.float32]


def pieces_of(words: Sequence[str]) -> bytes:
    """Train SentencePiece on these words, each of which is a piece."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([word.removeprefix("▁") for word in words] * 3),
        model_writer=model,
        model_type="word",
        vocab_size=len(SPECIAL) + len(words),
        minloglevel=2,
    )
    return model.getvalue()


def nllb(directory: Path, tokens: Sequence[str] = ("deu_Latn", "eng_Latn")) -> Path:
    """Make a model of many languages, with these tokens of languages."""
    vocabulary = [*SPECIAL, *tokens, *WORDS, *WORDS.values()]
    _save(directory, vocabulary, vocabulary)
    (directory / "sentencepiece.bpe.model").write_bytes(pieces_of([*WORDS, *WORDS.values()]))
    return directory


def opus(directory: Path, pair: tuple[str, str] | None = ("de", "en"), *, adds_end: bool = False) -> Path:
    """Make a model of one pair of languages. None: nothing names them. `adds_end`: CTranslate2 adds the end of text."""
    _save(directory, [*SPECIAL, *WORDS], [*SPECIAL, *WORDS.values()], adds_end=adds_end)
    (directory / "source.spm").write_bytes(pieces_of([*WORDS]))
    (directory / "target.spm").write_bytes(pieces_of([*WORDS.values()]))
    if pair is not None:
        names = dict(zip(("source_lang", "target_lang"), pair, strict=True))
        (directory / "tokenizer_config.json").write_text(json.dumps(names))
    return directory


def _save(directory: Path, source: Sequence[str], target: Sequence[str], *, adds_end: bool = False) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)  # it would be imported for seconds where it is installed
        from ctranslate2.specs import TransformerSpec

    n_source, n_target = len(source), len(target)
    # A state has three blocks: the token, its position, and the token that the decoder attends to.
    width = n_source + N_POSITIONS + n_source
    tokens, positions, attended = np.split(np.eye(width, dtype=np.float32), [n_source, n_source + N_POSITIONS])
    spec = TransformerSpec.from_config((1, 1), 1, pre_norm=True)
    for side in (spec.encoder, spec.decoder):
        side.scale_embeddings = False
        side.position_encodings.encodings = positions
        _normalize(side.layer_norm, width)
    spec.encoder.embeddings[0].weight = tokens
    spec.decoder.embeddings.weight = np.zeros((n_target, width), np.float32)
    for layer in (spec.encoder.layer[0], spec.decoder.layer[0]):
        _normalize(layer.self_attention.layer_norm, width)
        _normalize(layer.ffn.layer_norm, width)
        _linear(layer.self_attention.linear[0], np.zeros((3 * width, width), np.float32))
        _linear(layer.self_attention.linear[1], np.zeros((width, width), np.float32))
        _linear(layer.ffn.linear_0, np.zeros((8, width), np.float32))
        _linear(layer.ffn.linear_1, np.zeros((width, 8), np.float32))
    attention = spec.decoder.layer[0].attention
    _normalize(attention.layer_norm, width)
    only_positions = positions.T @ positions
    _linear(attention.linear[0], SHARPNESS * only_positions)
    _linear(attention.linear[1], np.concatenate((only_positions, attended.T @ tokens)))
    _linear(attention.linear[2], 10 * np.eye(width, dtype=np.float32))
    _linear(spec.decoder.projection, _meanings(source, target, WORDS) @ attended)
    spec.register_source_vocabulary([*source])
    spec.register_target_vocabulary([*target])
    spec.config.add_source_eos = adds_end
    spec.validate()
    spec.optimize()
    directory.mkdir()
    spec.save(str(directory))


def _meanings(source: Sequence[str], target: Sequence[str], words: Mapping[str, str]) -> Matrix:
    """Return [n_target, n_source]: 1 where a token means the other."""
    return np.array([[float(words.get(said, said) == written) for said in source] for written in target], np.float32)


def _normalize(layer: Any, width: int) -> None:
    layer.gamma, layer.beta = np.ones(width, np.float32), np.zeros(width, np.float32)


def _linear(layer: Any, weight: Matrix) -> None:
    layer.weight, layer.bias = weight.astype(np.float32), np.zeros(len(weight), np.float32)
