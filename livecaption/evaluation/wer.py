"""Compute the word error rate of hypotheses against references, by the method of the Whisper paper.

Both texts are normalized by Whisper's own normalizers (Radford et al. 2022, appendix C), so that figures are comparable
with published ones. English spelling and numbers are unified. Other languages lose case and punctuation, and those
written without spaces are compared by characters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import jiwer
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

_UNSPACED_LANGUAGES = ("ja", "lo", "my", "th", "zh")


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Counts over any number of pairs.

    Attributes:
        substitutions, deletions, insertions: words to change, add and remove to get the reference.
        reference_words: words of the references.
    """

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    reference_words: int = 0

    @property
    def rate(self) -> float | None:
        """(S + D + I) / reference words; None: the references have no word."""
        if not self.reference_words:
            return None
        return self.n_errors / self.reference_words

    @property
    def n_errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    def __add__(self, other: "WordErrors") -> "WordErrors":
        return WordErrors(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.reference_words + other.reference_words,
        )


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str], language: str | None = "en") -> WordErrors:
    """Compare pairs of texts of one language.

    Args:
        references, hypotheses: texts, which are normalized here. If a reference is empty, each word of its hypothesis
            is an insertion.
        language: ISO 639-1 code of all texts; None: any language except English.

    Raises:
        ValueError: the numbers of hypotheses and references differ.
    """
    normalize = _normalizer(language)
    alignment = jiwer.process_words(
        [normalize(text).strip() for text in references], [normalize(text).strip() for text in hypotheses]
    )
    return WordErrors(
        alignment.substitutions,
        alignment.deletions,
        alignment.insertions,
        alignment.hits + alignment.substitutions + alignment.deletions,
    )


@cache
def _normalizer(language: str | None) -> Callable[[str], str]:
    if language == "en":
        return EnglishTextNormalizer()  # type: ignore[no-any-return]
    return BasicTextNormalizer(split_letters=language in _UNSPACED_LANGUAGES)  # type: ignore[no-any-return]
