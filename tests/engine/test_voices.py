"""Finals are cut where the voice changes, and the network runs beside the decoder."""

import gc
import logging
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest

from livecaption.engine.speech_detection import Speech
from livecaption.engine.voice_model import Span
from livecaption.engine.voices import VoiceFinder, parts, voices, voices_of
from livecaption.errors import EngineUnusable
from livecaption.ipc.config import EngineConfig
from livecaption.recognition import TranscriptionOptions, Window, Word
from tests.support.cases import for_each

SAME = 0.55


class AnalyzedSpeech:
    """Speech of these people, a letter for each 100 ms. The voice of a stretch is the mean of those in it."""

    def __init__(self, people: str) -> None:
        self.letters = sorted(set(people)) or ["a"]
        self.people = people

    def voices(self, spans: Sequence[Span]) -> npt.NDArray[np.float32]:
        rows = []
        for begin, end in spans:
            said = self.people[begin // 100 : end // 100]
            rows.append(np.array([said.count(letter) for letter in self.letters], np.float32))
        made: npt.NDArray[np.float32] = np.array(rows)
        with np.errstate(invalid="ignore"):
            return made / np.linalg.norm(made, axis=1, keepdims=True)


def words(*ends_ms: int) -> tuple[Word, ...]:
    return tuple(Word("word", begin, end, 0.9) for begin, end in zip((0, *ends_ms), ends_ms, strict=False))


EACH_HALF_SECOND = tuple(range(500, 30_000, 500))


@for_each(
    ("people", "expected"),
    [
        ("a" * 60, [(0, 6000)]),
        ("a" * 30 + "b" * 30, [(0, 3000), (3000, 6000)]),
        ("a" * 20 + "b" * 30 + "a" * 20, [(0, 2000), (2000, 5000), (5000, 7000)]),
        ("a" * 30 + "b" * 5 + "a" * 30, [(0, 6500)]),  # too short to be cut out
        ("a" * 100 + "b" * 100 + "c" * 100, [(0, 10_000), (10_000, 20_000), (20_000, 30_000)]),
    ],
)
def test_speech_is_cut_where_the_voice_changes(people: str, expected: list[Span]) -> None:
    assert parts(AnalyzedSpeech(people), SAME, EACH_HALF_SECOND, (0, 100 * len(people))) == expected


def test_speech_is_cut_between_words_only() -> None:
    people = AnalyzedSpeech("a" * 30 + "b" * 30)
    assert parts(people, SAME, [2800, 3400], (0, 6000)) == [(0, 2800), (2800, 6000)]
    assert parts(people, SAME, [], (0, 6000)) == [(0, 6000)]


def test_voices_are_counted_from_the_beginning_of_the_window() -> None:
    """The speech begins at 200 ms, and the words are timed from the window's beginning."""
    found = voices(AnalyzedSpeech("a" * 30 + "b" * 30), SAME, 200, 6200, words(1500, 3200, 4700, 6200))
    assert [(voice.start_ms, voice.end_ms) for voice in found] == [(200, 3200), (3200, 6200)]
    assert [voice.embedding.tolist() for voice in found] == [[1, 0], [0, 1]]


def test_a_gap_between_words_is_cut_in_its_middle() -> None:
    said = (Word("one", 0, 2900, 0.9), Word("two", 3300, 6000, 0.9))
    found = voices(AnalyzedSpeech("a" * 31 + "b" * 29), SAME, 0, 6000, said)
    assert [(voice.start_ms, voice.end_ms) for voice in found] == [(0, 3100), (3100, 6000)]


def test_a_stretch_without_a_voice_is_left_out() -> None:
    assert voices(AnalyzedSpeech("a" * 30), SAME, 0, 3000, words(3000))
    assert voices(AnalyzedSpeech(""), SAME, 0, 3000, words(3000)) == ()
    assert voices(AnalyzedSpeech("a" * 30), SAME, 700, 700, words(3000)) == ()


# The thread


@dataclass
class Network:
    """Analyzes one person. `may_analyze` holds it up."""

    same: float = SAME
    may_analyze: threading.Event = field(default_factory=threading.Event)
    analyzed: list[int] = field(default_factory=list)
    failure: str = ""

    def analyze(self, samples: npt.NDArray[np.float32]) -> AnalyzedSpeech:
        assert self.may_analyze.wait(30)
        self.analyzed.append(len(samples))
        if self.failure:
            raise RuntimeError(self.failure)
        return AnalyzedSpeech("a" * (len(samples) // 1600))


ASKING = TranscriptionOptions("en", speakers=True)
SECONDS = np.zeros(3 * 16_000, np.float32)
SPEECH = Speech(2000, 2500, 0.9, start_ms=500)


def test_the_network_gets_the_speech_alone_and_only_of_finals_that_ask() -> None:
    network = Network()
    finder = VoiceFinder(lambda: network)
    windows = [Window(SECONDS), Window(SECONDS, ASKING, is_final=False), Window(SECONDS, ASKING), Window(SECONDS)]
    begun = finder.begin(windows, [SPEECH] * 4)
    assert list(begun) == [2]
    network.may_analyze.set()  # `begin` has returned before
    found = finder.find(begun, {0: words(2500), 2: words(2500)})
    assert [[(voice.start_ms, voice.end_ms) for voice in each] for each in found.values()] == [[(500, 2500)]]
    assert network.analyzed == [2 * 16_000]


def test_a_final_without_words_has_no_voices() -> None:
    network = Network()
    network.may_analyze.set()
    finder = VoiceFinder(lambda: network)
    assert finder.find(finder.begin([Window(SECONDS, ASKING)], [SPEECH]), {}) == {}


def test_the_network_is_loaded_once_when_the_first_window_asks() -> None:
    network = Network()
    network.may_analyze.set()
    loads = []
    loaded = threading.Event()

    def load() -> Network:
        loads.append(threading.current_thread().name)
        loaded.set()
        return network

    finder = VoiceFinder(load)
    finder.begin([Window(SECONDS)], [SPEECH])
    assert loads == []
    finder.begin([Window(SECONDS, ASKING, is_final=False)], [SPEECH])
    assert loaded.wait(30)
    for _ in range(2):
        assert finder.find(finder.begin([Window(SECONDS, ASKING)], [SPEECH]), {0: words(2500)})[0]
    assert loads == ["voices_0"]


@for_each("fails_to", ["load", "analyze"])
def test_if_the_network_fails_finals_go_without_voices_and_it_is_logged_once(
    caplog: pytest.LogCaptureFixture, fails_to: str
) -> None:
    caplog.clear()
    network = Network(failure="no memory" if fails_to == "analyze" else "")
    network.may_analyze.set()

    def load() -> Network:
        if fails_to == "load":
            raise EngineUnusable("the file is gone")
        return network

    finder = VoiceFinder(load)
    audio = []
    for _ in range(3):
        samples = np.zeros(3 * 16_000, np.float32)
        audio.append(weakref.ref(samples))
        assert finder.find(finder.begin([Window(samples, ASKING)], [SPEECH]), {0: words(2500)}) == {0: ()}
    assert [(r.levelno, r.message) for r in caplog.records] == [(logging.ERROR, "finals go without voices")]
    gc.collect()
    assert audio[1]() is None, "the log of this test has the first one, and the last one is `samples`"


def test_nothing_finds_voices_unless_the_settings_allow_it() -> None:
    assert voices_of(EngineConfig()) is None
    with pytest.raises(EngineUnusable, match=r"^--speaker-model: there is no file /nowhere/voices\.onnx$"):
        voices_of(EngineConfig(speakers=True, speaker_model="/nowhere/voices.onnx"))
