"""Adapt the letter case at the beginning of an utterance to the text before it (truecasing). Pure.

A model transcribes each utterance without the others. If an utterance was cut within a sentence, the model may end it
with a full stop, and begin the rest like a new sentence. The opposite happens too. Text that readers have seen is not
changed; the new text is adapted to it.
"""

from livecaption.captions.sentence import ends_sentence

_NEVER_NAMES = {
    *("a", "an", "the", "and", "but", "or", "nor", "so", "yet", "for", "of", "in", "on", "at", "to", "from", "by"),
    *("with", "without", "into", "onto", "over", "under", "about", "as", "that", "which", "who", "whom", "whose"),
    *("where", "when", "while", "because", "if", "than", "then", "he", "she", "it", "we", "they", "his", "her", "its"),
    *("our", "their", "this", "these", "those", "is", "are", "was", "were", "be", "been", "has", "have", "had", "not"),
}
"""English words that have a capital only at the beginning of a sentence."""


def join_case(text: str, previous: str, *, continues: bool) -> str:
    """Return the text in the case in which it follows `previous`.

    Args:
        text: text of an utterance, without surrounding space.
        previous: text of the preceding utterance, as it was sent; empty if there is none.
        continues: True if the preceding utterance was cut at the length limit, so the same speech goes on.
    """
    if not text or not previous:
        return text
    if ends_sentence(previous):
        return text[0].upper() + text[1:]
    first = text.split()[0]
    if continues and first[1:].islower() and first.rstrip(".,;:!?").casefold() in _NEVER_NAMES:
        return text[0].lower() + text[1:]
    if continues and first == "A":
        return "a" + text[1:]
    return text
