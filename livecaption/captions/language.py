"""The language of a stream whose publisher named none. Pure."""

AGREEING_FINALS = 2
"""Finals in a row in one language after which the stream is taken to be in it. One may be a greeting or a name."""
MIN_CONFIDENCE = 0.5
"""Of a final that says anything about the language: a model that mistakes it is unsure of its text too."""
DOUBTFUL_FINALS = 2
"""Unsure finals in a row after which the language is detected anew: somebody else may speak."""


class SettledLanguage:
    """Detected in each window until finals agree, and kept then: one short word is no other language.

    Attributes:
        language: ISO 639-1 code that windows are to be heard in; None: to be detected.
    """

    def __init__(self, given: str | None) -> None:
        """`given`: the publisher named this one, and it stays whatever is heard."""
        self.language = given
        self._is_given = given is not None
        self._candidate: str | None = None
        self._n_agreeing = 0
        self._n_doubtful = 0

    def observe(self, language: str, confidence: float) -> None:
        """A final that says something was in this language, as far as the engine can tell."""
        if self._is_given:
            return
        if confidence < MIN_CONFIDENCE:
            self._n_doubtful += 1
            if self._n_doubtful >= DOUBTFUL_FINALS:
                self.language = self._candidate = None
            return
        self._n_doubtful = 0
        self._n_agreeing = self._n_agreeing + 1 if language == self._candidate else 1
        self._candidate = language
        if self._n_agreeing >= AGREEING_FINALS:
            self.language = language
