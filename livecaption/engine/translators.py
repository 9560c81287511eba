"""Give an engine tracks: finals in other languages, by Whisper itself or by a translation model."""

from collections.abc import Sequence
from dataclasses import replace

from livecaption.engine.engine import Compute, Engine, Finish, Translator
from livecaption.errors import EngineUnusable
from livecaption.ipc.config import EngineConfig
from livecaption.recognition import DeviceMemory, Hypothesis, Window


class TranslatingEngine(Engine):
    """An `Engine` with tracks.

    Args:
        engine: transcribes.
        translator: translates.
        tracks: languages into which it can translate.
    """

    def __init__(self, engine: Engine, translator: Translator, tracks: tuple[str, ...]) -> None:
        self._engine = engine
        self._translator = translator
        self.description = replace(engine.description, tracks=tracks)
        self.costs = engine.costs
        self.n_streams = engine.n_streams

    def prepare(self, windows: Sequence[Window]) -> Compute:
        """See `Engine`. A batch has only transcriptions or only translations."""
        if not all(window.translation for window in windows):
            return self._engine.prepare(windows)

        def compute() -> Finish:
            translations = self._translator.translate(windows)
            return lambda: translations

        return compute

    def device_memory(self) -> DeviceMemory | None:
        """See `Engine`."""
        return self._engine.device_memory()


class WhisperTranslator:
    """Translates into English by the task of Whisper: the same audio once more.

    Raises:
        EngineUnusable: the model cannot do that.
    """

    def __init__(self, engine: Engine) -> None:
        about = engine.description
        if not about.translates:
            raise EngineUnusable(
                f"--translate: model {about.model} cannot translate. Name a multilingual one with --model, such as "
                "base, or a translation model with --translation-model"
            )
        self._engine = engine

    def translate(self, windows: Sequence[Window]) -> list[Hypothesis | None]:
        """See `Translator`. Prompt and hotwords are left out, because they are in the speaker's language.

        No window of the utterance follows, so nobody needs the analysis. Its final has the voices.
        """
        translations = self._engine.transcribe(
            [
                replace(
                    window,
                    options=replace(window.options, task="translate", prompt="", hotwords=(), speakers=False),
                    translation=None,
                )
                for window in windows
            ]
        )
        return [translation and replace(translation, analysis=None) for translation in translations]


def with_tracks(engine: Engine, config: EngineConfig) -> Engine:
    """Return the engine with the tracks of the settings.

    Raises:
        EngineUnusable: they cannot be made; the message has the reason.
    """
    translator: Translator
    if config.translation_model:
        from livecaption.engine.translation_model import load_translation_model

        translator = load_translation_model(
            config.translation_model, config.tracks, config.device, config.compute_type, config.threads
        )
    else:
        translator = WhisperTranslator(engine)
    return TranslatingEngine(engine, translator, config.tracks)
