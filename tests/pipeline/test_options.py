"""A stream may need only what the model can do."""

import pytest

from livecaption.errors import InvalidMessage
from livecaption.pipeline.options import StreamOptions
from livecaption.recognition import ModelDescription, TranscriptionOptions

ENGLISH = ModelDescription("tiny.en", "cpu", "int8", ("en",), translates=False)


def needs(**options: str) -> StreamOptions:
    return StreamOptions(transcription=TranscriptionOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"language": "en"}])
def test_what_the_model_can_do_passes(options: dict[str, str]) -> None:
    needs(**options).check_model(ENGLISH)


@pytest.mark.parametrize(
    ("options", "code"),
    [({"language": "de"}, "unsupported_language"), ({"task": "translate"}, "unsupported_task")],
)
def test_what_it_cannot_do_is_refused_with_its_code(options: dict[str, str], code: str) -> None:
    with pytest.raises(InvalidMessage) as refusal:
        needs(**options).check_model(ENGLISH)
    assert refusal.value.code == code
