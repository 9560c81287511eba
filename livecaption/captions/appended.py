"""Find what to append to a text that was sent already, and cannot be taken back, to get another one. Pure."""

from livecaption.captions.stabilizer import Unit, units


def appended(sent: str, text: str) -> str:
    """Return what follows the sent words in a text that begins with them, perhaps in another case or punctuation."""
    if text.startswith(sent):
        return text[len(sent) :]
    words = units(text)
    n_sent = _n_alike(units(sent), words)
    new = "".join(words[n_sent:])
    is_apart = 0 < n_sent < len(words) and words[n_sent - 1][-1].isspace()
    return f" {new}" if is_apart else new


def _n_alike(sent: list[Unit], words: list[Unit]) -> int:
    """Return how many units are the words that were sent, with their punctuation.

    Behind an ideograph, a sign of punctuation is a unit of its own, whose key is empty. Perhaps only one text has it.
    """
    n_left = sum(1 for unit in sent if unit.key)
    for n, unit in enumerate(words):
        if unit.key and not n_left:
            return n
        n_left -= bool(unit.key)
    return len(words)
