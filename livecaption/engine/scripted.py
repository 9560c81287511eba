"""Make up hypotheses for windows, for tests and for a look at the server without a model (`--engine scripted`).

The text has a word for each 300 ms of a window. The words are always the same, so that partials of a growing utterance
agree. On command the engine fails in every way that a real one can. It is deterministic and needs only numpy. It runs
in the inference process, blocks, and for some commands never returns.

Commands for the process, separated by commas, come with the model's name:

    load SECONDS    loading takes time
    hang-load       loading never ends
    refuse          loading fails for good (EngineUnusable)
    no-memory PATH  loading fails for lack of memory (OutOfMemory) until PATH is empty; it loses a byte each time
    memory N        memory is short for a batch of more than N windows
    touch PATH      create PATH, to show that loading has begun
    delay SECONDS   every batch takes time
    cost SECONDS    every window in a batch takes time, too
    streams N       N batches are computed at the same time
    voices A B ...  these people speak in each final, unless the window has such a command of its own

Commands for one window, separated by semicolons, come in a prompt that begins with `script:`

    say TEXT          answer with this text
    voices A B ...    these people say the words of a final, in parts of equal length; nobody: no voice is clear
    empty             answer that there is no speech
    nan               this window fails alone, as if a GPU had computed NaN
    runaway           answer as if the first text repeated itself: a final is redone, a partial suspicious
    delay SECONDS     take time
    fail              the batch fails (TranscriptionFailed)
    unusable          the device is lost (EngineUnusable)
    crash             the process is killed by SIGKILL
    crash-once PATH   the same, unless PATH exists; it is created first
    segfault          the process is killed by SIGSEGV
    hang              never answer; other threads run
    hang-gil          never answer; no other thread of Python runs
    rubbish           send bytes over the pipe that are not a message
    touch PATH        create PATH, to show that the window is being computed
    final-only ...    execute the rest of the command for finals only
    translation-only ...    execute the rest of the command for translations only; they heed no other commands

Like a real engine it reports what its batches cost: the times in its script, and a moment for its own work.

A translation is the text behind its language, such as `de: One two three.`
"""

import ctypes
import math
import os
import signal
import stat
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from livecaption.engine.engine import Compute, Engine, Finish
from livecaption.errors import EngineError, EngineUnusable, OutOfMemory, TranscriptionFailed
from livecaption.recognition import BatchTime, EngineCosts, Hypothesis, ModelDescription, Voice, Window, Word

SAMPLES_PER_MS = 16
WORD_MS = 300
PROMPT_PREFIX = "script:"

VOICE_NUMBERS = 192
"""Numbers of a voice, as many as a real model gives."""

MAX_BATCH = 64
OWN_S = 0.0002
"""Time in s that the engine itself takes for a window."""

VOCABULARY = """
    one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november
    oscar papa quebec romeo sierra tango uniform victor whiskey yankee zulu red orange yellow green blue indigo violet
    black white silver gold north east south west spring summer autumn winter apple banana cherry grape lemon melon
    peach plum cat dog horse sheep tiger lion eagle falcon river mountain valley forest desert island ocean thunder
    piano guitar violin trumpet drum flute copper iron bronze steel cobalt nickel
"""
WORDS = tuple(VOCABULARY.split())
"""A word for each 300 ms of 30 s. All are different, so that a lost or repeated word is noticed."""


class ScriptedEngine(Engine):
    """An `Engine` whose second stage does all.

    Args:
        script: commands for the process; see the module.
        tracks: languages into which it translates.
        speakers: whether its hypotheses have voices.

    Raises:
        EngineUnusable: the script requests it, or is malformed.
        OutOfMemory: the script requests that memory is short.
    """

    def __init__(self, script: str = "", tracks: tuple[str, ...] = (), *, speakers: bool = False) -> None:
        self.description = ModelDescription(
            model="scripted",
            device="cpu",
            compute_type="none",
            languages=("en", "de", "es", "fr", "it", "ja", "ko", "pt", "zh"),
            translates=True,
            tracks=tracks,
            speakers=speakers,
        )
        self._people: tuple[str, ...] = ()
        self._batch_delay_s = 0.0
        self._window_delay_s = 0.0
        self._max_windows = math.inf
        for command in _split(script, ","):
            match command.split():
                case ["load", seconds]:
                    time.sleep(_seconds(seconds, EngineUnusable))
                case ["hang-load"]:
                    _hang("")
                case ["refuse"]:
                    raise EngineUnusable("The script refuses to load")
                case ["no-memory", path]:
                    _lack_memory(Path(path))
                case ["memory", n_windows]:
                    self._max_windows = int(n_windows)
                case ["touch", path]:
                    _touch(path)
                case ["delay", seconds]:
                    self._batch_delay_s = _seconds(seconds, EngineUnusable)
                case ["cost", seconds]:
                    self._window_delay_s = _seconds(seconds, EngineUnusable)
                case ["streams", n]:
                    self.n_streams = round(_seconds(n, EngineUnusable))
                case ["voices", *people]:
                    self._people = tuple(people)
                case _:
                    raise EngineUnusable(f"Unknown command for the scripted engine: {command!r}")
        each_s = self._window_delay_s + OWN_S
        times = tuple(BatchTime(n, self._batch_delay_s + n * each_s) for n in (1, MAX_BATCH))
        self.costs = EngineCosts(times, times, MAX_BATCH)

    def prepare(self, windows: Sequence[Window]) -> Compute:
        """See `Engine`."""

        def compute() -> Finish:
            if len(windows) > self._max_windows:
                raise OutOfMemory("The script has no memory for this batch")
            time.sleep(self._batch_delay_s + self._window_delay_s * len(windows))
            hypotheses = [_answer(window, self._people) for window in windows]
            return lambda: hypotheses

        return compute

    def device_memory(self) -> None:
        """Return None, as for a CPU."""


def _answer(window: Window, people: Sequence[str]) -> Hypothesis | None:
    task = window.translation
    hypothesis = _hypothesis(
        window, _default_words(window) if task is None else f"{task.language}: {task.text}".split()
    )
    prompt = window.options.prompt
    if not prompt.startswith(PROMPT_PREFIX):
        return replace(hypothesis, voices=_voices(window, hypothesis, people))
    for command in _split(prompt.removeprefix(PROMPT_PREFIX), ";"):
        name, _, argument = command.partition(" ")
        if (name == "translation-only") != (task is not None) or (name == "final-only" and not window.is_final):
            continue
        if name in ("translation-only", "final-only"):
            name, _, argument = argument.strip().partition(" ")
        if name == "say":
            hypothesis = _hypothesis(window, argument.split())
        elif name == "empty":
            hypothesis = replace(_hypothesis(window, []), confidence=0.0, no_speech_probability=1.0)
        elif name == "voices":
            people = argument.split()
        elif name == "nan":
            return None
        elif name == "runaway":
            final = window.is_final
            hypothesis = replace(hypothesis, runaway=True, redone=final, suspicious=not final)
        elif name in COMMANDS:
            COMMANDS[name](argument.strip())
        else:
            raise TranscriptionFailed(f"Unknown command for the scripted engine: {name!r}")
    return replace(hypothesis, voices=_voices(window, hypothesis, people))


def _default_words(window: Window) -> list[str]:
    words = list(WORDS[: len(window.samples) // SAMPLES_PER_MS // WORD_MS])
    if words:
        words[0] = words[0].capitalize()
        words[-1] += "." if window.is_final else ""
    return words


def _hypothesis(window: Window, texts: Sequence[str]) -> Hypothesis:
    """Spread words evenly over the window, from its start, with at most 300 ms for each."""
    word_ms = min(WORD_MS, len(window.samples) // SAMPLES_PER_MS // max(1, len(texts)))
    words = tuple(Word(text, i * word_ms, (i + 1) * word_ms, confidence=0.9) for i, text in enumerate(texts))
    return Hypothesis(
        text=" ".join(texts),
        language=window.options.language or "en",
        confidence=0.9,
        no_speech_probability=0.0,
        words=words if (window.options.words or window.options.speakers) and window.is_final else (),
    )


def _voices(window: Window, hypothesis: Hypothesis, people: Sequence[str]) -> tuple[Voice, ...]:
    """Let these people say the words of a final in this order. Without people, no voice is clear."""
    if not (window.options.speakers and window.is_final and people):
        return ()
    n_words = len(hypothesis.words)
    edges = [n_words * n // len(people) for n in range(len(people) + 1)]
    return tuple(
        Voice(hypothesis.words[begin].start_ms, hypothesis.words[end - 1].end_ms, embedding(person))
        for person, (begin, end) in zip(people, pairwise(edges), strict=True)
        if begin < end
    )


def embedding(person: str) -> npt.NDArray[np.float32]:
    """Return the voice of a person, float32 [VOICE_NUMBERS]. It is the same each time, and unlike all others."""
    numbers = np.random.default_rng(zlib.crc32(person.encode())).standard_normal(VOICE_NUMBERS)
    return (numbers / np.linalg.norm(numbers)).astype(np.float32)


def _split(script: str, separator: str) -> list[str]:
    return [command.strip() for command in script.split(separator) if command.strip()]


def _seconds(text: str, error: type[EngineError]) -> float:
    try:
        return float(text)
    except ValueError:
        raise error(f"Not a number of seconds: {text!r}") from None


# Ways to break


def _lack_memory(path: Path) -> None:
    if left := path.read_bytes():
        path.write_bytes(left[1:])
        raise OutOfMemory("No memory for the scripted engine")


def _delay(seconds: str) -> None:
    time.sleep(_seconds(seconds, TranscriptionFailed))


def _fail(_: str) -> NoReturn:
    raise TranscriptionFailed("The script makes this batch fail")


def _lose_device(_: str) -> NoReturn:
    raise EngineUnusable("The script loses the device")


def _crash(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _crash_once(path: str) -> None:
    if not Path(path).exists():
        Path(path).touch()
        _crash(path)


def _segfault(_: str) -> None:
    ctypes.string_at(0)


def _hang(_: str) -> None:
    threading.Event().wait()


def _hang_with_gil(_: str) -> None:
    libc = ctypes.PyDLL(None)  # unlike CDLL it keeps the GIL during a call
    while True:
        libc.sleep(1_000_000)


def _send_rubbish(_: str) -> None:
    # The pipe is the only socket of this process.
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                os.write(int(name), b"\0\0\0\7rubbish")


def _touch(path: str) -> None:
    Path(path).touch()


COMMANDS: dict[str, Callable[[str], None]] = {
    "delay": _delay,
    "fail": _fail,
    "unusable": _lose_device,
    "crash": _crash,
    "crash-once": _crash_once,
    "segfault": _segfault,
    "hang": _hang,
    "hang-gil": _hang_with_gil,
    "rubbish": _send_rubbish,
    "touch": _touch,
}
