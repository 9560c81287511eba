"""A stream whose publisher named no language settles on one."""

import pytest

from livecaption.captions.language import SettledLanguage


def after(*finals: tuple[str, float], given: str | None = None) -> str | None:
    language = SettledLanguage(given)
    for code, confidence in finals:
        language.observe(code, confidence)
    return language.language


def test_it_is_detected_until_two_finals_in_a_row_agree() -> None:
    assert after() is None
    assert after(("de", 0.9)) is None
    assert after(("de", 0.9), ("en", 0.9)) is None
    assert after(("de", 0.9), ("en", 0.9), ("en", 0.8)) == "en"


def test_a_final_that_the_model_is_unsure_of_does_not_count() -> None:
    assert after(("de", 0.9), ("nn", 0.3), ("de", 0.9)) == "de"


def test_one_unsure_final_unsettles_nothing_but_two_in_a_row_do() -> None:
    settled = [("de", 0.9)] * 2
    assert after(*settled, ("de", 0.3), ("de", 0.9), ("de", 0.3)) == "de"
    assert after(*settled, ("de", 0.3), ("de", 0.3)) is None
    assert after(*settled, ("de", 0.3), ("de", 0.3), ("fr", 0.9), ("fr", 0.9)) == "fr"


@pytest.mark.parametrize("confidence", [0.1, 0.9])
def test_a_language_that_was_named_stays(confidence: float) -> None:
    assert after(*[("fr", confidence)] * 3, given="de") == "de"
