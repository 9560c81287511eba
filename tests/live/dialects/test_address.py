"""Options of `start` in an address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.errors import InvalidMessage
from livecaption.live.dialects.address import ENDPOINTING, OPTIONS, start_fields
from tests.support.any_text import any_text
from tests.support.cases import for_each


def test_an_address_without_options_stands_for_no_start() -> None:
    assert start_fields({}) == {}
    assert start_fields({"token": "secret", "utm_source": "x"}) == {}


def test_each_option_has_the_type_of_its_field() -> None:
    query = {
        "encoding": "auto",
        "sample_rate": "48000",
        "channels": "2",
        "channel_mode": "separate",
        "language": "en",
        "task": "translate",
        "translate": "fr,de",
        "partials": "false",
        "words": "1",
        "hotwords": "Böll,New York",
        "prompt": "Guten Tag.",
        "title": "Sitzung",
        "private": "true",
        "keep": "false",
        "speakers": "4",
        "preset": "fast",
        "silence_ms": "400",
        "max_utterance_ms": "9000",
    }
    assert query.keys() == OPTIONS.keys() | ENDPOINTING.keys()
    assert start_fields(query) == {
        "encoding": "auto",
        "sample_rate": 48_000,
        "channels": 2,
        "channel_mode": "separate",
        "language": "en",
        "task": "translate",
        "translate": ["fr", "de"],
        "partials": False,
        "words": True,
        "hotwords": ["Böll", "New York"],
        "prompt": "Guten Tag.",
        "title": "Sitzung",
        "private": True,
        "keep": False,
        "speakers": 4,
        "endpointing": {"preset": "fast", "silence_ms": 400, "max_utterance_ms": 9000},
    }


def test_several_languages_are_separated_by_commas() -> None:
    assert start_fields({"language": "de,en"}) == {"language": ["de", "en"]}


@for_each(("given", "speakers"), [("true", True), ("false", False), ("1", 1), ("50", 50)])
def test_speakers_are_distinguished_or_not_or_a_number_is_expected(given: str, speakers: bool | int) -> None:
    assert start_fields({"speakers": given}) == {"speakers": speakers}


@for_each(("name", "value"), [("sample_rate", "16k"), ("words", "maybe"), ("silence_ms", ""), ("speakers", "two")])
def test_a_value_of_another_type_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(InvalidMessage, match=name):
        start_fields({name: value})


@given(st.dictionaries(st.sampled_from([*OPTIONS, *ENDPOINTING]), any_text()))
def test_any_query_gives_fields_or_an_error_of_ours(query: dict[str, str]) -> None:
    try:
        fields = start_fields(query)
    except InvalidMessage:
        return
    assert bool(fields) == bool(query)
