"""The scripted engine answers and breaks as its script demands."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from livecaption.engine.scripted import WORDS, ScriptedEngine, embedding
from livecaption.errors import EngineUnusable, TranscriptionFailed
from livecaption.recognition import TranscriptionOptions, TranslationTask, Window, Word


def window(ms: int = 1000, prompt: str = "", *, is_final: bool = True, words: bool = False) -> Window:
    options = TranscriptionOptions(prompt=prompt, words=words)
    return Window(np.zeros(ms * 16, np.float32), options, is_final=is_final)


def texts(*windows: Window, script: str = "") -> list[str]:
    return [hypothesis.text for hypothesis in ScriptedEngine(script).transcribe(windows)]


def test_it_answers_a_word_for_each_300_ms() -> None:
    assert texts(window(299), window(300), window(1000)) == ["", "One.", "One two three."]


def test_partials_of_a_growing_utterance_agree_and_have_no_full_stop() -> None:
    assert texts(window(600, is_final=False), window(900, is_final=False), window(900)) == [
        "One two",
        "One two three",
        "One two three.",
    ]


def test_the_longest_window_has_a_hundred_different_words() -> None:
    [text] = texts(window(30_000, is_final=False))
    assert text.lower().split() == list(WORDS)
    assert len(set(WORDS)) == 100


def test_words_have_their_times() -> None:
    [hypothesis] = ScriptedEngine().transcribe([window(600, words=True)])
    assert hypothesis.words == (Word("One", 0, 300, 0.9), Word("two.", 300, 600, 0.9))


@pytest.mark.parametrize(("script", "prompt"), [("voices ada bob", ""), ("voices eve", "script: voices ada bob")])
def test_people_speak_the_words_of_a_final_in_parts_of_equal_length(script: str, prompt: str) -> None:
    options = TranscriptionOptions(prompt=prompt, speakers=True)
    final = Window(np.zeros(1200 * 16, np.float32), options)
    engine = ScriptedEngine(script, speakers=True)
    [hypothesis, partial, not_wanted] = engine.transcribe(
        [final, replace(final, is_final=False), replace(final, options=replace(options, speakers=False))]
    )
    assert [(voice.start_ms, voice.end_ms) for voice in hypothesis.voices] == [(0, 600), (600, 1200)]
    for voice, person in zip(hypothesis.voices, ("ada", "bob"), strict=True):
        assert (voice.embedding == embedding(person)).all()
    assert len(hypothesis.words) == 4
    assert partial.voices == not_wanted.voices == ()
    assert engine.description.speakers
    assert not ScriptedEngine().description.speakers


def test_voices_of_people_are_unlike_each_other_and_of_length_1() -> None:
    voices = np.array([embedding(f"person {n}") for n in range(50)])
    assert np.abs(voices @ voices.T - np.eye(50)).max() < 0.35


def test_a_prompt_makes_it_answer_something_else() -> None:
    assert texts(window(prompt="script: say Hello there"), window(prompt="script: empty"), window(prompt="Hello")) == [
        "Hello there",
        "",
        "One two three.",
    ]


def test_a_command_for_finals_leaves_partials_alone() -> None:
    prompt = "script: final-only say Goodbye"
    assert texts(window(300, prompt, is_final=False), window(300, prompt)) == ["One", "Goodbye"]


def test_a_translation_is_the_text_behind_its_language_and_has_commands_of_its_own() -> None:
    def answers(prompt: str) -> list[str]:
        heard = window(300, prompt)
        return texts(heard, replace(heard, translation=TranslationTask("de", "One.")))

    assert answers("") == ["One.", "de: One."]
    assert answers("script: say Hello; final-only say Goodbye") == ["Goodbye", "de: One."]
    assert answers("script: translation-only say Eins") == ["One.", "Eins"]


def test_commands_of_a_prompt_follow_one_another(tmp_path: Path) -> None:
    started_s = time.monotonic()
    assert texts(window(prompt="script: delay 0.05; say Later"), script="delay 0.05, load 0.05") == ["Later"]
    assert time.monotonic() - started_s >= 0.15


def test_a_window_can_fail_its_batch_or_lose_the_device() -> None:
    with pytest.raises(TranscriptionFailed):
        texts(window(prompt="script: fail"))
    with pytest.raises(EngineUnusable):
        texts(window(prompt="script: unusable"))


def test_a_script_can_refuse_to_load() -> None:
    with pytest.raises(EngineUnusable, match="refuses"):
        ScriptedEngine("delay 0, refuse")


@pytest.mark.parametrize("script", ["refuse now", "load", "load soon", "cost much", "say hello", "crash", "tiny.en"])
def test_an_unknown_command_for_the_process_refuses_to_load(script: str) -> None:
    with pytest.raises(EngineUnusable):
        ScriptedEngine(script)


def test_it_reports_what_its_batches_cost_and_takes_that_time() -> None:
    engine = ScriptedEngine("delay 0.05, cost 0.01")
    assert engine.costs.finals == engine.costs.partials
    assert [each.n_windows for each in engine.costs.finals] == [1, 64]
    assert [each.compute_s for each in engine.costs.finals] == pytest.approx([0.06, 0.69], rel=0.05)
    began_s = time.monotonic()
    engine.transcribe([window()] * 5)
    assert time.monotonic() - began_s >= 0.1


@pytest.mark.parametrize("command", ["sing", "delay soon", "final-only sing", "Say hello"])
def test_an_unknown_command_for_a_window_fails_its_batch(command: str) -> None:
    with pytest.raises(TranscriptionFailed):
        texts(window(prompt=f"script: {command}"))


CHILD = """
import sys, threading
import numpy as np
from livecaption.engine.scripted import ScriptedEngine
from livecaption.recognition import TranscriptionOptions, Window

def write(line):
    sys.stdout.write(line + "\\n")  # whole, where print() writes the end of the line by itself
    sys.stdout.flush()

def tick():
    while True:
        write("tick")
        threading.Event().wait(0.01)

engine = ScriptedEngine()
threading.Thread(target=tick, daemon=True).start()
window = Window(np.zeros(4800, np.float32), TranscriptionOptions(prompt="script: " + sys.argv[1]))
write("asked")
write(engine.transcribe([window])[0].text)
"""


def run_child(command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", CHILD, command], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("command", "status"), [("crash", -9), ("segfault", -11), ("empty", 0)])
def test_a_crash_ends_the_process(command: str, status: int) -> None:
    with run_child(command) as child:
        child.communicate()
    assert child.returncode == status


def test_a_crash_that_happens_once_does_not_happen_again(tmp_path: Path) -> None:
    command = f"crash-once {tmp_path / 'crashed'}; say Survived"
    with run_child(command) as first:
        first.communicate()
    with run_child(command) as second:
        output, _ = second.communicate()
    assert (first.returncode, second.returncode) == (-9, 0)
    assert "Survived" in output


def test_a_hang_lets_other_threads_run() -> None:
    with run_child("hang") as child:
        assert child.stdout is not None
        lines = iter(child.stdout)
        try:
            while next(lines) != "asked\n":
                pass
            ticks = [next(lines) for _ in range(50)]
        finally:
            child.kill()
    assert ticks == ["tick\n"] * 50


def test_a_hang_with_the_gil_stops_other_threads() -> None:
    with run_child("hang-gil") as child:
        with pytest.raises(subprocess.TimeoutExpired):
            child.communicate(timeout=1.5)
        child.kill()
        output, _ = child.communicate()
    # Ten times as many come in that time from a process that runs.
    assert "asked" in output
    assert output.partition("asked")[2].count("tick") < 15


def test_it_is_loaded_without_heavy_packages() -> None:
    """A worker of it starts in a tenth of the time of a real one."""
    code = "import sys, livecaption.engine.scripted; print(*sys.modules)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"ctranslate2", "faster_whisper", "torch", "huggingface_hub", "av"} & set(child.stdout.split())
