"""A stream may need only what the model can do."""

import pytest

from livecaption.errors import InvalidMessage
from livecaption.pipeline.options import StreamOptions
from livecaption.recognition import ModelDescription, TranscriptionOptions

ENGLISH = ModelDescription("tiny.en", "cpu", "int8", ("en",), translates=False)


def needs(**options: str) -> StreamOptions:
    return StreamOptions(transcription=TranscriptionOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"language": "en"}])
def test_options_that_the_model_supports_pass(options: dict[str, str]) -> None:
    needs(**options).check_model(ENGLISH)


@pytest.mark.parametrize(
    ("options", "code"),
    [({"language": "de"}, "unsupported_language"), ({"task": "translate"}, "unsupported_task")],
)
def test_options_that_it_does_not_support_are_refused_with_their_codes(options: dict[str, str], code: str) -> None:
    with pytest.raises(InvalidMessage) as refusal:
        needs(**options).check_model(ENGLISH)
    assert refusal.value.code == code
