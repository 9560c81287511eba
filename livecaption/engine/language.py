"""Choose the language of a window whose publisher did not name one, by the model's own ranking. Pure."""

from collections.abc import Sequence

from livecaption.audio import samples_of
from livecaption.recognition import SURE_LANGUAGE_MS, Window

CHANGE_ODDS = 3.0
"""Times that a language must be more probable than the language of the stream so far before the window is taken to be
in it. Less: unclear speech flips. More: the change comes one utterance late."""
SHORT_FINAL_CHANGE_ODDS, SHORT_PARTIAL_CHANGE_ODDS = 10.0, 100.0
"""The same for windows below `SURE_LANGUAGE_MS`. A partial may end within a word.
Figures: docs/decisions/0031-language-of-each-utterance.md."""

Ranking = Sequence[tuple[str, float]]
"""Languages and their probabilities, the most probable first."""


def choose_language(window: Window, ranking: Ranking) -> str:
    """Return the ISO 639-1 code of the language in which a window is transcribed.

    Args:
        window: the window; without `options.language`.
        ranking: all languages of the model, by their probability in this window.
    """
    expected = window.options.languages
    probabilities = {code: probability for code, probability in ranking if not expected or code in expected}
    best = max(probabilities, key=probabilities.__getitem__)
    likely = window.likely_language
    if likely is None or likely not in probabilities:
        return best
    return best if probabilities[best] > _change_odds(window) * probabilities[likely] else likely


def _change_odds(window: Window) -> float:
    if len(window.samples) >= samples_of(SURE_LANGUAGE_MS):
        return CHANGE_ODDS
    return SHORT_FINAL_CHANGE_ODDS if window.is_final else SHORT_PARTIAL_CHANGE_ODDS
