"""Find the words of hypotheses and their times, by the model's attention to the audio."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import merge_punctuations

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.engine.guard import Decoding
from livecaption.engine.passes import Rows, grouped
from livecaption.engine.tokens import CLOSING_PUNCTUATION, Vocabulary
from livecaption.recognition import FRAME_SAMPLES, TranscriptionOptions, Word

ENCODED_FRAME_MS = 20  # the encoder halves the frames

# Punctuation that `merge_punctuations` joins to the word after it, as in Whisper.
OPENING_PUNCTUATION = "\"'“¿([{-"

# Time in ms by which words seem later than they are, for models where it was measured. tiny.en: 2435 words against
# forced alignments; the remaining difference has a median of 40 ms. The multilingual base needs no correction.
WORD_LAG_MS = {"tiny.en": 160}


def align(
    model: Any, model_name: str, vocabulary: Vocabulary, decodings: Sequence[Decoding], rows: Rows
) -> dict[int, tuple[Word, ...]]:
    """Time the words of those decodings whose windows ask for them, or for speakers.

    Args:
        model: a `ctranslate2.models.Whisper`.
        model_name: selects the entry of `WORD_LAG_MS`.
        vocabulary: vocabulary of the model.
        decodings: results of the decoder.
        rows: takes their rows of the encoder's output.

    Returns:
        The words, by the indices of their decodings.
    """
    wanted = [
        i
        for i, d in enumerate(decodings)
        if _is_timed(d.window.options) and d.window.is_final and d.is_valid and d.text_tokens
    ]
    words: dict[int, tuple[Word, ...]] = {}
    for _, indices in grouped(wanted, lambda i: decodings[i].alignment_pass):
        alike = [decodings[i] for i in indices]
        tokenizer = vocabulary.tokenizer(alike[0].language, alike[0].window.options.task)
        preceding_tokens = [vocabulary.preceding_words(decoding.window) for decoding in alike]
        alignments = model.align(
            rows.take(alike[0].encoded, [decoding.row for decoding in alike]),
            tokenizer.sot_sequence,
            [before + decoding.text_tokens for before, decoding in zip(preceding_tokens, alike, strict=True)],
            [max(2, decoding.window.n_encoder_samples // FRAME_SAMPLES) for decoding in alike],
        )
        lag_ms = WORD_LAG_MS.get(model_name, 0)
        words.update(
            (i, _words(tokenizer, len(before), decodings[i], alignment, lag_ms))
            for i, before, alignment in zip(indices, preceding_tokens, alignments, strict=True)
        )
    return words


def _is_timed(options: TranscriptionOptions) -> bool:
    return options.words or options.speakers


def _words(
    tokenizer: Tokenizer, n_tokens_before: int, decoding: Decoding, alignment: Any, lag_ms: int
) -> tuple[Word, ...]:
    """Give words the times at which the alignment, a path of (token, encoded frame), enters and leaves them.

    The words of the preceding utterance are aligned too, and are not returned.
    """
    texts, tokens_of_words = tokenizer.split_to_word_tokens([*decoding.text_tokens, tokenizer.eot])
    first_tokens = n_tokens_before + np.cumsum([0, *(len(tokens) for tokens in tokens_of_words[:-1])])
    path = np.array(alignment.alignments)
    enters = np.flatnonzero(np.diff(path[:, 0], prepend=-1))
    window_ms = len(decoding.window.samples) * 1000 // SAMPLE_RATE_HZ
    before_ms = decoding.window.n_encoder_samples * 1000 // SAMPLE_RATE_HZ - window_ms
    times_ms = np.clip(path[enters, 1] * ENCODED_FRAME_MS - lag_ms - before_ms, 0, window_ms)
    words = [
        {
            "word": text,
            "tokens": tokens,
            "start_ms": int(times_ms[first]),
            "end_ms": int(times_ms[after]),
            "confidence": float(np.mean(alignment.text_token_probs[first:after])),
        }
        # The last "word" is <|endoftext|>, which ends the word before it.
        for text, tokens, first, after in zip(
            texts[:-1], tokens_of_words[:-1], first_tokens[:-1], first_tokens[1:], strict=True
        )
    ]
    merge_punctuations(words, OPENING_PUNCTUATION, CLOSING_PUNCTUATION)
    return tuple(
        Word(word["word"].strip(), word["start_ms"], word["end_ms"], word["confidence"])
        for word in words
        if word["word"].strip()
    )
