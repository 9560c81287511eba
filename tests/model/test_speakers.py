"""Voices of finals by Whisper and the real network: each person has one, and captions stay as they are."""

from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from aiohttp import ClientSession

from livecaption.config import Config
from livecaption.engine.models import find_model
from livecaption.engine.voice_model import load_voice_model
from livecaption.engine.voices import VoiceFinder
from livecaption.engine.whisper import WhisperEngine, load_engine
from livecaption.ipc.config import EngineConfig
from livecaption.ipc.messages import Transcribed, decode, encode
from livecaption.recognition import Hypothesis, PrecedingUtterance, TranscriptionOptions, Window
from livecaption.server.lifecycle import running_server
from tests.support.serving import read_event
from tests.support.speaker_model import installed_network
from tests.support.speech import pcm_s16le

pytestmark = pytest.mark.model

Samples = dict[str, npt.NDArray[np.float32]]
ASKING = TranscriptionOptions("en", speakers=True)
HE, SHE = "ps-austen-0880", "ls-1995-1837-0001"


@pytest.fixture(scope="module")
def hearing() -> WhisperEngine:
    """Return an engine that finds voices."""
    return load_engine(
        find_model(), "cpu", threads=1, voices=VoiceFinder(partial(load_voice_model, installed_network()))
    )


@pytest.fixture(scope="module")
def conversation(samples: Samples) -> npt.NDArray[np.float32]:
    """Return two people without a pause between them, who change at 4 s."""
    return np.concatenate([samples["jfk"][: 4 * 16_000], samples["ls-61-70968-0000"][: 4 * 16_000]])


def one(engine: WhisperEngine, window: Window) -> Hypothesis:
    [hypothesis] = engine.transcribe([window])
    assert hypothesis is not None
    return hypothesis


def test_a_final_is_cut_where_the_speaker_changes(
    hearing: WhisperEngine, conversation: npt.NDArray[np.float32]
) -> None:
    first, second = one(hearing, Window(conversation, ASKING)).voices
    assert first.end_ms == second.start_ms == pytest.approx(4000, abs=400)
    assert first.embedding @ second.embedding < 0.3


def test_one_person_has_one_voice_which_is_that_of_another_utterance(hearing: WhisperEngine, samples: Samples) -> None:
    halves = [samples["jfk"][: 5 * 16_000], samples["jfk"][5 * 16_000 :]]
    voices = [one(hearing, Window(half, ASKING)).voices for half in halves]
    assert [len(each) for each in voices] == [1, 1]
    assert voices[0][0].embedding @ voices[1][0].embedding > 0.6


def test_neither_silence_nor_the_utterance_before_counts(hearing: WhisperEngine, samples: Samples) -> None:
    utterance = samples["ls-61-70968-0000"]
    [alone] = one(hearing, Window(utterance, ASKING)).voices
    noise = np.random.default_rng(0).normal(0, 1e-3, 16_000).astype(np.float32)
    [padded] = one(hearing, Window(np.concatenate([noise, utterance, noise]), ASKING)).voices
    before = PrecedingUtterance(samples["jfk"][: 3 * 16_000], "And so my fellow Americans", 2_400, 3_300)
    [after] = one(hearing, Window(utterance, ASKING, preceding=before)).voices
    assert padded.start_ms == pytest.approx(1000 + alone.start_ms, abs=400)  # the first sound is soft
    assert padded.embedding @ alone.embedding > 0.95
    np.testing.assert_array_equal(after.embedding, alone.embedding)


def test_words_come_with_voices_and_neither_with_partials_nor_unasked(hearing: WhisperEngine, samples: Samples) -> None:
    utterance = samples[HE]
    asked, partial_, unasked = hearing.transcribe(
        [Window(utterance, ASKING), Window(utterance, ASKING, is_final=False), Window(utterance)]
    )
    assert [bool(hypothesis.words) for hypothesis in (asked, partial_, unasked)] == [True, False, False]
    assert [bool(hypothesis.voices) for hypothesis in (asked, partial_, unasked)] == [True, False, False]
    assert asked.text == unasked.text


def test_the_voices_of_a_batch_are_those_of_its_windows_alone(hearing: WhisperEngine, samples: Samples) -> None:
    windows = [Window(samples[clip], ASKING) for clip in (HE, SHE)] + [Window(np.zeros(16_000, np.float32), ASKING)]
    together = [hypothesis.voices for hypothesis in hearing.transcribe(windows)]
    alone = [one(hearing, window).voices for window in windows]
    assert [len(voices) for voices in together] == [1, 1, 0]
    for voices, expected in zip(together, alone, strict=True):
        for voice, other in zip(voices, expected, strict=True):
            assert (voice.start_ms, voice.end_ms) == (other.start_ms, other.end_ms)
            np.testing.assert_array_equal(voice.embedding, other.embedding)


def test_voices_cross_the_pipe(hearing: WhisperEngine, conversation: npt.NDArray[np.float32]) -> None:
    sent = one(hearing, Window(conversation, ASKING))
    message = decode(encode(Transcribed(1, (sent,), 0.1)))
    assert isinstance(message, Transcribed)
    for come, voice in zip(message.hypotheses[0].voices, sent.voices, strict=True):
        np.testing.assert_array_equal(come.embedding, voice.embedding)


def test_an_engine_without_a_network_gives_finals_without_voices(engine: WhisperEngine, samples: Samples) -> None:
    assert not engine.description.speakers
    hypothesis = one(engine, Window(samples[HE], ASKING))
    assert hypothesis.text
    assert hypothesis.voices == ()


def test_a_network_that_has_gone_costs_the_voices_and_not_the_captions(tmp_path: Path, samples: Samples) -> None:
    voices = VoiceFinder(partial(load_voice_model, tmp_path / "gone.onnx"))
    hearing = load_engine(find_model(), "cpu", threads=1, voices=voices)
    assert hearing.description.speakers
    for _ in range(2):
        hypothesis = one(hearing, Window(samples[HE], ASKING))
        assert hypothesis.text
        assert hypothesis.voices == ()


async def test_a_stream_that_asks_gets_turns_and_a_person_who_comes_back_has_the_same_number(samples: Samples) -> None:
    pause = np.zeros(16_000, np.float32)
    first, second = samples["jfk"], samples["ls-61-70968-0000"]
    audio = np.concatenate([first[: 5 * 16_000], pause, second, pause, first[5 * 16_000 :], pause])
    engine = EngineConfig(speakers=True, speaker_model=str(installed_network()))
    async with (
        running_server(Config(engine=engine)) as url,
        ClientSession() as session,
        session.ws_connect(f"{url}v1/stream") as socket,
    ):
        await socket.send_json({"type": "start", "partials": False, "speakers": True})
        await socket.send_bytes(pcm_s16le(audio))
        await socket.send_json({"type": "flush"})
        finals = []
        while (event := await read_event(socket))["type"] != "flushed":
            finals += [event] if event["type"] == "final" and event["text"] else []
    speakers = [[turn["speaker"] for turn in final["turns"]] for final in finals]
    assert [number for number, _ in groupby(number for turns in speakers for number in turns)] == [1, 2, 1]
    assert ["".join(turn["text"] for turn in final["turns"]) for final in finals] == [f["text"] for f in finals]
