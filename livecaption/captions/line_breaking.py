"""Split text into the atoms that a line may not cut, with their widths and the cost of a line break between them.

The best place to break a line is after punctuation. Before conjunctions and prepositions is good. Between words that
belong together is bad: article and noun, first and last name, pronoun or auxiliary and verb, negation and the negated
word (BBC Subtitle Guidelines; Netflix Timed Text Style Guide). In languages without a table here, only breaks after
punctuation are good.

Pure.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from livecaption.captions.sentence import ends_sentence

SENTENCE = 0
CLAUSE = 8
OPENER = 20
PLAIN = 40
BOUND = 160
NEVER = 2_000
"""Costs of a break. The unit has no meaning outside this module and `layout`."""

_CLOSERS = "\"'”’»)]」』）】"
_CLAUSE_ENDS = ".,;:…—–、，；：،؛"
"""Characters that end a clause. After three dots the speaker breaks off."""
_CLOSING_WORD = re.compile(r"[)\]}»”’!?:;,.…%‰°–—-]+")
_OPENING_WORD = re.compile(r"[(\[{«“‘„¿¡]+")
_INITIAL = re.compile(r"[^\W\d_]\.")

# Words that are bad at the end of a line. Words of the first table begin a phrase, so a line may well begin with them.
# Words of the second one only belong to the next word: articles, pronouns, auxiliaries, negations, titles.
OPENERS = {
    "en": "and|or|but|nor|so|because|if|when|while|where|whether|although|though|unless|until|since|as|than|that|"
    "which|who|whose|what|how|why|of|to|in|on|at|by|for|from|with|without|into|onto|over|under|about|after|before|"
    "between|through|during|against|among|across|behind|towards?|upon|within",
    "de": "und|oder|aber|denn|sondern|dass|daß|weil|wenn|als|ob|obwohl|während|damit|bevor|nachdem|bis|wie|wo|wer|was|"
    "warum|von|vom|zu|zum|zur|in|im|ins|an|am|ans|auf|aufs|aus|bei|beim|mit|nach|seit|für|gegen|ohne|um|durch|über|"
    "unter|vor|hinter|neben|zwischen|wegen|trotz",
    "fr": "et|ou|mais|donc|or|ni|car|que|qu'.+|qui|quand|lorsque|puisque|(?:lors|puis)qu'.+|si|comme|dont|où|parce|"
    "à|au|aux|de|du|des|d'une?|en|dans|par|pour|sur|sous|avec|sans|chez|vers|entre|contre|depuis|pendant|avant|après",
    "es": "y|e|o|u|pero|sino|ni|que|porque|pues|si|cuando|donde|como|aunque|mientras|quien|a|al|de|del|en|con|sin|por|"
    "para|sobre|entre|hasta|desde|hacia|contra|según|tras|durante",
    "it": "e|ed|o|od|ma|però|né|che|perché|se|quando|dove|come|mentre|anche|chi|cui|a|ad|al|allo|alla|ai|agli|alle|di|"
    "del|dello|della|dei|degli|delle|da|dal|dallo|dalla|dai|dagli|dalle|in|nel|nello|nella|nei|negli|nelle|su|sul|"
    "sullo|sulla|sui|sugli|sulle|con|per|tra|fra|senza|verso|dopo|prima|durante",
    "pt": "e|ou|mas|nem|que|porque|pois|se|quando|onde|como|embora|enquanto|quem|a|ao|aos|à|às|de|do|da|dos|das|em|no|"
    "na|nos|nas|num|numa|com|sem|por|pelo|pela|pelos|pelas|para|sobre|entre|até|desde|contra|após|durante",
}
LEANERS = {
    "en": "a|an|the|my|your|his|her|its|our|their|this|these|those|every|each|some|any|no|i|you|he|she|it|we|they|"
    "there|is|are|was|were|be|been|being|am|have|has|had|do|does|did|will|would|shall|should|can|could|may|might|must|"
    "cannot|not|never|very|[a-z]+(?:n't|'(?:m|re|ve|d|ll))|(?:he|she|it|that|there|what|who)'s|mrs?\\.|ms\\.|dr\\.|prof\\.|st\\.",
    "de": "der|die|das|des|dem|den|ein|eine|einen|einem|einer|eines|kein|keine|keinen|keinem|keiner|mein|meine[nmrs]?|"
    "dein|deine[nmrs]?|sein|seine[nmrs]?|ihr|ihre[nmrs]?|unser|unsere[nmrs]?|diese[nmrs]?|jede[nmrs]?|ich|du|er|sie|es|"
    "wir|man|bin|bist|ist|sind|war|waren|habe|hast|hat|haben|hatte|hatten|werde|wird|werden|wurde|wurden|würde|kann|"
    "können|konnte|muss|müssen|soll|sollen|will|wollen|nicht|nie|sehr|herr|frau|dr\\.|prof\\.",
    "fr": "le|la|les|l'|un|une|mon|ma|mes|ton|ta|tes|son|sa|ses|notre|nos|votre|vos|leur|leurs|ce|cet|cette|ces|chaque|"
    "je|tu|il|elle|on|nous|vous|ils|elles|ne|se|me|te|y|ai|as|a|avons|avez|ont|avait|avaient|est|es|sommes|êtes|sont|"
    "était|étaient|sera|peut|doit|va|pas|[jncmts]'(?:ai|as|a|est|était|avait|avais|ont|y|en)|très|m\\.|mme|dr\\.|prof\\.",
    "es": "el|la|los|las|lo|un|una|unos|unas|mi|mis|tu|tus|su|sus|nuestr[oa]s?|est[ae]|est[oa]s|es[ae]|es[oa]s|cada|yo|"
    "tú|él|ella|nosotros|ellos|ellas|usted|ustedes|me|te|se|nos|le|les|he|has|ha|hemos|han|había|habían|es|son|era|eran|"
    "está|están|puede|debe|va|no|nunca|muy|sr\\.|sra\\.|dr\\.|don|doña",
    "it": "il|lo|la|i|gli|le|l'|un|uno|una|mio|mia|miei|mie|tuo|tua|suo|sua|suoi|sue|nostr[oaie]|vostr[oaie]|"
    "quest[oaie]|ogni|io|tu|lui|lei|noi|voi|loro|mi|ti|si|ci|vi|ne|ho|hai|ha|abbiamo|avete|hanno|aveva|avevano|è|sono|era|erano|"
    "può|deve|va|non|mai|molto|sig\\.|dott\\.|signor|signora",
    "pt": "o|os|as|um|uma|uns|umas|meu|minha|meus|minhas|seu|sua|seus|suas|noss[oa]s?|este|esta|estes|estas|esse|essa|"
    "cada|eu|tu|ele|ela|nós|eles|elas|você|vocês|me|te|lhe|tenho|tem|temos|têm|tinha|tinham|é|são|era|eram|está|estão|"
    "foi|pode|deve|vai|não|nunca|muito|sr\\.|sra\\.|dr\\.|dona",
}

# Scripts that are written without spaces and break between any two characters, with their punctuation. Korean has
# spaces. Thai and related scripts break at words, which only a dictionary can find.
_SPACELESS = re.compile(
    "[\u2e80-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\uff01-\uff9f\U00020000-\U0003fffd]"
)
_NEVER_FIRST = frozenset("ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶーｰ々〻ゝゞヽヾ～〜％%℃°")
"""Characters, apart from closing punctuation, that never begin a line (JIS X 4051)."""
_NEVER_LAST = frozenset("¿¡\"'$¥￥£€")
_JOINER = "\u200d"


@dataclass(frozen=True, slots=True)
class Atom:
    """An indivisible part of a line: a word, or a character of a script without spaces, with its punctuation."""

    text: str
    columns: int
    spaced: bool
    """True if a space precedes it."""


class BreakableText:
    """The atoms of a text, the lines of any part, and the cost of a break before each atom."""

    def __init__(self, text: str, language: str | None, line_length: int) -> None:
        self.atoms = list(_atoms(text, line_length))
        self.n_atoms = len(self.atoms)
        self.break_costs = [0, *(_break_cost(*pair, language or "") for pair in pairwise(self.atoms))]
        self._ends = [0]
        for atom in self.atoms:
            self._ends.append(self._ends[-1] + atom.spaced + atom.columns)

    def columns(self, begin: int, end: int) -> int:
        """Return the width of a line with the atoms from `begin` until just before `end`."""
        return self._ends[end] - self._ends[begin] - self.atoms[begin].spaced

    def line(self, begin: int, end: int) -> str:
        """Return the same atoms as text."""
        return "".join(" " * atom.spaced + atom.text for atom in self.atoms[begin:end]).lstrip(" ")


def _atoms(text: str, line_length: int) -> Iterator[Atom]:
    for n, word in enumerate(text.split()):
        spaced = n > 0
        for piece in _pieces(word, line_length):
            yield Atom(piece, width(piece), spaced)
            spaced = False


def _pieces(word: str, line_length: int) -> Iterator[str]:
    """Cut a word wherever its script breaks without spaces, and wherever it is longer than a line."""
    if width(word) <= line_length and not _SPACELESS.search(word):
        yield word
        return
    piece = before = ""
    for cluster in _clusters(word):
        if piece and (_may_break(before, cluster[0]) or width(piece + cluster) > line_length):
            yield piece
            piece = ""
        piece += cluster
        before = cluster[0]
    yield piece


def _clusters(word: str) -> list[str]:
    """Return the characters, each together with those that combine with it."""
    clusters: list[str] = []
    for character in word:
        if clusters and (width(character) == 0 or clusters[-1].endswith(_JOINER)):
            clusters[-1] += character
        else:
            clusters.append(character)
    return clusters


def _may_break(before: str, after: str) -> bool:
    return (
        bool(_SPACELESS.match(before) or _SPACELESS.match(after))
        and after not in _NEVER_FIRST
        and unicodedata.category(after) not in ("Pe", "Pf", "Po", "Pd")
        and before not in _NEVER_LAST
        and unicodedata.category(before) not in ("Ps", "Pi")
    )


@cache
def _compiled(language: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Compile the tables of a language when they are first needed: all of them take 20 ms."""
    openers, leaners = (table.get(language, "(?!)") for table in (OPENERS, LEANERS))
    return re.compile(openers, re.IGNORECASE), re.compile(leaners, re.IGNORECASE)


def _break_cost(before: Atom, after: Atom, language: str) -> int:
    if _CLOSING_WORD.fullmatch(after.text) or _OPENING_WORD.fullmatch(before.text):
        return NEVER
    openers, leaners = _compiled(language)
    word, next_word = (atom.text.replace("’", "'").lstrip("\"'“„«‘([¿¡") for atom in (before, after))
    if _INITIAL.fullmatch(word) or (word.endswith(".") and leaners.fullmatch(word)):
        return BOUND
    if ends_sentence(word):
        return SENTENCE
    if word.rstrip(_CLOSERS)[-1:] in _CLAUSE_ENDS:
        return CLAUSE
    # Two capitals are mostly a first and a last name.
    named = language in LEANERS and word[:1].isupper() and next_word[:1].isupper()
    if named or openers.fullmatch(word):
        return BOUND
    if openers.fullmatch(next_word):
        return OPENER
    return BOUND if leaners.fullmatch(word) else PLAIN


def width(text: str) -> int:
    """Return the columns that a text takes: two for a full-width character, none for a combining one (UAX #11)."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def shortened(text: str, columns: int) -> str:
    """Return a text of at most so many columns, which ends with an ellipsis if some of it is left out."""
    if width(text) <= columns:
        return text
    while text and width(text) >= columns:
        text = text[:-1]
    return text + "…"


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
