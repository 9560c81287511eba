"""Judge whether a text ends a sentence, in any script that Whisper writes. Pure."""

_CLOSERS = "\"'”’»)]」』）】"
_ENDS = ".?!。．？！؟۔।॥"


def ends_sentence(text: str) -> bool:
    """Return whether the text ends a sentence. An empty text does, because it leaves nothing unfinished.

    Three dots are Whisper's sign that the speaker breaks off, so they do not end a sentence.
    """
    stripped = text.rstrip().rstrip(_CLOSERS)
    return not stripped or (stripped[-1] in _ENDS and not stripped.endswith(("...", "…")))
