"""One transcription asked of a worker."""

from dataclasses import dataclass, field
from typing import Literal, NewType

import numpy as np
import numpy.typing as npt

RequestId = NewType("RequestId", int)
SessionId = NewType("SessionId", str)

Task = Literal["transcribe", "translate"]
TASKS: tuple[Task, ...] = ("transcribe", "translate")

MAX_WINDOW_MS = 30_000
"""Whisper's encoder hears 30 s at a time (Radford et al. 2022, section 2.2)."""


@dataclass(frozen=True, slots=True)
class TranscriptionOptions:
    """How a window is to be transcribed.

    Attributes:
        language: ISO 639-1 code; None: detect.
        task: `transcribe` (same language) or `translate` (to English).
        words: whether times and confidences of the words of finals are wanted.
        prompt: text the speaker is likely to continue, or said before; empty: none.
        hotwords: names and terms to listen for.
    """

    language: str | None = None
    task: Task = "transcribe"
    words: bool = False
    prompt: str = ""
    hotwords: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Before:
    """The utterance before a window: as its words are known, what follows is heard in their light.

    Attributes:
        samples: float32 [n_samples], like those of the window, which follow at once.
        text: what is said in it.
        speech_end_ms: where that ends, from its first sample on.
        next_start_ms: where the speech of the window begins, the same way.
    """

    samples: npt.NDArray[np.float32]
    text: str
    speech_end_ms: int
    next_start_ms: int


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Audio for an engine, and how to hear it.

    Attributes:
        samples: float32 [n_samples], mono, 16 kHz, -1..1, at most 30 s with those before; not modified, may be kept.
        is_final: a final is worth a second try where a partial is not.
        prefix: what its text begins with, as readers have been promised; empty: nothing yet.
        context: what was said before it, for where `before` is not or is not used; empty: nothing that helps.
        thorough: whether there is time to do it as well as can be.
        before: the utterance before it, if that helps.
    """

    samples: npt.NDArray[np.float32]
    options: TranscriptionOptions = field(default_factory=TranscriptionOptions)
    is_final: bool = True
    prefix: str = ""
    context: str = ""
    thorough: bool = True
    before: Before | None = None

    @property
    def n_heard(self) -> int:
        """Samples that the engine hears."""
        return len(self.samples) + (len(self.before.samples) if self.before else 0)


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """A window of one utterance of one session, on its way to a worker.

    Attributes:
        id: unique in this server process.
        utterance: number of the utterance in its session, from 0.
        asked_s: monotonic time of asking; finals are served in this order.
        window_start: stream time of the window's first sample.
    """

    id: RequestId
    session: SessionId
    utterance: int
    asked_s: float
    window: Window
    window_start: int = 0

    @property
    def is_final(self) -> bool:
        return self.window.is_final


@dataclass(frozen=True, slots=True)
class Cancel:
    """All requests of one utterance are void: nobody wants their answers."""

    session: SessionId
    utterance: int
