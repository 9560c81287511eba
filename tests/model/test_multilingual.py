"""Whisper base, which supports many languages; where its packages are installed."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from livecaption.audio import ms_of, samples_of
from livecaption.engine.models import find_model
from livecaption.engine.translators import with_tracks
from livecaption.engine.whisper import WhisperEngine, load_engine
from livecaption.errors import TranscriptionFailed
from livecaption.evaluation.clips import Clip
from livecaption.evaluation.latency import plain_words
from livecaption.evaluation.playlist import Recording
from livecaption.evaluation.virtual_time import stream
from livecaption.events import Final, Translation
from livecaption.ipc.config import EngineConfig
from livecaption.pipeline.options import StreamOptions
from livecaption.recognition import Hypothesis, TranscriptionOptions, Window
from livecaption.scheduling.request import Request
from tests.support.speech import pcm_s16le
from tests.support.word_times import median_errors_ms

pytestmark = pytest.mark.model

Samples = dict[str, npt.NDArray[np.float32]]

GERMAN_CLIP = "lang-de-thorsten-3"


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory: pytest.TempPathFactory) -> WhisperEngine:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return load_engine(find_model("base"), device="cpu", threads=1)


def test_languages_and_tasks_are_mixed_in_one_batch(multilingual: WhisperEngine, samples: Samples) -> None:
    german, translated, english, prompted = multilingual.transcribe(
        [
            Window(samples[GERMAN_CLIP]),
            Window(samples[GERMAN_CLIP], TranscriptionOptions(task="translate", words=True)),
            Window(samples["jfk"][8 * 16_000 :], TranscriptionOptions(words=True)),
            Window(samples[GERMAN_CLIP], TranscriptionOptions(language="de", words=True, prompt="Geographie.")),
        ]
    )
    assert [h.language for h in (german, translated, english, prompted)] == ["de", "de", "en", "de"]
    assert "zusammengenommen" in german.text
    assert translated.text.startswith("Europe and Asia")
    assert "what you can do for your country" in english.text
    for hypothesis in (translated, english, prompted):
        assert " ".join(word.text for word in hypothesis.words) == hypothesis.text


def test_the_languages_are_those_of_the_model(multilingual: WhisperEngine, samples: Samples) -> None:
    assert len(multilingual.description.languages) == 99
    assert {"en", "de", "zh", "su"} < set(multilingual.description.languages)
    with pytest.raises(TranscriptionFailed, match="does not support the language 'xx'"):
        multilingual.transcribe([Window(samples["jfk"], TranscriptionOptions(language="xx"))])


def finals_of_a_conversation(
    model: WhisperEngine, clips: dict[str, Clip], samples: Samples, names: list[str], options: TranscriptionOptions
) -> list[Final]:
    """Return the finals with text of one stream of these recordings, with 1.3 s of silence after each."""
    pcm = b"".join(pcm_s16le(np.pad(samples[name], (0, samples_of(1300)))) for name in names)
    recording = Recording(clips[names[0]], pcm, ms_of(len(pcm) // 2))
    asked = StreamOptions(transcription=options, partials=False)
    received = stream(recording, lambda request: model.transcribe([request.window])[0], asked)
    return [item.event for item in received if isinstance(item.event, Final) and item.event.text]


def test_each_utterance_of_a_stream_is_in_its_own_language(
    multilingual: WhisperEngine, clips: dict[str, Clip], samples: Samples
) -> None:
    names = [GERMAN_CLIP, "ps-austen-0880", GERMAN_CLIP]
    finals = finals_of_a_conversation(multilingual, clips, samples, names, TranscriptionOptions())
    assert [final.language for final in finals] == ["de", "en", "de"]
    assert "zusammengenommen" in finals[0].text
    assert "zusammengenommen" in finals[-1].text


def test_an_utterance_is_in_one_of_the_languages_that_are_expected(
    multilingual: WhisperEngine, clips: dict[str, Clip], samples: Samples
) -> None:
    names = ["ps-austen-0880", GERMAN_CLIP]
    finals = finals_of_a_conversation(multilingual, clips, samples, names, TranscriptionOptions(languages=("de", "fr")))
    assert {final.language for final in finals} <= {"de", "fr"}
    assert finals[-1].language == "de"


def test_a_short_sentence_that_might_be_a_sound_is_captioned(multilingual: WhisperEngine, samples: Samples) -> None:
    spans_ms = [(3_040, 4_700), (3_100, 4_700), (3_100, 4_800)]
    windows = [samples["jfk"][samples_of(begin_ms) : samples_of(end_ms)] for begin_ms, end_ms in spans_ms]
    hypotheses = multilingual.transcribe([Window(each, TranscriptionOptions("en"), is_final=True) for each in windows])
    assert [plain_words(hypothesis.text) for hypothesis in hypotheses] == [["ask", "not"]] * len(spans_ms)


def test_words_begin_and_end_when_they_are_said(multilingual: WhisperEngine, samples: Samples) -> None:
    """Within 100 ms in the median, against forced alignment."""
    assert max(median_errors_ms(multilingual, ("jfk", "ls-1995-1837-0001"), samples)) < 100


LANGUAGES = [None, "de", "en"]
HINTS: list[dict[str, Any]] = [
    {},
    {"hotwords": ("Kubernetes", "Zaphod")},
    {"prompt": "So much for today's lecture. Thank you for watching."},
]


@pytest.mark.parametrize("first", [0, 1], ids=["a bark and a sneeze", "the other two"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_barks_and_sneezes_have_no_words_in_any_language(
    multilingual: WhisperEngine, sounds: list[npt.NDArray[np.float32]], language: str | None, first: int
) -> None:
    """Every sound meets every language, and every hint in two of them; as a final there and as a partial."""
    shift = LANGUAGES.index(language) + first
    hypotheses = multilingual.transcribe(
        [
            Window(sound, TranscriptionOptions(language, **hints), is_final=is_final)
            for sound, hints in zip(sounds[first::2], [HINTS[shift % 3], HINTS[(shift + 1) % 3]], strict=True)
            for is_final in (True, False)
        ]
    )
    assert [hypothesis.text for hypothesis in hypotheses if hypothesis.text and not hypothesis.suspicious] == []


def test_a_german_final_is_followed_by_its_english_translation(
    multilingual: WhisperEngine, clips: dict[str, Clip], samples: Samples
) -> None:
    """English finals are their own translations, for which nothing is computed."""
    engine = with_tracks(multilingual, EngineConfig(tracks=("en",)))
    names = [GERMAN_CLIP, "jfk"]
    pcm = b"".join(pcm_s16le(np.pad(samples[name], (0, samples_of(1300)))) for name in names)
    recording = Recording(clips[names[0]], pcm, ms_of(len(pcm) // 2))
    asked = StreamOptions(tracks=("en",), partials=False)
    computed: list[Request] = []

    def answer(request: Request) -> Hypothesis:
        computed.append(request)
        return engine.transcribe([request.window])[0]

    events = [item.event for item in stream(recording, answer, asked)]
    finals = {event.utterance: event for event in events if isinstance(event, Final) and event.text}
    translations = {event.utterance: event.text for event in events if isinstance(event, Translation)}
    assert translations.keys() == finals.keys()
    assert "zusammengenommen" in finals[0].text
    assert translations[0].startswith("Europe and Asia")
    english = [utterance for utterance, final in finals.items() if final.language == "en"]
    assert english
    assert all(translations[utterance] == finals[utterance].text for utterance in english)
    assert not {request.utterance for request in computed if request.is_translation} & {*english}
