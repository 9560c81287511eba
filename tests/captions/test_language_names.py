"""Languages, as people and other programs write them."""

from hypothesis import given
from hypothesis import strategies as st

from livecaption.captions.language_names import DETECT, NAMES, OTHER_CODES, OTHER_NAMES, language_code
from tests.support.cases import for_each


@for_each(
    ("written", "code"),
    [
        ("en", "en"),
        ("en-US", "en"),
        ("en_us", "en"),
        ("EN", "en"),
        ("English", "en"),
        (" english ", "en"),
        ("zh-Hant-TW", "zh"),
        ("haw", "haw"),
        ("nb-NO", "no"),
        ("iw", "he"),
        ("Flemish", "nl"),
        ("Haitian Creole", "ht"),
    ],
)
def test_a_language_is_understood_however_it_is_written(written: str, code: str) -> None:
    assert language_code(written) == code


@for_each("written", ["", " ", "auto", "AUTO", "und", "mul"])
def test_a_language_may_be_left_to_the_engine(written: str) -> None:
    assert language_code(written) is None


def test_a_language_that_nobody_knows_stays_for_the_model_to_refuse() -> None:
    assert language_code("tlh-Latn") == "tlh"


@given(st.sampled_from(sorted(NAMES)), st.sampled_from(["", "-XX", "_xx", "-Latn-XX"]))
def test_each_code_and_each_name_gives_its_code(code: str, region: str) -> None:
    assert language_code(code.upper() + region) == code
    assert language_code(NAMES[code].upper()) == code


def test_all_other_ways_lead_to_a_language() -> None:
    assert {*OTHER_CODES.values(), *OTHER_NAMES.values()} <= NAMES.keys()
    assert NAMES.keys().isdisjoint({*OTHER_CODES, *OTHER_NAMES, *DETECT})
