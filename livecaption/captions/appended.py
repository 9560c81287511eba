"""Find what to append to a text that was sent already, and cannot be taken back, to get another one. Pure."""

from livecaption.captions.stabilizer import units


def appended(sent: str, text: str) -> str:
    """Return what follows the sent words in a text that begins with them, perhaps in another case or punctuation."""
    if text.startswith(sent):
        return text[len(sent) :]
    words, n_sent = units(text), len(units(sent))
    new = "".join(words[n_sent:])
    is_apart = 0 < n_sent < len(words) and words[n_sent - 1][-1].isspace()
    return f" {new}" if is_apart else new
