"""Letter case at the beginning of an utterance's text, by the text before it (truecasing). Pure.

A model hears each utterance for itself: it ends one that was cut in mid-sentence with a full stop, and begins the rest
as if nothing had been said, or the other way round. What readers have seen is not changed; what comes is fitted to it.
"""

from livecaption.captions.sentence import ends_sentence

_NEVER_NAMES = {
    *("a", "an", "the", "and", "but", "or", "nor", "so", "yet", "for", "of", "in", "on", "at", "to", "from", "by"),
    *("with", "without", "into", "onto", "over", "under", "about", "as", "that", "which", "who", "whom", "whose"),
    *("where", "when", "while", "because", "if", "than", "then", "he", "she", "it", "we", "they", "his", "her", "its"),
    *("our", "their", "this", "these", "those", "is", "are", "was", "were", "be", "been", "has", "have", "had", "not"),
}
"""English words that have a capital only where a sentence begins."""


def join_case(text: str, previous: str, *, continues: bool) -> str:
    """Return the text in the case in which it follows `previous`.

    Args:
        text: of an utterance, without surrounding space.
        previous: the text of the utterance before, as it was sent; empty: there is none.
        continues: that one was cut for length, so the same speech goes on.
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
