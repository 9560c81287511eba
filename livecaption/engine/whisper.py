"""Transcribe windows by Whisper on CTranslate2.

    samples -> log-mel features -> encoder, one pass for windows of similar length -> decoder, one pass
    for prompts of equal length -> guard, doubtful finals once more -> words aligned -> hypotheses

This module uses the parts of faster-whisper, not its `transcribe`. That function encodes 30 s for a window of any
length, and cuts its input by itself. Here a window is one utterance that is already cut.

Gain and cost of context and guard: docs/decisions/0004-encoder-context.md.

The code runs in the inference process, on one thread, and blocks. CTranslate2 releases the GIL while it computes. A
loaded model is never unloaded, because its destructor is known to hang or crash. The process simply ends.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ctranslate2
import numpy as np
import tokenizers
from faster_whisper.feature_extractor import FeatureExtractor

from livecaption.audio import SAMPLE_RATE_HZ, samples_of
from livecaption.engine.alignment import FRAME_SAMPLES, align
from livecaption.engine.calibration import TEXT, RehearsedModel, measure_costs
from livecaption.engine.device import Device, DeviceKind, choose_device, device_memory
from livecaption.engine.failures import is_memory_error, typed_errors
from livecaption.engine.guard import NO_SPEECH_MS, Decoding, Thresholds, better, compression_ratio, token_budget
from livecaption.engine.language import choose_language
from livecaption.engine.level import at_usual_level
from livecaption.engine.models import ModelFiles
from livecaption.engine.passes import grouped, rows_of
from livecaption.engine.search import FULL_CONTEXT_S, Search
from livecaption.engine.self_check import check_encoder
from livecaption.engine.speech_detection import Speech, SpeechDetector
from livecaption.engine.tokens import MAX_PRECEDING_TOKENS, Vocabulary, language_of
from livecaption.errors import EngineUnusable, OutOfMemory, TranscriptionFailed
from livecaption.recognition import DeviceMemory, EngineCosts, Hypothesis, ModelDescription, Window


def load_engine(
    files: ModelFiles,
    device: str = "auto",
    compute_type: str = "auto",
    threads: int = 0,
    *,
    full_context: bool = False,
    search: Search | None = None,
    thresholds: Thresholds | None = None,
    calibrates: bool = False,
) -> "WhisperEngine":
    """Load a model, warm it up and time its first batches. This takes from half a second to minutes.

    Args:
        files: result of `find_model`.
        device, compute_type: see `choose_device`.
        threads: CPU threads of one pass; 0: CTranslate2 chooses, at most four.
        full_context: True: the encoder gets 30 s for a window of any length.
        search: how windows are decoded; None: as measured.
        thresholds: which texts the guard believes; None: as measured.
        calibrates: time batches of all sizes; see `measure_costs`.

    Raises:
        EngineUnusable: the model can never load with these settings.
        OutOfMemory: there is not enough memory now.
    """
    engine = WhisperEngine(
        files,
        choose_device(device, compute_type),
        threads,
        full_context=full_context,
        search=search,
        thresholds=thresholds,
    )
    try:
        with typed_errors():
            engine.check_numbers()
        [answer] = engine.transcribe([Window(np.zeros(SAMPLE_RATE_HZ, np.float32), is_final=False)])
        engine.costs = measure_costs(engine.rehearse, on_gpu=engine.device_kind != "cpu", calibrates=calibrates)
    except TranscriptionFailed as error:
        raise EngineUnusable(f"Model {files.name} loads but does not work: {error}") from error
    if answer is None:
        raise EngineUnusable(f"Model {files.name} computes no numbers (NaN): choose another --compute-type")
    return engine


class WhisperEngine:
    """An `Engine`. `transcribe` keeps the contract of that class."""

    def __init__(
        self,
        files: ModelFiles,
        device: Device,
        threads: int = 0,
        *,
        full_context: bool = False,
        search: Search | None = None,
        thresholds: Thresholds | None = None,
    ) -> None:
        """Load a model. Arguments and errors are those of `load_engine`."""
        try:
            self._model = ctranslate2.models.Whisper(
                str(files.directory),
                device=device.kind,
                device_index=device.index,
                compute_type=device.compute_type,
                intra_threads=threads,
            )
            vocabulary = tokenizers.Tokenizer.from_file(str(files.directory / "tokenizer.json"))
        except Exception as error:  # tokenizers raises a bare Exception
            if is_memory_error(error):
                raise OutOfMemory(f"No memory for model {files.name} on {device.name}: {error}") from error
            raise EngineUnusable(f"Model {files.name} cannot be loaded on {device.name}: {error}") from error
        self.costs: EngineCosts
        """Set by `load_engine`."""
        self._device = device
        self._directory = files.directory
        self._vocabulary = Vocabulary(vocabulary, self._model.is_multilingual)
        self._extract_features = FeatureExtractor(feature_size=self._model.n_mels)
        self._speech_detector = SpeechDetector()
        self._full_context = full_context
        self._search = search or Search()
        self._thresholds = thresholds or Thresholds()
        self._description = ModelDescription(
            model=files.name,
            device=device.name,
            compute_type=device.compute_type,
            languages=self._vocabulary.languages,
            translates=self._model.is_multilingual,
            revision=files.revision,
        )

    @property
    def description(self) -> ModelDescription:
        return self._description

    @property
    def device_kind(self) -> DeviceKind:
        return self._device.kind

    def rehearse(self, windows: Sequence[Window], n_tokens: int) -> None:
        """Compute windows as if `n_tokens` were said in each, to measure how long that takes.

        Raises:
            TranscriptionFailed, EngineUnusable: see `transcribe`.
        """
        model = self._model
        text = self._vocabulary.prefix(Window(windows[0].samples, prefix=TEXT), "en")
        self._model = RehearsedModel(model, n_tokens, self._vocabulary.end_of_text, text)
        try:
            self.transcribe(windows)
        finally:
            self._model = model

    def device_memory(self) -> DeviceMemory | None:
        return device_memory(self._device)

    def check_numbers(self) -> None:
        """Compare the numbers of a GPU with those of the CPU. Errors are those of `check_encoder`."""
        if self._device.kind != "cpu":
            check_encoder(self._model, self._directory, self._device)

    def transcribe(self, windows: Sequence[Window]) -> list[Hypothesis | None]:
        for window in windows:
            self._check(window)
        windows = [
            window
            if len(self._vocabulary.preceding_words(window)) <= MAX_PRECEDING_TOKENS
            else replace(window, preceding=None)
            for window in windows
        ]
        speech = [self._speech_detector.detect(window.samples) for window in windows]
        windows = [
            _at_usual_level(window) if found.total_ms >= NO_SPEECH_MS else window
            for window, found in zip(windows, speech, strict=True)
        ]
        with typed_errors():
            decodings, runaways, doubtful = self._decode_again_if_doubtful(windows, speech)
            for i in doubtful:
                if windows[i].is_final and decodings[i].skips_speech and speech[i].pause_ms:
                    decodings[i] = self._in_parts(decodings[i], speech[i])
            words = align(self._model, self._description.model, self._vocabulary, decodings)
        return [
            Hypothesis(
                text=self._vocabulary.decode(decoding.text_tokens),
                language=decoding.language,
                confidence=decoding.confidence,
                no_speech_probability=decoding.no_speech_probability,
                words=words.get(i, ()),
                suspicious=not decoding.window.is_final and (not decoding.is_sound or decoding.may_echo_prompt),
                runaway=i in runaways,
                redone=decoding.window.is_final and i in doubtful,
                speech_end_ms=speech[i].end_ms,
            )
            if decoding.is_number and all(math.isfinite(word.confidence) for word in words.get(i, ()))
            else None
            for i, decoding in enumerate(decodings)
        ]

    def _context_s(self, window: Window, *, is_retry: bool = False) -> int:
        return self._search.context_s(window, full=self._full_context, is_retry=is_retry)

    def _check(self, window: Window) -> None:
        options = window.options
        if window.n_encoder_samples > FULL_CONTEXT_S * SAMPLE_RATE_HZ:
            raise TranscriptionFailed(
                f"A window of {window.n_encoder_samples} samples is longer than {FULL_CONTEXT_S} s"
            )
        if options.language is not None and options.language not in self._description.languages:
            raise TranscriptionFailed(f"{self._description.model} does not support the language {options.language!r}")
        if options.task == "translate" and not self._description.translates:
            raise TranscriptionFailed(f"{self._description.model} does not translate")

    def _decode(self, windows: Sequence[Window], speech: Sequence[Speech], contexts_s: Sequence[int]) -> list[Decoding]:
        """Decode every window once, in order, in as few passes as lengths and prompts allow."""
        decodings: dict[int, Decoding] = {}
        for context_s, indices in grouped(range(len(windows)), contexts_s.__getitem__):
            alike = [windows[i] for i in indices]
            encoded = self._encode(alike, context_s)
            made = self._generate(alike, [speech[i] for i in indices], encoded)
            decodings.update(zip(indices, made, strict=True))
        return [decodings[i] for i in range(len(windows))]

    def _decode_again_if_doubtful(
        self, windows: Sequence[Window], speech: Sequence[Speech]
    ) -> tuple[list[Decoding], set[int], set[int]]:
        """Decode every window once, and doubtful ones a second time.

        Returns what is kept, the indices of those that ran away at first, and the indices of the doubtful ones.
        """
        decodings = self._decode(windows, speech, [self._context_s(window) for window in windows])
        runaways = {i for i, decoding in enumerate(decodings) if decoding.is_runaway}
        doubtful = [
            i
            for i, decoding in enumerate(decodings)
            # A partial that adds nothing or repeats the context keeps readers waiting. Newer ones follow others.
            if decoding.repeats_context or (windows[i].is_final and (not decoding.is_sound or decoding.may_echo_prompt))
        ]
        retries = self._decode(
            # Text or audio before the window may have misled the decoder.
            [_without_hints(decodings[i]) for i in doubtful],
            [speech[i] for i in doubtful],
            [self._context_s(windows[i], is_retry=True) for i in doubtful],
        )
        for i, retry in zip(doubtful, retries, strict=True):
            decodings[i] = better(decodings[i], retry)
        return decodings, runaways, set(doubtful)

    def _in_parts(self, decoding: Decoding, speech: Speech) -> Decoding:
        """Decode the parts before and after the longest pause, and return the whole window with their words.

        Parts have no parts of their own, so that no audio takes more than six passes. Without words in the parts, the
        given decoding is returned.
        """
        pause = samples_of(speech.pause_ms)
        samples = decoding.window.samples
        parts = [replace(_without_hints(decoding), samples=half) for half in (samples[:pause], samples[pause:])]
        found = [self._speech_detector.detect(part.samples) for part in parts]
        said = [part for part in self._decode_again_if_doubtful(parts, found)[0] if part.text_tokens]
        if not said:
            return decoding
        tokens = [token for part in said for token in part.text_tokens]
        total = sum(part.mean_log_probability * len(part.text_tokens) for part in said)
        return replace(
            decoding,
            tokens=tokens,
            text=self._vocabulary.decode(tokens),
            mean_log_probability=total / len(tokens),
        )

    def _encode(self, windows: Sequence[Window], context_s: int) -> Any:
        """Return the encoder's output, [n_windows, 50 * context_s, width], on the model's device."""
        features = np.empty((len(windows), self._model.n_mels, 100 * context_s), np.float32)
        for row, window in zip(features, windows, strict=True):
            # Four frames of silence suffice, because all further frames of silence are equal. The result is that of the
            # whole padded waveform, whose transformation took a tenth of all computing time.
            silence = min(4 * FRAME_SAMPLES, context_s * SAMPLE_RATE_HZ - window.n_encoder_samples)
            audio = [window.preceding.samples, window.samples] if window.preceding else [window.samples]
            extracted = self._extract_features(np.concatenate(audio), padding=silence)[:, : row.shape[1]]
            row[:] = np.pad(extracted, ((0, 0), (0, row.shape[1] - extracted.shape[1])), mode="edge")
        if self._device.kind != "cpu":
            return self._model.encode(ctranslate2.StorageView.from_array(features))
        # One after the other, because several windows do not fit into the cache of a core:
        # docs/decisions/0019-processes-on-a-cpu.md.
        encoded = [self._model.encode(ctranslate2.StorageView.from_array(row[np.newaxis])) for row in features]
        return ctranslate2.StorageView.from_array(np.concatenate([np.asarray(row) for row in encoded]))

    def _generate(self, windows: Sequence[Window], speech: Sequence[Speech], encoded: Any) -> list[Decoding]:
        detected = self._languages(windows, speech, encoded)
        languages = [language for language, _ in detected]
        windows = [
            replace(window, context="") if window.likely_language not in (None, language) else window
            for window, language in zip(windows, languages, strict=True)
        ]
        prompts = [
            self._vocabulary.prompt(window, language) for window, language in zip(windows, languages, strict=True)
        ]
        budgets = [token_budget(window, language) for window, language in zip(windows, languages, strict=True)]
        prefixes = [
            self._vocabulary.prefix(window, language)[: budget - 1]
            for window, language, budget in zip(windows, languages, budgets, strict=True)
        ]
        preceding = [self._vocabulary.preceding(window) for window in windows]
        decodings: dict[int, Decoding] = {}
        # CTranslate2 needs <|startoftranscript|> at the same position in all prompts of a call, and times in all of
        # them or in none. The tokens after it may differ in number.
        alike = grouped(
            range(len(windows)),
            lambda row: (len(prompts[row]), bool(preceding[row]), self._search.beam_size(windows[row])),
        )
        for (prompt_length, _, beam_size), rows in alike:
            budget = max(len(preceding[row]) + budgets[row] for row in rows)
            results = self._model.generate(
                rows_of(encoded, rows),
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
        if not self._model.is_multilingual:
            return [("en", None)] * len(windows)
        rows = [
            row
            for row, (window, found) in enumerate(zip(windows, speech, strict=True))
            if window.options.language is None or found.probability < self._thresholds.clear_speech_probability
        ]
        rankings = self._model.detect_language(rows_of(encoded, rows)) if rows else []
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


def _without_hints(decoding: Decoding) -> Window:
    """Return the window without what may have misled the decoder: what was said before, or the publisher's words."""
    window = replace(decoding.window, context="", preceding=None)
    if not decoding.may_echo_prompt:
        return window
    return replace(window, options=replace(window.options, prompt="", hotwords=()))


def _at_usual_level(window: Window) -> Window:
    before = window.preceding
    return replace(
        window,
        samples=at_usual_level(window.samples),
        preceding=before and replace(before, samples=at_usual_level(before.samples)),
    )
