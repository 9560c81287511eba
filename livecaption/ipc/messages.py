"""The server and an inference process exchange these messages; this module turns them into bytes and back.

One message is one `send_bytes` on the pipe. It begins with the length of the header (4 bytes, big endian) and the
header as JSON. The audio of all windows follows as int16, one after the other. The format is JSON and raw PCM instead
of pickle, because unpickling executes code. A broken or hostile worker can only send invalid bytes, which `decode`
refuses.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from livecaption.errors import LivecaptionError
from livecaption.recognition import (
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
    """Server -> worker: finish and answer the current batch, then end."""


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
    """

    description: ModelDescription
    costs: EngineCosts
    n_streams: int = 1


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """Worker -> server: the model cannot be loaded, and the worker ends. The message is for the operator.

    With `retry`, memory was short: a later start may succeed.
    """

    message: str
    retry: bool = False


@dataclass(frozen=True, slots=True)
class Transcribed:
    """Worker -> server: one hypothesis for each window of the batch, in order.

    It is None for a window that failed alone. If memory was short for all together, `fits` is the number of windows
    that it was enough for.
    """

    batch: int
    hypotheses: tuple[Hypothesis | None, ...]
    compute_s: float
    fits: int | None = None


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
class _PrecedingHeader:
    """A preceding utterance without its audio."""

    n_samples: int
    text: str
    speech_end_ms: int
    next_start_ms: int


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
    translation: TranslationTask | None


@dataclass(frozen=True, slots=True)
class _TranscribeHeader:
    """A `Transcribe` without its audio."""

    batch: int
    deadline_s: float
    windows: tuple[_WindowHeader, ...]


_HEADERS: dict[str, type[Any]] = {
    "Transcribe": _TranscribeHeader,
    **{
        kind.__name__: kind
        for kind in (Stop, DumpStacks, ModelFound, Loaded, LoadFailed, Transcribed, BatchFailed, Heartbeat)
    },
}


def encode(message: Message) -> bytes:
    """Encode the message for `Connection.send_bytes`."""
    header: Any = message
    audio = b""
    if isinstance(message, Transcribe):
        header = _TranscribeHeader(message.batch, message.deadline_s, tuple(map(_window_header, message.windows)))
        audio = b"".join(
            _to_int16(part.samples).tobytes()
            for window in message.windows
            for part in (window.preceding, window)
            if part
        )
    fields = json.dumps({"kind": type(message).__name__, **to_plain(header)}).encode()
    return _LENGTH.pack(len(fields)) + fields + audio


def decode(data: bytes) -> Message:
    """Decode a message that `encode` has encoded.

    Raises:
        GarbledMessage: the bytes are no message.
    """
    try:
        (n_header,) = _LENGTH.unpack_from(data)
        fields = json.loads(data[_LENGTH.size : _LENGTH.size + n_header])
        header = from_plain(_HEADERS[fields.pop("kind")], fields)
        if isinstance(header, _TranscribeHeader):
            windows = _windows(header.windows, data[_LENGTH.size + n_header :])
            return Transcribe(header.batch, header.deadline_s, windows)
        message: Message = header
        return message
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise GarbledMessage(f"garbled message on the pipe ({type(error).__name__})") from None


def _to_int16(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    # Clip, because a value of 1 or slightly above would wrap around and become an audible click.
    return np.clip(np.round(samples * _INT16_SCALE), -32768, 32767).astype(np.int16)


def _window_header(window: Window) -> _WindowHeader:
    preceding: _PrecedingHeader | None = None
    if window.preceding:
        p = window.preceding
        preceding = _PrecedingHeader(len(p.samples), p.text, p.speech_end_ms, p.next_start_ms)
    return _WindowHeader(
        len(window.samples),
        window.is_final,
        window.effort,
        window.prefix,
        window.context,
        window.options,
        preceding,
        window.translation,
    )


def _windows(headers: tuple[_WindowHeader, ...], audio: bytes) -> tuple[Window, ...]:
    samples = np.frombuffer(audio, dtype=np.int16)
    lengths = [part.n_samples for header in headers for part in (header.preceding, header) if part]
    if min(lengths, default=0) < 0 or sum(lengths) != len(samples):
        raise ValueError("audio and header disagree")
    parts = iter(np.split(samples.astype(np.float32) / np.float32(_INT16_SCALE), np.cumsum(lengths)[:-1]))
    return tuple(_window(header, parts) for header in headers)


def _window(header: _WindowHeader, parts: Iterator[npt.NDArray[np.float32]]) -> Window:
    preceding: PrecedingUtterance | None = None
    if header.preceding:
        p = header.preceding
        preceding = PrecedingUtterance(next(parts), p.text, p.speech_end_ms, p.next_start_ms)
    return Window(
        next(parts),
        header.options,
        header.is_final,
        header.prefix,
        header.context,
        header.effort,
        preceding,
        translation=header.translation,
    )
