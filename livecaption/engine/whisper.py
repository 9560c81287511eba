"""Windows -> hypotheses, by Whisper on CTranslate2.

    samples -> log-mel features -> encoder, one pass for windows of like length -> decoder, one pass
    for prompts of like length -> guard, doubtful finals once more -> words aligned -> hypotheses

Uses the parts of faster-whisper, not its `transcribe`: that one hears 30 s whatever a window's
length, and cuts what it is given by itself. Here a window is one utterance, cut already.

What context and guard cost and gain: docs/decisions/0004-encoder-context.md.

Runs in the inference process, on one thread; blocks. CTranslate2 lets go of the GIL while it
computes. A loaded model is never unloaded: its destructor is known to hang or crash, so the
process simply ends.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, ItemsView, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import ctranslate2
import numpy as np
import tokenizers
from faster_whisper.feature_extractor import FeatureExtractor
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import merge_punctuations

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.engine.device import Device, choose_device, device_memory
from livecaption.engine.guard import Decoding, compression_ratio, token_budget
from livecaption.engine.models import ModelFiles
from livecaption.engine.speech_detection import Speech, SpeechDetector
from livecaption.errors import EngineError, EngineUnusable, TranscriptionFailed
from livecaption.recognition import MAX_WINDOW_MS, DeviceMemory, Hypothesis, ModelDescription, Task, Window, Word

FRAME_SAMPLES = 160  # hop of the features, 10 ms
ENCODED_FRAME_MS = 20  # the encoder halves the frames
FULL_CONTEXT_S = MAX_WINDOW_MS // 1000

# How much audio the encoder gets for a window of n seconds: n + CONTEXT_MARGIN_S, at least MIN_CONTEXT_S, rounded up
# to CONTEXT_STEP_S so that windows of similar length share a pass, at most 30 s; silence after the window. Less
# context makes the decoder run away. Figures: docs/decisions/0004-encoder-context.md.
MIN_CONTEXT_S = 10
# The same for partials under load: a runaway partial is not shown, and the next one follows soon.
MIN_HURRIED_CONTEXT_S = 8
CONTEXT_MARGIN_S = 2
CONTEXT_STEP_S = 2

CONTEXT_TOKENS = 16
"""Of what was said before a window, for the decoder: so many or none, for prompts of one length share a pass. 5, 8 and
24 do no better."""
MAX_PREVIOUS_TOKENS = 223  # half of the 448 places of the decoder, less one for <|startofprev|>
MAX_PRECEDING_TOKENS = 112
"""Of the utterance before a window, which come out of those; with more it is not heard."""
TIMESTAMP_MS = 20
BEAM_SIZES = {(True, "full"): 5, (True, "reduced"): 3, (False, "full"): 3, (False, "reduced"): 2}
"""By whether a window is a final, and its effort: docs/decisions/0005-beam-sizes.md."""
# A doubtful final is decoded once more with more context, and its batch waits for it:
# docs/decisions/0004-encoder-context.md.
MIN_RETRY_CONTEXT_S = 16
RETRY_CONTEXT_MARGIN_S = 8

# Punctuation that `merge_punctuations` joins to the word after and to the word before it, as in Whisper.
OPENING_PUNCTUATION = "\"'“¿([{-"
CLOSING_PUNCTUATION = "\"'.。,，!！?？:：”)]}、"

UNSPACED_LANGUAGES = ("ja", "lo", "my", "th", "yue", "zh")
"""Written without spaces: their texts do not begin with one either."""

# How much later than it is said a word seems to be, for models where that was measured: tiny.en, 2435 words against
# forced alignments; what is left has a median of 40 ms. The multilingual base needs nothing.
WORD_LAG_MS = {"tiny.en": 160}

# What CUDA says once its context is lost: every later call fails too, so the process must end.
STICKY_CUDA_ERRORS = (
    "illegal memory access",
    "illegal instruction",
    "misaligned address",
    "device-side assert",
    "unspecified launch failure",
    "cuda driver",
    "uncorrectable ecc",
    "cublas_status_execution_failed",
)
MEMORY_ERRORS = ("out of memory", "cublas_status_alloc_failed", "bad_alloc")

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)


def load_engine(
    files: ModelFiles,
    device: str = "auto",
    compute_type: str = "auto",
    threads: int = 0,
    *,
    full_context: bool = False,
) -> "WhisperEngine":
    """Load a model and warm it up; takes from half a second to minutes.

    Args:
        files: what `find_model` found.
        device, compute_type: see `choose_device`.
        threads: CPU threads of one pass; 0: CTranslate2's choice, four at most.
        full_context: let the encoder hear 30 s whatever a window's length.

    Raises:
        EngineUnusable: it can never load with these settings.
        EngineError: there is not enough memory now.
    """
    engine = WhisperEngine(files, choose_device(device, compute_type), threads, full_context=full_context)
    try:
        # A missing library of CUDA shows itself only in the first pass, which is slow anyhow.
        engine.transcribe([Window(np.zeros(SAMPLE_RATE_HZ, np.float32), is_final=False)])
    except TranscriptionFailed as error:
        raise EngineUnusable(f"Model {files.name} loads but does not work: {error}") from error
    return engine


class WhisperEngine:
    """An `Engine`; `transcribe` keeps the contract written there."""

    def __init__(self, files: ModelFiles, device: Device, threads: int = 0, *, full_context: bool = False) -> None:
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
            if _has_sign(error, MEMORY_ERRORS):
                raise EngineError(f"No memory for model {files.name} on {device.name}: {error}") from error
            raise EngineUnusable(f"Model {files.name} cannot be loaded on {device.name}: {error}") from error
        self._device = device
        self._text = _Text(vocabulary, self._model.is_multilingual)
        self._extract_features = FeatureExtractor(feature_size=self._model.n_mels)
        self._speech_detector = SpeechDetector()
        self._full_context = full_context
        self._description = ModelDescription(
            model=files.name,
            device=device.name,
            compute_type=device.compute_type,
            languages=self._text.languages,
            translates=self._model.is_multilingual,
            revision=files.revision,
        )

    @property
    def description(self) -> ModelDescription:
        return self._description

    def device_memory(self) -> DeviceMemory | None:
        return device_memory(self._device)

    def transcribe(self, windows: Sequence[Window]) -> list[Hypothesis]:
        for window in windows:
            self._check(window)
        windows = [
            window
            if len(self._text.preceding_words(window)) <= MAX_PRECEDING_TOKENS
            else replace(window, preceding=None)
            for window in windows
        ]
        speech = [self._speech_detector.detect(window.samples) for window in windows]
        with _typed_errors():
            decodings = self._decode(
                windows, speech, [context_s(window, full=self._full_context) for window in windows]
            )
            runaways = {i for i, decoding in enumerate(decodings) if decoding.is_runaway}
            doubtful = [
                i
                for i, decoding in enumerate(decodings)
                # A partial that adds nothing, or says again what was said, keeps readers waiting; others are near.
                if decoding.repeats_context or (windows[i].is_final and not decoding.is_sound)
            ]
            retries = self._decode(
                # What was said before may be what led it astray.
                [replace(windows[i], context="", preceding=None) for i in doubtful],
                [speech[i] for i in doubtful],
                [context_s(windows[i], full=self._full_context, is_retry=True) for i in doubtful],
            )
            for i, retry in zip(doubtful, retries, strict=True):
                decodings[i] = max(decodings[i], retry, key=Decoding.quality).as_last_try()
            words = self._align(decodings)
        return [
            Hypothesis(
                text=self._text.decode(decoding.text_tokens),
                language=decoding.language,
                confidence=decoding.confidence,
                no_speech_probability=decoding.no_speech_probability,
                words=words.get(i, ()),
                suspicious=not decoding.window.is_final and not decoding.is_sound,
                runaway=i in runaways,
                redone=decoding.window.is_final and i in doubtful,
                speech_end_ms=speech[i].end_ms,
            )
            for i, decoding in enumerate(decodings)
        ]

    def _check(self, window: Window) -> None:
        options = window.options
        if window.n_encoder_samples > FULL_CONTEXT_S * SAMPLE_RATE_HZ:
            raise TranscriptionFailed(
                f"A window of {window.n_encoder_samples} samples is longer than {FULL_CONTEXT_S} s"
            )
        if options.language is not None and options.language not in self._description.languages:
            raise TranscriptionFailed(f"{self._description.model} does not know the language {options.language!r}")
        if options.task == "translate" and not self._description.translates:
            raise TranscriptionFailed(f"{self._description.model} does not translate")

    def _decode(self, windows: Sequence[Window], speech: Sequence[Speech], contexts_s: Sequence[int]) -> list[Decoding]:
        """Every window decoded once, in order, in as few passes as lengths and prompts allow."""
        decodings: dict[int, Decoding] = {}
        for context_s, indices in _grouped(range(len(windows)), contexts_s.__getitem__):
            alike = [windows[i] for i in indices]
            encoded = self._encode(alike, context_s)
            made = self._generate(alike, [speech[i] for i in indices], encoded)
            decodings.update(zip(indices, made, strict=True))
        return [decodings[i] for i in range(len(windows))]

    def _encode(self, windows: Sequence[Window], context_s: int) -> Any:
        """Output of the encoder, [n_windows, 50 * context_s, width] on the model's device."""
        features = np.empty((len(windows), self._model.n_mels, 100 * context_s), np.float32)
        for row, window in zip(features, windows, strict=True):
            # Four frames of silence are enough to learn what a frame of silence is; the others are its copies. The
            # result is that of transforming the whole padded waveform, which took a tenth of all computing time.
            silence = min(4 * FRAME_SAMPLES, context_s * SAMPLE_RATE_HZ - window.n_encoder_samples)
            audio = [window.preceding.samples, window.samples] if window.preceding else [window.samples]
            extracted = self._extract_features(np.concatenate(audio), padding=silence)[:, : row.shape[1]]
            row[:] = np.pad(extracted, ((0, 0), (0, row.shape[1] - extracted.shape[1])), mode="edge")
        if self._device.kind != "cpu":
            return self._model.encode(ctranslate2.StorageView.from_array(features))
        # One after the other: together they do not fit into the cache of a core. tiny.en int8, one thread, ms for each
        # window of 10 s in passes of 1, 2, 4 and 8: 30, 29, 30, 50; of 14 s: 47, 46, 64, 88; of 18 s: 64, 96, 118, 123.
        encoded = [self._model.encode(ctranslate2.StorageView.from_array(row[np.newaxis])) for row in features]
        return ctranslate2.StorageView.from_array(np.concatenate([np.asarray(row) for row in encoded]))

    def _generate(self, windows: Sequence[Window], speech: Sequence[Speech], encoded: Any) -> list[Decoding]:
        languages = self._languages(windows, encoded)
        prompts = [self._text.prompt(window, language) for window, language in zip(windows, languages, strict=True)]
        budgets = [token_budget(window, language) for window, language in zip(windows, languages, strict=True)]
        prefixes = [
            self._text.prefix(window, language)[: budget - 1]
            for window, language, budget in zip(windows, languages, budgets, strict=True)
        ]
        preceding = [self._text.preceding(window) for window in windows]
        decodings: dict[int, Decoding] = {}
        # CTranslate2 wants <|startoftranscript|> at the same place in all prompts of a call, and all of them with times
        # or none. What follows it may differ in length.
        alike = _grouped(
            range(len(windows)), lambda row: (len(prompts[row]), bool(preceding[row]), _beam_size(windows[row]))
        )
        for (prompt_length, _, beam_size), rows in alike:
            budget = max(len(preceding[row]) + budgets[row] for row in rows)
            results = self._model.generate(
                _rows(encoded, rows),
                [prompts[row] + preceding[row] + prefixes[row] for row in rows],
                beam_size=beam_size,
                # CTranslate2 generates min(max_length / 2, max_length - prompt_length) tokens, the prefix among them.
                max_length=max(2 * budget, budget + prompt_length),
                return_scores=True,
                return_no_speech_prob=True,
                # The model may say "nothing"; with blanks suppressed it says "you" to digital silence instead.
                suppress_blank=False,
            )
            for row, result in zip(rows, results, strict=True):
                generated = result.sequences_ids[0]
                n_given = len(preceding[row]) + len(prefixes[row])
                tokens = self._text.without_times(generated[len(preceding[row]) :])
                text = self._text.decode(tokens)
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
                    # The score is the sum over the tokens behind the prefix and <|endoftext|>, divided by the number of
                    # tokens with the prefix and without <|endoftext|>.
                    mean_log_probability=(
                        result.scores[0] * len(generated) / (len(generated) - n_given + 1) if tokens else -math.inf
                    ),
                    no_speech_probability=result.no_speech_prob,
                    speech_ms=speech[row].total_ms,
                    speech_probability=speech[row].probability,
                )
        return [decodings[row] for row in range(len(windows))]

    def _languages(self, windows: Sequence[Window], encoded: Any) -> list[str]:
        if not self._model.is_multilingual:
            return ["en"] * len(windows)
        unknown = [row for row, window in enumerate(windows) if window.options.language is None]
        rankings = self._model.detect_language(_rows(encoded, unknown)) if unknown else []
        detected = {row: _code(ranking[0][0]) for row, ranking in zip(unknown, rankings, strict=True)}
        return [window.options.language or detected[row] for row, window in enumerate(windows)]

    def _align(self, decodings: Sequence[Decoding]) -> dict[int, tuple[Word, ...]]:
        """Words of the decodings whose windows ask for them, by their indices in `decodings`."""
        wanted = [i for i, d in enumerate(decodings) if d.window.options.words and d.window.is_final and d.text_tokens]
        words: dict[int, tuple[Word, ...]] = {}
        for _, indices in _grouped(wanted, lambda i: decodings[i].alignment_pass):
            alike = [decodings[i] for i in indices]
            tokenizer = self._text.tokenizer(alike[0].language, alike[0].window.options.task)
            preceding_tokens = [self._text.preceding_words(decoding.window) for decoding in alike]
            alignments = self._model.align(
                _rows(alike[0].encoded, [decoding.row for decoding in alike]),
                tokenizer.sot_sequence,
                [before + decoding.text_tokens for before, decoding in zip(preceding_tokens, alike, strict=True)],
                [max(2, decoding.window.n_encoder_samples // FRAME_SAMPLES) for decoding in alike],
            )
            lag_ms = WORD_LAG_MS.get(self._description.model, 0)
            words.update(
                (i, _words(tokenizer, len(before), decodings[i], alignment, lag_ms))
                for i, before, alignment in zip(indices, preceding_tokens, alignments, strict=True)
            )
        return words


class _Text:
    """Between text and Whisper's tokens."""

    def __init__(self, vocabulary: tokenizers.Tokenizer, multilingual: bool) -> None:
        self._vocabulary = vocabulary
        self._multilingual = multilingual
        self._special = Tokenizer(vocabulary, multilingual=False)
        self._tokenizers: dict[tuple[str, Task], Tokenizer] = {}
        # The vocabulary is in this order: <|startoftranscript|>, languages, <|translate|>, ...
        codes = range(self._special.sot + 1, self._special.translate)
        self.languages = (
            tuple(_code(vocabulary.decode([code], skip_special_tokens=False)) for code in codes)
            if multilingual
            else ("en",)
        )

    def tokenizer(self, language: str, task: Task) -> Tokenizer:
        if (language, task) not in self._tokenizers:
            self._tokenizers[language, task] = Tokenizer(self._vocabulary, self._multilingual, task, language)
        return self._tokenizers[language, task]

    def decode(self, tokens: list[int]) -> str:
        text: str = self._special.decode(tokens)
        return text.strip()

    def prompt(self, window: Window, language: str) -> list[int]:
        """<|startofprev|>, hotwords and the end of the prompt and of the context, and what the decoder is to do."""
        options = window.options
        start = list(self.tokenizer(language, options.task).sot_sequence)
        if not window.preceding:
            start.append(self._special.no_timestamps)
        max_tokens = MAX_PREVIOUS_TOKENS - len(self.preceding_words(window))
        hotwords = self._encode(", ".join(options.hotwords))[: max_tokens // 2]
        context = [] if window.preceding else self._encode(window.context)[-CONTEXT_TOKENS:]
        if len(context) < CONTEXT_TOKENS:
            context = []
        prompt = self._encode(options.prompt)[-(max_tokens - len(hotwords) - len(context)) :]
        previous = [*hotwords, *prompt, *context]
        return [self._special.sot_prev, *previous, *start] if previous else start

    def preceding(self, window: Window) -> list[int]:
        """What the decoder has said when it comes to the window: the segment before, as Whisper was trained on segments
        with their times (Radford et al. 2022, section 2.3), and when the next one begins. Told without times it says
        the words again, or ends behind them."""
        preceding = window.preceding
        if preceding is None:
            return []
        begin, end, next_begin = (
            self._special.timestamp_begin + round(at_ms / TIMESTAMP_MS)
            for at_ms in (0, preceding.speech_end_ms, preceding.next_start_ms)
        )
        return [begin, *self.preceding_words(window), end, next_begin]

    def preceding_words(self, window: Window) -> list[int]:
        """Tokens of what is said before the window."""
        preceding, options = window.preceding, window.options
        return self._encode(preceding.text, spaced=_is_spaced(options.language, options.task)) if preceding else []

    def without_times(self, tokens: list[int]) -> list[int]:
        """Tokens of the text alone."""
        return [token for token in tokens if token < self._special.timestamp_begin]

    def prefix(self, window: Window, language: str) -> list[int]:
        """Tokens that the decoder has to begin with. Without the last punctuation: a sentence may go on after all."""
        text = window.prefix.rstrip(CLOSING_PUNCTUATION)
        return self._encode(text, spaced=_is_spaced(language, window.options.task))

    def _encode(self, text: str, *, spaced: bool = True) -> list[int]:
        """Tokens of plain text. A client that writes <|endoftext|> into its prompt must not upset the batch."""
        tokens = self._special.encode(" " * spaced + text.strip()) if text.strip() else []
        return [token for token in tokens if token < self._special.eot]


def _is_spaced(language: str | None, task: Task) -> bool:
    return task == "translate" or language not in UNSPACED_LANGUAGES


def _code(token: str) -> str:
    return token.removeprefix("<|").removesuffix("|>")


def _beam_size(window: Window) -> int:
    return BEAM_SIZES[window.is_final, window.effort]


def context_s(window: Window, *, full: bool = False, is_retry: bool = False) -> int:
    """Seconds that the encoder hears for a window: see `MIN_CONTEXT_S`.

    Args:
        full: 30 s whatever a window's length.
        is_retry: more than at first.
    """
    if full:
        return FULL_CONTEXT_S
    min_s, margin_s = MIN_CONTEXT_S, CONTEXT_MARGIN_S
    if is_retry:
        min_s, margin_s = MIN_RETRY_CONTEXT_S, RETRY_CONTEXT_MARGIN_S
    elif not window.is_final and window.effort == "reduced":
        min_s = MIN_HURRIED_CONTEXT_S
    needed_s = window.n_encoder_samples / SAMPLE_RATE_HZ + margin_s
    return min(FULL_CONTEXT_S, max(min_s, math.ceil(needed_s / CONTEXT_STEP_S) * CONTEXT_STEP_S))


def _words(
    tokenizer: Tokenizer, n_tokens_before: int, decoding: Decoding, alignment: Any, lag_ms: int
) -> tuple[Word, ...]:
    """Words with the times at which the alignment, a path of (token, encoded frame), enters and leaves them.

    Those of the utterance before the window are aligned too, and not returned.
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
        # The last "word" is <|endoftext|>; it ends the one before.
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


def _rows(encoded: Any, rows: Sequence[int]) -> Any:
    """Some rows of an encoder's output. CTranslate2 brings them back to the model's device itself."""
    if len(rows) == encoded.shape[0]:
        return encoded
    on_cpu = encoded.to(ctranslate2.DataType.float32).to_device(ctranslate2.Device.cpu)
    return ctranslate2.StorageView.from_array(np.asarray(on_cpu)[list(rows)])


def _grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> ItemsView[Key, list[Item]]:
    groups: defaultdict[Key, list[Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups.items()


def _has_sign(error: Exception, signs: Iterable[str]) -> bool:
    return any(sign in str(error).lower() for sign in signs)


@contextmanager
def _typed_errors() -> Iterator[None]:
    """Errors of CTranslate2 as ours: told apart by whether the next batch may succeed."""
    try:
        yield
    except (RuntimeError, ValueError, MemoryError) as error:
        if _has_sign(error, STICKY_CUDA_ERRORS) and not _has_sign(error, MEMORY_ERRORS):
            raise EngineUnusable(f"The GPU is lost to this process: {error}") from error
        raise TranscriptionFailed(f"The model failed: {error}") from error
