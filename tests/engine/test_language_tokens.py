"""Translation models have their own names for the languages of Whisper."""

from livecaption.captions.language_names import NAMES
from livecaption.engine.language_tokens import FLORES, M2M100, token_of


def test_every_language_of_whisper_has_a_name_if_the_model_has_the_language() -> None:
    assert NAMES.keys() - FLORES.keys() == {"br", "haw", "la"}  # not in FLORES-200
    assert FLORES.keys() | M2M100.keys() <= NAMES.keys()
    assert len(set(FLORES.values())) == len(FLORES)


def test_a_language_has_the_token_that_is_in_the_vocabulary() -> None:
    assert token_of("de", {"deu_Latn", "eng_Latn"}) == "deu_Latn"
    assert token_of("no", {"__no__"}) == "__no__"
    assert token_of("jw", {"__jv__"}) == "__jv__"
    assert token_of("br", {"__br__"}) == "__br__"
    assert token_of("de", {"eng_Latn", "__en__", ""}) is None
    assert token_of("", {"", "eng_Latn"}) is None
