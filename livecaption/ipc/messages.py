"""The server and an inference process exchange these messages; this module turns them into bytes and back.

One message is one `send_bytes` on the pipe. It begins with the length of the header (4 bytes, big endian) and the
header as JSON. The audio of all windows follows as int16, one after the other, then their analyses as float32. In an
answer, embeddings of voices follow the analyses.
The format is JSON and raw numbers instead of pickle, because unpickling executes code. A broken or hostile worker can
only send invalid bytes, which `decode` refuses.
"""

import json
import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from livecaption.errors import LivecaptionError
from livecaption.ipc.voices import VoiceHeader, read_voices, voice_headers, voice_numbers
from livecaption.recognition import (
    N_STATE,
    Analysis,
    DeviceMemory,
    Effort,
    EngineCosts,
    Hypothesis,
    ModelDescription,
    PrecedingUtterance,
    TranscriptionOptions,
    TranslationTask,
    Window,
)
from livecaption.wire import from_plain, to_plain

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Largest size of a message. Batches are bounded by `SchedulerConfig.max_batch_bytes`, so a larger message comes from a
broken peer."""

MAX_STREAMS = 16
"""Most batches that a worker computes at the same time. A GPU computes two."""

_LENGTH = struct.Struct(">I")
_INT16_SCALE = 32768.0
"""The scale of incoming 16-bit audio, so that nothing is rounded: an error of 1 in 80,000 changed Whisper's text."""


class GarbledMessage(LivecaptionError):
    """The bytes are no message of this protocol. The other process is broken and treated as dead."""

    default_code = "garbled_message"


@dataclass(frozen=True, slots=True)
class Transcribe:
    """Server -> worker: transcribe or translate these windows as one batch, within `deadline_s` after its start."""

    batch: int
    deadline_s: float
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """Server -> worker: finish and answer all batches that were sent, then end."""


@dataclass(frozen=True, slots=True)
class DumpStacks:
    """Server -> worker: write the stacks of all threads to stderr."""


@dataclass(frozen=True, slots=True)
class ModelFound:
    """Worker -> server: the model's files are on this machine, downloaded if necessary. Loading begins."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Worker -> server: the model is loaded and has computed its first batches, in these times.

    The worker computes `n_streams` batches at the same time.

    Raises:
        ValueError: no worker computes so many.
    """

    description: ModelDescription
    costs: EngineCosts
    n_streams: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.n_streams <= MAX_STREAMS:
            raise ValueError("no such number of streams")


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """Worker -> server: the model cannot be loaded, or is lost with its machine. The worker ends.

    The message is for the operator.

    With `retry`, memory was short: a later start may succeed.
    """

    message: str
    retry: bool = False


@dataclass(frozen=True, slots=True)
class Transcribed:
    """Worker -> server: one hypothesis for each window of the batch, in order.

    It is None for a window that failed alone. If memory was short for all together, `fits` is the number of windows
    that it was enough for.

    Raises:
        ValueError: no batch takes this time, or none fits.
    """

    batch: int
    hypotheses: tuple[Hypothesis | None, ...]
    compute_s: float
    fits: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.compute_s < math.inf or (self.fits is not None and self.fits < 1):
            raise ValueError("a batch takes time, and a window of it fits")


@dataclass(frozen=True, slots=True)
class BatchFailed:
    """Worker -> server: this batch failed, and the worker goes on."""

    batch: int
    message: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Worker -> server, each second: the operating system schedules the process, and Python runs in it.

    `device_memory` was read after a batch, at most a second before the end of the last one. It is None on a CPU, and if
    it cannot be read.
    """

    device_memory: DeviceMemory | None = None


Message = Transcribe | Stop | DumpStacks | ModelFound | Loaded | LoadFailed | Transcribed | BatchFailed | Heartbeat


@dataclass(frozen=True, slots=True)
class _AnalysisHeader:
    """An analysis without its arrays, whose numbers follow the audio, in the order of the windows."""

    first_chunk: int
    peak: float
    n_chunks: int
    n_frames: int
    n_bands: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of speech, state and bands."""
        return self.n_chunks, N_STATE, self.n_frames * self.n_bands


@dataclass(frozen=True, slots=True)
class _PrecedingHeader:
    """A preceding utterance without its audio."""

    n_samples: int
    text: str
    speech_end_ms: int
    next_start_ms: int
    n_gap: int
    analysis: _AnalysisHeader | None


@dataclass(frozen=True, slots=True)
class _WindowHeader:
    """A window without its audio. The audio follows the header, in the order of the windows."""

    n_samples: int
    is_final: bool
    effort: Effort
    prefix: str
    context: str
    options: TranscriptionOptions
    preceding: _PrecedingHeader | None
    likely_language: str | None
    translation: TranslationTask | None
    analysis: _AnalysisHeader | None


@dataclass(frozen=True, slots=True)
class _TranscribeHeader:
    """A `Transcribe` without its audio."""

    batch: int
    deadline_s: float
    windows: tuple[_WindowHeader, ...]


@dataclass(frozen=True, slots=True)
class _TranscribedHeader:
    """A `Transcribed` whose hypotheses have neither analyses nor voices, and the headers of these."""

    batch: int
    hypotheses: tuple[Hypothesis | None, ...]
    compute_s: float
    fits: int | None
    analysis: tuple[_AnalysisHeader | None, ...]
    voices: tuple[tuple[VoiceHeader, ...], ...]


_HEADERS: dict[str, type[Any]] = {
    "Transcribe": _TranscribeHeader,
    "Transcribed": _TranscribedHeader,
    **{kind.__name__: kind for kind in (Stop, DumpStacks, ModelFound, Loaded, LoadFailed, BatchFailed, Heartbeat)},
}


def encode(message: Message) -> bytes:
    """Encode the message for `Connection.send_bytes`."""
    header: Any = message
    numbers: list[bytes] = []
    if isinstance(message, Transcribe):
        header = _TranscribeHeader(message.batch, message.deadline_s, tuple(map(_window_header, message.windows)))
        parts = [part for window in message.windows for part in (window.preceding, window) if part]
        numbers = [_to_int16(part.samples).tobytes() for part in parts] + _numbers(part.analysis for part in parts)
    elif isinstance(message, Transcribed):
        analysis = [None if hypothesis is None else hypothesis.analysis for hypothesis in message.hypotheses]
        voices = [() if hypothesis is None else hypothesis.voices for hypothesis in message.hypotheses]
        header = _TranscribedHeader(
            message.batch,
            tuple(hypothesis and replace(hypothesis, analysis=None, voices=()) for hypothesis in message.hypotheses),
            message.compute_s,
            message.fits,
            tuple(map(_analysis_header, analysis)),
            tuple(map(voice_headers, voices)),
        )
        numbers = _numbers(analysis) + [voice_numbers(each) for each in voices]
    fields = json.dumps({"kind": type(message).__name__, **to_plain(header)}).encode()
    return b"".join((_LENGTH.pack(len(fields)), fields, *numbers))


def decode(data: bytes) -> Message:
    """Decode a message that `encode` has encoded.

    Raises:
        GarbledMessage: the bytes are no message.
    """
    try:
        (n_header,) = _LENGTH.unpack_from(data)
        fields = json.loads(data[_LENGTH.size : _LENGTH.size + n_header])
        header = from_plain(_HEADERS[fields.pop("kind")], fields)
        numbers = data[_LENGTH.size + n_header :]
        if isinstance(header, _TranscribeHeader):
            windows = _windows(header.windows, numbers)
            return Transcribe(header.batch, header.deadline_s, windows)
        if isinstance(header, _TranscribedHeader):
            numbers, voices = read_voices(header.voices, numbers)
            analysis = _analyses(header.analysis, numbers)
            hypotheses = (
                h and replace(h, analysis=piece, voices=heard)
                for h, piece, heard in zip(header.hypotheses, analysis, voices, strict=True)
            )
            return Transcribed(header.batch, tuple(hypotheses), header.compute_s, header.fits)
        if numbers:
            raise ValueError("a message without numbers")
        message: Message = header
        return message
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise GarbledMessage(f"garbled message on the pipe ({type(error).__name__})") from None


def _to_int16(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    scaled = samples * np.float32(_INT16_SCALE)
    np.rint(scaled, out=scaled)
    # Clip, because a value of 1 or slightly above would wrap around and become an audible click.
    return scaled.clip(-32768, 32767, out=scaled).astype(np.int16)


def _numbers(analysis: Iterable[Analysis | None]) -> list[bytes]:
    return [
        np.ascontiguousarray(array, np.float32).tobytes()
        for piece in analysis
        if piece is not None
        for array in (piece.speech, piece.state, piece.bands)
    ]


def _analysis_header(analysis: Analysis | None) -> _AnalysisHeader | None:
    return (
        None
        if analysis is None
        else _AnalysisHeader(analysis.first_chunk, analysis.peak, len(analysis.speech), *analysis.bands.shape)
    )


def _window_header(window: Window) -> _WindowHeader:
    preceding: _PrecedingHeader | None = None
    if window.preceding:
        p = window.preceding
        analysis = _analysis_header(p.analysis)
        preceding = _PrecedingHeader(len(p.samples), p.text, p.speech_end_ms, p.next_start_ms, p.n_gap, analysis)
    return _WindowHeader(
        len(window.samples),
        window.is_final,
        window.effort,
        window.prefix,
        window.context,
        window.options,
        preceding,
        window.likely_language,
        window.translation,
        _analysis_header(window.analysis),
    )


def _windows(headers: tuple[_WindowHeader, ...], numbers: bytes) -> tuple[Window, ...]:
    parts = [part for header in headers for part in (header.preceding, header) if part]
    lengths = [part.n_samples for part in parts]
    n_audio_bytes = 2 * sum(lengths)
    if min(lengths, default=0) < 0 or n_audio_bytes > len(numbers):
        raise ValueError("audio and header disagree")
    samples = np.frombuffer(numbers[:n_audio_bytes], np.int16).astype(np.float32) / np.float32(_INT16_SCALE)
    audio = iter(np.split(samples, np.cumsum(lengths)[:-1]))
    analyses = iter(_analyses([part.analysis for part in parts], numbers[n_audio_bytes:]))
    return tuple(_window(header, audio, analyses) for header in headers)


def _window(
    header: _WindowHeader, audio: Iterator[npt.NDArray[np.float32]], analyses: Iterator[Analysis | None]
) -> Window:
    preceding: PrecedingUtterance | None = None
    if header.preceding:
        p = header.preceding
        if not 0 <= p.n_gap <= p.n_samples:
            raise ValueError("no such gap")
        preceding = PrecedingUtterance(next(audio), p.text, p.speech_end_ms, p.next_start_ms, p.n_gap, next(analyses))
    return Window(
        next(audio),
        header.options,
        header.is_final,
        header.prefix,
        header.context,
        header.effort,
        preceding,
        header.likely_language,
        header.translation,
        next(analyses),
    )


def _analyses(headers: Sequence[_AnalysisHeader | None], numbers: bytes) -> list[Analysis | None]:
    """Read the analysis for each header that is not None.

    Raises:
        ValueError: the numbers do not match the headers, or are not finite.
    """
    values = np.frombuffer(numbers, np.float32)
    sizes = [size for header in headers if header is not None for size in header.sizes]
    if min(sizes, default=0) < 0 or sum(sizes) != len(values) or not np.isfinite(values).all():
        raise ValueError("analyses and headers disagree")
    arrays = iter(np.split(values, np.cumsum(sizes)[:-1]))
    return [None if header is None else _analysis(header, arrays) for header in headers]


def _analysis(header: _AnalysisHeader, arrays: Iterator[npt.NDArray[np.float32]]) -> Analysis:
    if header.first_chunk < 0:
        raise ValueError("no such chunk")
    speech, state = next(arrays), next(arrays).reshape(2, -1)
    bands = next(arrays).reshape(header.n_frames, header.n_bands)
    return Analysis(speech, state, header.peak, bands, header.first_chunk)
