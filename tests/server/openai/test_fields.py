"""The fields of a request for a transcription."""

import pytest

from livecaption.audio.formats import CONTAINER
from livecaption.errors import InvalidUpload
from livecaption.events import MAX_SPEAKERS
from livecaption.server.openai.fields import Asked, read
from livecaption.speech.endpointing import RECORDINGS
from tests.support.cases import for_each


def asked(**fields: str) -> Asked:
    return read([(name.replace("__", "[]"), value) for name, value in fields.items()], "transcribe")


def test_a_request_without_fields_is_for_the_text_of_any_language() -> None:
    without = asked()
    assert (without.format, without.words, without.stream) == ("json", False, False)
    assert (without.options.transcription.language, without.options.transcription.words) == (None, False)
    assert (without.options.audio.encoding, without.options.endpointing) == (CONTAINER, RECORDINGS)
    assert (without.options.partials, without.options.keep) == (False, False)


@for_each("name", ["timestamp_granularities", "timestamp_granularities[]", "timestamp_granularities[0]"])
def test_lists_are_read_with_brackets_and_without(name: str) -> None:
    fields = [("response_format", "verbose_json"), (name, "segment"), (name, "word")]
    assert read(fields, "transcribe").words


def test_cues_follow_the_words_but_plain_text_needs_none() -> None:
    assert asked(response_format="srt").options.transcription.words
    assert not asked(response_format="json", timestamp_granularities__="word").options.transcription.words


@for_each(
    ("fields", "expected"),
    [
        ([("language", "en-US")], ("en", ())),
        ([("language", "English")], ("en", ())),
        ([("languages[]", "de"), ("languages[]", "en")], (None, ("de", "en"))),
        ([("languages", "de")], ("de", ())),
        ([("language", "")], (None, ())),
    ],
)
def test_one_language_is_set_and_several_are_expected(
    fields: list[tuple[str, str]], expected: tuple[str | None, tuple[str, ...]]
) -> None:
    transcription = read(fields, "transcribe").options.transcription
    assert (transcription.language, transcription.languages) == expected


def test_keywords_are_hotwords_and_the_end_of_a_long_prompt_counts() -> None:
    transcription = read([("keywords[]", "Ada"), ("keywords[]", "Zuse")], "transcribe").options.transcription
    assert transcription.hotwords == ("Ada", "Zuse")
    assert asked(prompt="x" * 2000 + "end").options.transcription.prompt == "x" * 997 + "end"


def test_fields_that_a_local_model_has_no_use_for_are_ignored() -> None:
    ignored = {"model": "gpt-4o-transcribe", "temperature": "0.2", "include__": "logprobs", "chunking_strategy": "auto"}
    assert asked(**ignored, user="somebody", **{"chunking_strategy[type]": "server_vad"}) == asked()


@for_each("value", ["true", "True", "1"])
def test_flags_are_read_in_any_case(value: str) -> None:
    assert asked(stream=value).stream
    assert not asked(stream="False").stream


@for_each(
    ("name", "value"),
    [
        ("response_format", "xml"),
        ("known_speaker_names[]", "Ada"),
        ("known_speaker_references[]", "data:audio/wav;base64,UklGRg=="),
        ("timestamp_granularities", "letter"),
        ("stream", "maybe"),
        ("keywords", "x" * 101),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(name: str, value: str) -> None:
    with pytest.raises(InvalidUpload) as caught:
        asked(**{name: value})
    assert caught.value.field == name.removesuffix("[]")


def test_a_diarized_answer_needs_speakers_and_is_no_translation() -> None:
    assert asked(response_format="diarized_json").options.speakers == MAX_SPEAKERS
    assert asked(response_format="verbose_json").options.speakers == 0
    with pytest.raises(InvalidUpload, match="translations have no speakers"):
        read([("response_format", "diarized_json")], "translate")


def test_there_is_a_limit_of_languages_and_keywords() -> None:
    for name, values in (("languages", [f"{a}{b}" for a in "abcde" for b in "vwxyz"]), ("keywords", ["x"] * 101)):
        with pytest.raises(InvalidUpload):
            read([(name, value) for value in values], "transcribe")
