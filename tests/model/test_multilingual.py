"""Whisper base, which knows languages; where its packages are installed."""

import numpy as np
import numpy.typing as npt
import pytest

from livecaption.engine.models import find_model
from livecaption.engine.whisper import WhisperEngine, load_engine
from livecaption.errors import TranscriptionFailed
from livecaption.recognition import TranscriptionOptions, Window

pytestmark = pytest.mark.model

Samples = dict[str, npt.NDArray[np.float32]]

GERMAN_CLIP = "lang-de-thorsten-3"


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory: pytest.TempPathFactory) -> WhisperEngine:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return load_engine(find_model("base"), device="cpu", threads=2)


def test_languages_and_tasks_are_mixed_in_one_batch(multilingual: WhisperEngine, samples: Samples) -> None:
    german, translated, english, prompted = multilingual.transcribe(
        [
            Window(samples[GERMAN_CLIP]),
            Window(samples[GERMAN_CLIP], TranscriptionOptions(task="translate", words=True)),
            Window(samples["jfk"], TranscriptionOptions(words=True)),
            Window(samples[GERMAN_CLIP], TranscriptionOptions(language="de", words=True, prompt="Geographie.")),
        ]
    )
    assert [h.language for h in (german, translated, english, prompted)] == ["de", "de", "en", "de"]
    assert "zusammengenommen" in german.text
    assert translated.text.startswith("Europe and Asia")
    assert "ask what you can do for your country" in english.text
    for hypothesis in (translated, english, prompted):
        assert " ".join(word.text for word in hypothesis.words) == hypothesis.text


def test_the_languages_are_those_of_the_model(multilingual: WhisperEngine, samples: Samples) -> None:
    assert len(multilingual.description.languages) == 99
    assert {"en", "de", "zh", "su"} < set(multilingual.description.languages)
    with pytest.raises(TranscriptionFailed, match="does not know the language 'xx'"):
        multilingual.transcribe([Window(samples["jfk"], TranscriptionOptions(language="xx"))])
