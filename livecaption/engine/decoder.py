"""Decode windows, each once, in few passes of the model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ctranslate2
import numpy as np
import numpy.typing as npt

from livecaption.engine.device import Device
from livecaption.engine.features import LogMel
from livecaption.engine.guard import Decoding, Thresholds, compression_ratio, token_budget
from livecaption.engine.language import choose_language
from livecaption.engine.passes import Rows, grouped
from livecaption.engine.plan import Need, separate_places, shared_places
from livecaption.engine.search import Search
from livecaption.engine.speech_detection import Speech
from livecaption.engine.tokens import Vocabulary, language_of
from livecaption.recognition import Window


@dataclass(frozen=True, slots=True)
class EncoderPass:
    """Windows that share a pass of the encoder.

    Attributes:
        indices: the windows; those that share a pass of the decoder are neighbours.
        n_previous: tokens of previous text in their prompts, see `Place`.
        features: [n_windows, n_mels, n_frames].
    """

    indices: list[int]
    n_previous: list[int | None]
    features: npt.NDArray[np.floating[Any]]


class Decoder:
    """Decodes windows by a model, which it owns.

    Args:
        model: a `ctranslate2.models.Whisper`; it may be replaced by another of its shape.
        vocabulary: vocabulary of the model.
        log_mel: computes features.
        device: the device that it is on.
        rows: takes rows of the encoder's output.
        search: how windows are decoded.
        thresholds: go with the decodings.
        full_context: whether the encoder gets 30 s for a window of any length.
    """

    def __init__(
        self,
        model: Any,
        vocabulary: Vocabulary,
        log_mel: LogMel,
        device: Device,
        rows: Rows,
        search: Search,
        thresholds: Thresholds,
        *,
        full_context: bool,
    ) -> None:
        self.model = model
        self._vocabulary = vocabulary
        self._log_mel = log_mel
        self._on_cpu = device.kind == "cpu"
        self._places = separate_places if self._on_cpu else shared_places
        # CTranslate2 would convert them on the host, on one thread.
        self._feature_type = np.float16 if "float16" in device.compute_type and not self._on_cpu else np.float32
        self._rows = rows
        self._search = search
        self._thresholds = thresholds
        self._full_context = full_context

    def plan(self, windows: Sequence[Window], retries_of: Sequence[Window] | None = None) -> list[EncoderPass]:
        """Distribute windows over passes, and compute their features.

        Args:
            windows: what is decoded.
            retries_of: the same windows as they were at first, perhaps with a preceding utterance; None: this is the
                first time. A retry gets more audio than its window got at first.
        """
        needs = []
        for window, heard in zip(windows, retries_of or windows, strict=True):
            given, context = self._vocabulary.previous(window)
            needs.append(
                Need(
                    self._search.context_s(heard, full=self._full_context, is_retry=retries_of is not None),
                    self._search.beam_size(window),
                    n_given=len(given),
                    n_context=len(context),
                    is_timed=window.preceding is not None,
                )
            )
        places = self._places(needs)
        passes = grouped(sorted(range(len(windows)), key=places.__getitem__), lambda i: places[i].context_s)
        return [
            EncoderPass(
                indices,
                [places[i].n_previous for i in indices],
                self._features([windows[i] for i in indices], context_s),
            )
            for context_s, indices in passes
        ]

    def decode(
        self, windows: Sequence[Window], speech: Sequence[Speech], passes: Sequence[EncoderPass]
    ) -> list[Decoding]:
        """Decode every window once, in order."""
        decodings: dict[int, Decoding] = {}
        for each in passes:
            alike = [windows[i] for i in each.indices]
            made = self._generate(
                alike, [speech[i] for i in each.indices], each.n_previous, self._encode(each.features)
            )
            decodings.update(zip(each.indices, made, strict=True))
        return [decodings[i] for i in range(len(windows))]

    def _features(self, windows: Sequence[Window], context_s: int) -> npt.NDArray[np.floating[Any]]:
        """Return the log-mel features of windows with the silence after them: [n_windows, n_mels, 100 * context_s]."""
        features = np.empty((len(windows), self.model.n_mels, 100 * context_s), self._feature_type)
        for row, window in zip(features, windows, strict=True):
            row[:] = self._log_mel.features(window, row.shape[1])
        return features

    def _encode(self, features: npt.NDArray[np.floating[Any]]) -> Any:
        """Return the encoder's output, [n_windows, 50 * context_s, width], on the model's device."""
        if not self._on_cpu:
            return self.model.encode(ctranslate2.StorageView.from_array(features))
        # One after the other, because several windows do not fit into the cache of a core:
        # docs/decisions/0019-processes-on-a-cpu.md.
        encoded = [self.model.encode(ctranslate2.StorageView.from_array(row[np.newaxis])) for row in features]
        return ctranslate2.StorageView.from_array(np.concatenate([np.asarray(row) for row in encoded]))

    def _generate(
        self, windows: Sequence[Window], speech: Sequence[Speech], n_previous: Sequence[int | None], encoded: Any
    ) -> list[Decoding]:
        detected = self._languages(windows, speech, encoded)
        languages = [language for language, _ in detected]
        windows = [
            replace(window, context="") if window.likely_language not in (None, language) else window
            for window, language in zip(windows, languages, strict=True)
        ]
        prompts = [
            self._vocabulary.prompt(window, language, n)
            for window, language, n in zip(windows, languages, n_previous, strict=True)
        ]
        preceding = [self._vocabulary.preceding(window) for window in windows]
        budgets = [
            token_budget(window, language, len(prompt) + len(before))
            for window, language, prompt, before in zip(windows, languages, prompts, preceding, strict=True)
        ]
        prefixes = [
            self._vocabulary.prefix(window, language)[: budget - 1]
            for window, language, budget in zip(windows, languages, budgets, strict=True)
        ]
        decodings: dict[int, Decoding] = {}
        # CTranslate2 needs <|startoftranscript|> at the same position in all prompts of a call, and times in all of
        # them or in none. The tokens after it may differ in number.
        alike = grouped(
            range(len(windows)),
            lambda row: (len(prompts[row]), bool(preceding[row]), self._search.beam_size(windows[row])),
        )
        for (prompt_length, _, beam_size), rows in alike:
            budget = max(len(preceding[row]) + budgets[row] for row in rows)
            results = self.model.generate(
                self._rows.take(encoded, rows),
                [prompts[row] + preceding[row] + prefixes[row] for row in rows],
                beam_size=beam_size,
                # CTranslate2 generates min(max_length / 2, max_length - prompt_length) tokens, including the prefix.
                max_length=max(2 * budget, budget + prompt_length),
                return_scores=True,
                return_no_speech_prob=True,
                # The model may answer with no text. With blanks suppressed it writes "you" for digital silence.
                suppress_blank=False,
            )
            for row, result in zip(rows, results, strict=True):
                generated = result.sequences_ids[0]
                n_given = len(preceding[row]) + len(prefixes[row])
                tokens = self._vocabulary.without_times(generated[len(preceding[row]) :])
                text = self._vocabulary.decode(tokens)
                decodings[row] = Decoding(
                    window=windows[row],
                    encoded=encoded,
                    row=row,
                    language=languages[row],
                    tokens=tokens,
                    n_prefix=len(prefixes[row]),
                    token_budget=budgets[row],
                    text=text,
                    compression_ratio=compression_ratio(text),
                    # The score is a sum divided by a number of tokens. The sum is over the tokens after the prefix and
                    # <|endoftext|>. The number includes the prefix and excludes <|endoftext|>.
                    mean_log_probability=(
                        result.scores[0] * len(generated) / (len(generated) - n_given + 1)
                        if tokens
                        else result.scores[0] - math.inf  # NaN stays NaN
                    ),
                    no_speech_probability=result.no_speech_prob,
                    speech_ms=speech[row].total_ms,
                    speech_probability=speech[row].probability,
                    language_probability=detected[row][1],
                    thresholds=self._thresholds,
                )
        return [decodings[row] for row in range(len(windows))]

    def _languages(
        self, windows: Sequence[Window], speech: Sequence[Speech], encoded: Any
    ) -> list[tuple[str, float | None]]:
        """Return for each window its language, and the probability of the likeliest one.

        The probability is None where none is detected: the model has one language, or it is known and speech is clear.
        """
        if not self.model.is_multilingual:
            return [("en", None)] * len(windows)
        rows = [
            row
            for row, (window, found) in enumerate(zip(windows, speech, strict=True))
            if window.options.language is None or found.probability < self._thresholds.clear_speech_probability
        ]
        rankings = self.model.detect_language(self._rows.take(encoded, rows)) if rows else []
        ranking_of = {
            row: [(language_of(token), probability) for token, probability in ranking]
            for row, ranking in zip(rows, rankings, strict=True)
        }
        return [
            (
                window.options.language or choose_language(window, ranking_of[row]),
                ranking_of[row][0][1] if row in ranking_of else None,
            )
            for row, window in enumerate(windows)
        ]
