"""Whether a text ends a sentence, in any script Whisper writes. Pure."""

_CLOSERS = "\"'”’»)]」』）】"
_ENDS = ".?!。．？！؟۔।॥"


def ends_sentence(text: str) -> bool:
    """True for an empty text too: nothing is left unfinished.

    Three dots are Whisper's sign that the speaker breaks off; they end nothing.
    """
    stripped = text.rstrip().rstrip(_CLOSERS)
    return not stripped or (stripped[-1] in _ENDS and not stripped.endswith(("...", "…")))
