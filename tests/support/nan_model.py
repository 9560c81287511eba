"""The program of an inference process whose model computes NaN, as `livecaption.engine.main` is that of a good one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from livecaption.engine import main, models
from livecaption.recognition import Hypothesis, Window


class NanEngine:
    """Stands in for `WhisperEngine`."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def check_numbers(self) -> None:
        pass

    def transcribe(self, windows: Sequence[Window]) -> list[Hypothesis | None]:
        return [None for _ in windows]


def run(*arguments: Any) -> NoReturn:
    """Run the inference process with a model that needs no files."""
    from livecaption.engine import whisper

    setattr(models, "find_model", lambda name: models.ModelFiles(name, Path()))  # noqa: B010
    setattr(whisper, "WhisperEngine", NanEngine)  # noqa: B010
    main.run(*arguments)
