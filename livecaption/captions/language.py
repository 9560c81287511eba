"""Decide on the language of a stream whose publisher did not name one. Pure."""

AGREEING_FINALS = 2
"""Finals in a row in one language that decide on it. Fewer: a greeting or a name could decide. More: it comes later."""
MIN_CONFIDENCE = 0.5
"""Minimum confidence of a final that counts. A model that mistakes the language is unsure of its text too."""
DOUBTFUL_FINALS = 2
"""Finals in a row below that confidence after which the language is detected again, because the speaker may differ."""


class SettledLanguage:
    """The language of a stream: detected in each window until finals agree, and then kept.

    It is kept because the engine mistakes the language of short utterances.

    Attributes:
        language: ISO 639-1 code in which windows are transcribed; None: the engine detects it.
    """

    def __init__(self, given: str | None) -> None:
        """Begin with the language that the publisher named, which then never changes, or with None."""
        self.language = given
        self._is_given = given is not None
        self._candidate: str | None = None
        self._n_agreeing = 0
        self._n_doubtful = 0

    def observe(self, language: str, confidence: float) -> None:
        """Take the language that the engine detected in a final with text."""
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
