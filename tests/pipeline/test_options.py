"""A stream may need only what the model can do. Some options are fixed at the start."""

from dataclasses import replace

import pytest

from livecaption.errors import InvalidMessage
from livecaption.pipeline.options import StreamOptions
from livecaption.recognition import ModelDescription, TranscriptionOptions
from tests.support.cases import for_each

ENGLISH = ModelDescription("tiny.en", "cpu", "int8", ("en",), translates=False)
BASE = ModelDescription("base", "cpu", "int8", ("en", "de", "fr"), translates=True)


def needs(**options: object) -> StreamOptions:
    return StreamOptions(transcription=TranscriptionOptions(**options))


@for_each("options", [{}, {"language": "de"}, {"languages": ("de", "fr")}, {"task": "translate"}])
def test_options_that_the_model_supports_pass_unchanged(options: dict[str, object]) -> None:
    assert needs(**options).for_model(BASE) == needs(**options)


def test_the_only_language_of_a_model_needs_no_detection() -> None:
    for asked in (needs(), needs(language="en"), needs(languages=("en",))):
        assert asked.for_model(ENGLISH).transcription.language == "en"


@for_each(
    ("options", "code"),
    [
        ({"language": "de"}, "unsupported_language"),
        ({"languages": ("en", "de")}, "unsupported_language"),
        ({"task": "translate"}, "unsupported_task"),
    ],
)
def test_options_that_it_does_not_support_are_refused_with_their_codes(options: dict[str, object], code: str) -> None:
    with pytest.raises(InvalidMessage) as refusal:
        needs(**options).for_model(ENGLISH)
    assert refusal.value.code == code


@for_each(("tracks", "offered"), [((), r"no language \(--translate\)"), (("en", "fr"), "en, fr")])
def test_languages_that_the_server_does_not_translate_into_are_refused(tracks: tuple[str, ...], offered: str) -> None:
    model = replace(BASE, tracks=tracks)
    assert StreamOptions(tracks=tracks[:1]).for_model(model).tracks == tracks[:1]
    with pytest.raises(InvalidMessage, match=f"^this server translates into {offered}$") as refusal:
        StreamOptions(tracks=("en", "de")).for_model(model)
    assert refusal.value.code == "unsupported_translation"


def test_speakers_are_refused_without_a_model_of_voices_and_need_none_if_channels_are_apart() -> None:
    asked = StreamOptions(speakers=3)
    assert asked.for_model(replace(BASE, speakers=True)).of_windows.speakers
    with pytest.raises(InvalidMessage, match="does not tell speakers apart") as refusal:
        asked.for_model(BASE)
    assert (refusal.value.code, refusal.value.fatal) == ("unsupported_speakers", True)
    apart = replace(asked, channel_mode="separate")
    assert apart.for_model(BASE).speakers == 3
    assert not apart.of_windows.speakers
    assert not StreamOptions().of_windows.speakers


def test_a_refusal_names_the_languages_there_are() -> None:
    several = ModelDescription("base", "cpu", "int8", ("en", "de", "haw"), translates=True)
    with pytest.raises(InvalidMessage, match="base does not support this language, but de, en, haw"):
        needs(language="tlh").for_model(several)


def test_options_that_come_later_keep_what_is_fixed_and_are_refused_without_end() -> None:
    first = StreamOptions(title="Talk", private=True, keep=False)
    later = first.replaced_by(needs(language="de"), BASE)
    assert (later.title, later.private, later.keep) == ("Talk", True, False)
    assert later.transcription.language == "de"
    with pytest.raises(InvalidMessage) as refusal:
        first.replaced_by(needs(language="de"), ENGLISH)
    assert not refusal.value.fatal
