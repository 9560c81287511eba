"""Transcribe windows by Whisper on CTranslate2.

    prepare: samples -> speech detected, passes planned, log-mel features
    compute: encoder, one pass for windows of similar length -> decoder, one pass for prompts of equal length
             -> guard, doubtful finals once more -> words aligned -> voices found
    finish:  tokens -> hypotheses

This module uses the parts of faster-whisper, not its `transcribe`. That function encodes 30 s for a window of any
length, and cuts its input by itself. Here a window is one utterance that is already cut.

Gain and cost of context and guard: docs/decisions/0004-encoder-context.md.

The code runs in the inference process and blocks. CTranslate2 releases the GIL while it computes. A loaded model is
never unloaded, because its destructor is known to hang or crash. The process simply ends.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import ctranslate2
import numpy as np
import tokenizers

from livecaption.audio import SAMPLE_RATE_HZ, samples_of
from livecaption.engine.alignment import align
from livecaption.engine.analysis import Analyzer, at_usual_level
from livecaption.engine.calibration import TEXT, RehearsedModel, measure_costs
from livecaption.engine.decoder import Decoder, EncoderPass
from livecaption.engine.device import Device, DeviceKind, choose_device, device_memory
from livecaption.engine.engine import Compute, Engine, Finish
from livecaption.engine.failures import is_memory_error, typed_errors
from livecaption.engine.guard import NO_SPEECH_MS, Decoding, Thresholds, better
from livecaption.engine.models import ModelFiles
from livecaption.engine.passes import Rows
from livecaption.engine.search import FULL_CONTEXT_S, GPU_SEARCH, Search
from livecaption.engine.self_check import check_encoder
from livecaption.engine.speech_detection import Speech
from livecaption.engine.tokens import MAX_PRECEDING_TOKENS, Vocabulary
from livecaption.engine.voices import BegunVoices, VoiceFinder
from livecaption.errors import EngineUnusable, OutOfMemory, TranscriptionFailed
from livecaption.recognition import Analysis, DeviceMemory, EngineCosts, Hypothesis, ModelDescription, Window

GPU_STREAMS = 2
"""Batches that a GPU computes at once, each on a CUDA stream. One is encoded while the other is decoded: that is mostly
waiting, until small kernels are launched."""


def load_engine(
    files: ModelFiles,
    device: str = "auto",
    compute_type: str = "auto",
    threads: int = 0,
    *,
    full_context: bool = False,
    search: Search | None = None,
    thresholds: Thresholds | None = None,
    voices: VoiceFinder | None = None,
    calibrates: bool = False,
    is_replacement: bool = False,
) -> "WhisperEngine":
    """Load a model, warm it up and time its first batches. This takes from half a second to minutes.

    Args:
        files: result of `find_model`.
        device, compute_type: see `choose_device`.
        threads: CPU threads of one pass; 0: CTranslate2 chooses, at most four.
        full_context: True: the encoder gets 30 s for a window of any length.
        search: how windows are decoded; None: as measured.
        thresholds: which texts the guard believes; None: as measured.
        voices: finds the voices of finals; None: they have none.
        calibrates: time batches of all sizes; see `measure_costs`.
        is_replacement: see `EngineConfig`.

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
        voices=voices,
    )
    try:
        if not is_replacement:
            with typed_errors():
                engine.check_numbers()
        [answer] = engine.transcribe([Window(np.zeros(SAMPLE_RATE_HZ, np.float32), is_final=False)])
        if answer is None:
            raise EngineUnusable(f"Model {files.name} computes no numbers (NaN): choose another --compute-type")
        on_gpu = engine.device_kind != "cpu"
        engine.costs = measure_costs(
            engine.rehearse, engine.analyze, on_gpu=on_gpu, calibrates=calibrates, is_replacement=is_replacement
        )
    except TranscriptionFailed as error:
        raise EngineUnusable(f"Model {files.name} loads but does not work: {error}") from error
    return engine


class WhisperEngine(Engine):
    """An `Engine`."""

    def __init__(
        self,
        files: ModelFiles,
        device: Device,
        threads: int = 0,
        *,
        full_context: bool = False,
        search: Search | None = None,
        thresholds: Thresholds | None = None,
        voices: VoiceFinder | None = None,
    ) -> None:
        """Load a model. Arguments and errors are those of `load_engine`."""
        try:
            model = ctranslate2.models.Whisper(
                str(files.directory),
                device=device.kind,
                device_index=device.index,
                compute_type=device.compute_type,
                inter_threads=GPU_STREAMS if device.kind == "cuda" else 1,
                intra_threads=threads,
            )
            vocabulary = tokenizers.Tokenizer.from_file(str(files.directory / "tokenizer.json"))
        except Exception as error:  # tokenizers raises a bare Exception
            if is_memory_error(error):
                raise OutOfMemory(f"No memory for model {files.name} on {device.name}: {error}") from error
            raise EngineUnusable(f"Model {files.name} cannot be loaded on {device.name}: {error}") from error
        is_gpu = device.kind == "cuda"
        self.n_streams = GPU_STREAMS if is_gpu else 1
        self.costs: EngineCosts
        """Set by `load_engine`."""
        self._device = device
        self._directory = files.directory
        self._rows = Rows(device)
        self._vocabulary = Vocabulary(vocabulary, model.is_multilingual)
        self._analyzer = Analyzer(model.n_mels)
        self._voices = voices
        self._decoder = Decoder(
            model,
            self._vocabulary,
            self._analyzer.log_mel,
            device,
            self._rows,
            search or (GPU_SEARCH if is_gpu else Search()),
            thresholds or Thresholds(),
            full_context=full_context,
        )
        self.description = ModelDescription(
            model=files.name,
            device=device.name,
            compute_type=device.compute_type,
            languages=self._vocabulary.languages,
            translates=model.is_multilingual,
            revision=files.revision,
            speakers=voices is not None,
        )

    @property
    def device_kind(self) -> DeviceKind:
        return self._device.kind

    def rehearse(self, windows: Sequence[Window], n_tokens: int) -> None:
        """Compute windows as if `n_tokens` were said in each, to measure how long that takes.

        Raises:
            TranscriptionFailed, EngineUnusable: see `transcribe`.
        """
        model = self._decoder.model
        text = self._vocabulary.prefix(Window(windows[0].samples, prefix=TEXT), "en")
        self._decoder.model = RehearsedModel(model, n_tokens, self._vocabulary.end_of_text, text)
        try:
            self.transcribe(windows)
        finally:
            self._decoder.model = model

    def analyze(self, window: Window) -> Analysis | None:
        """Return the analysis that an earlier window with this audio would have left."""
        return self._analyzer.analyze(window)[2]

    def device_memory(self) -> DeviceMemory | None:
        return device_memory(self._device)

    def check_numbers(self) -> None:
        """Compare the numbers of a GPU with those of the CPU. Errors are those of `check_encoder`."""
        if self._device.kind != "cpu":
            check_encoder(self._decoder.model, self._directory, self._device)

    def prepare(self, windows: Sequence[Window]) -> Compute:
        """See `Engine`."""
        for window in windows:
            self._check(window)
        windows = [
            window
            if len(self._vocabulary.preceding_words(window)) <= MAX_PRECEDING_TOKENS
            else replace(window, preceding=None)
            for window in windows
        ]
        analyzed = [self._analyzer.analyze(window) for window in windows]
        speech = [found for _, found, _ in analyzed]
        begun = self._voices.begin(windows, speech) if self._voices else {}
        windows = [
            at_usual_level(window) if found.total_ms >= NO_SPEECH_MS else window for window, found, _ in analyzed
        ]
        new = [analysis for _, _, analysis in analyzed]
        return partial(self._compute, windows, speech, new, self._decoder.plan(windows), begun)

    def _compute(
        self,
        windows: Sequence[Window],
        speech: Sequence[Speech],
        analyses: Sequence[Analysis | None],
        passes: Sequence[EncoderPass],
        begun: Mapping[int, BegunVoices],
    ) -> Finish:
        with typed_errors():
            decodings, runaways, doubtful = self._decode_again_if_doubtful(windows, speech, passes)
            skipping = [
                i for i in sorted(doubtful) if windows[i].is_final and decodings[i].skips_speech and speech[i].pause_ms
            ]
            in_parts = self._in_parts([decodings[i] for i in skipping], [speech[i] for i in skipping])
            for i, decoding in zip(skipping, in_parts, strict=True):
                decodings[i] = decoding
            words = align(self._decoder.model, self.description.model, self._vocabulary, decodings, self._rows)
        # While the batch waits for its last stage, the GPU needs the memory of the encoder's output for others.
        decodings = [replace(decoding, encoded=None) for decoding in decodings]
        voices = self._voices.find(begun, words) if self._voices else {}
        return lambda: [
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
                analysis=analyses[i],
                voices=voices.get(i, ()),
            )
            if decoding.is_valid and all(math.isfinite(word.confidence) for word in words.get(i, ()))
            else None
            for i, decoding in enumerate(decodings)
        ]

    def _check(self, window: Window) -> None:
        options = window.options
        if window.n_encoder_samples > FULL_CONTEXT_S * SAMPLE_RATE_HZ:
            raise TranscriptionFailed(
                f"A window of {window.n_encoder_samples} samples is longer than {FULL_CONTEXT_S} s"
            )
        if options.language is not None and options.language not in self.description.languages:
            raise TranscriptionFailed(f"{self.description.model} does not support the language {options.language!r}")
        if options.task == "translate" and not self.description.translates:
            raise TranscriptionFailed(f"{self.description.model} does not translate")

    def _decode_again_if_doubtful(
        self, windows: Sequence[Window], speech: Sequence[Speech], passes: Sequence[EncoderPass]
    ) -> tuple[list[Decoding], set[int], set[int]]:
        """Decode every window once, and doubtful ones a second time.

        Returns what is kept, the indices of those that ran away at first, and the indices of the doubtful ones.
        """
        decodings = self._decoder.decode(windows, speech, passes)
        runaways = {i for i, decoding in enumerate(decodings) if decoding.is_runaway}
        doubtful = [
            i
            for i, decoding in enumerate(decodings)
            # A partial that adds nothing or repeats the context keeps readers waiting. Newer ones follow others.
            if decoding.repeats_context or (windows[i].is_final and (not decoding.is_sound or decoding.may_echo_prompt))
        ]
        # Text or audio before the window may have misled the decoder.
        again = [_without_hints(decodings[i]) for i in doubtful]
        retries = self._decoder.decode(
            again, [speech[i] for i in doubtful], self._decoder.plan(again, [windows[i] for i in doubtful])
        )
        for i, retry in zip(doubtful, retries, strict=True):
            decodings[i] = better(decodings[i], retry)
        return decodings, runaways, set(doubtful)

    def _in_parts(self, decodings: Sequence[Decoding], speech: Sequence[Speech]) -> list[Decoding]:
        """Decode the parts before and after the longest pauses, and return the whole windows with their words.

        Parts have no parts of their own, so that no audio takes more than six passes. If the parts have no words, the
        given decoding is returned.
        """
        analyzed = []
        for decoding, found in zip(decodings, speech, strict=True):
            samples, pause = decoding.window.samples, samples_of(found.pause_ms)
            analyzed += [
                self._analyzer.analyze(replace(_without_hints(decoding), samples=half, analysis=None))
                for half in (samples[:pause], samples[pause:])
            ]
        parts, speech_of_parts = [part for part, _, _ in analyzed], [found for _, found, _ in analyzed]
        made, _, _ = self._decode_again_if_doubtful(parts, speech_of_parts, self._decoder.plan(parts))
        return [self._joined(decoding, made[2 * i : 2 * i + 2]) for i, decoding in enumerate(decodings)]

    def _joined(self, decoding: Decoding, parts: Sequence[Decoding]) -> Decoding:
        said = [part for part in parts if part.text_tokens]
        if not said or not all(part.is_valid for part in parts):
            return decoding
        tokens = [token for part in said for token in part.text_tokens]
        total = sum(part.mean_log_probability * len(part.text_tokens) for part in said)
        return replace(
            decoding,
            tokens=tokens,
            text=self._vocabulary.decode(tokens),
            mean_log_probability=total / len(tokens),
        )


def _without_hints(decoding: Decoding) -> Window:
    """Return the window without what may have misled the decoder: what was said before, or the publisher's words."""
    window = replace(decoding.window, context="", preceding=None)
    if not decoding.may_echo_prompt:
        return window
    return replace(window, options=replace(window.options, prompt="", hotwords=()))
