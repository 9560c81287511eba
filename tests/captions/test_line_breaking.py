"""Lines have a width, some text they may not cut, and some places are better to break at."""

from hypothesis import given
from hypothesis import strategies as st

from livecaption.captions.line_breaking import (
    BOUND,
    CLAUSE,
    NEVER,
    OPENER,
    PLAIN,
    SENTENCE,
    BreakableText,
    width,
)
from tests.support.cases import for_each

TEXTS = st.text(
    st.sampled_from(" 你好。「」ァーé́-\"'¿a1한") | st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=200
)


def atoms(text: str, line_length: int = 37) -> list[str]:
    return [atom.text for atom in BreakableText(text, None, line_length).atoms]


@for_each(
    ("text", "columns"),
    [
        ("caption", 7),
        ("字幕", 4),
        ("한국어", 6),
        ("ｶﾀｶﾅ", 4),
        ("cafe\u0301", 4),
        ("नमस्ते", 4),
        ("שָׁלוֹם", 4),
        ("😀", 2),
        ("❤\ufe0f", 1),
    ],
)
def test_a_full_width_character_takes_two_columns_and_a_combining_one_none(text: str, columns: int) -> None:
    assert width(text) == columns


@for_each(
    ("language", "left", "right", "cost"),
    [
        ("en", "home.", "He", SENTENCE),
        ("en", 'home."', "He", SENTENCE),
        ("en", "home,", "he", CLAUSE),
        ("en", "Well...", "no", CLAUSE),
        ("en", "harbor", "and", OPENER),
        ("en", "ships", "in", OPENER),
        ("en", "saw", "ships", PLAIN),
        # Article and noun, pronoun and verb, auxiliary and verb, negation and verb.
        ("en", "the", "ship", BOUND),
        ("en", "“The", "ship", BOUND),
        ("en", "she", "went", BOUND),
        ("en", "don't", "know", BOUND),
        ("en", "don’t", "know", BOUND),
        ("en", "he'll", "go", BOUND),
        ("en", "not", "know", BOUND),
        # A pronoun that is an object.
        ("en", "saw", "it", PLAIN),
        ("en", "it", "because", OPENER),
        # The end of a phrase's first word is no better than the end of an article.
        ("en", "because", "of", BOUND),
        ("en", "and", "to", BOUND),
        # Names, titles, initials.
        ("en", "Margaret", "Thompson", BOUND),
        ("en", "Mr.", "Thompson", BOUND),
        ("en", "F.", "Kennedy", BOUND),
        ("en", "Thompson,", "Margaret", CLAUSE),
        ("de", "mit", "seinem", BOUND),
        ("de", "wartete", "weil", OPENER),
        ("de", "den", "Wald", BOUND),
        ("de", "Frau", "Müller", BOUND),
        ("de", "alte", "Mann", PLAIN),
        ("fr", "la", "salle", BOUND),
        ("fr", "il", "n'est", BOUND),
        ("fr", "n'est", "venu", BOUND),
        ("fr", "dit", "qu'elle", OPENER),
        ("es", "los", "barcos", BOUND),
        ("es", "barcos", "y", OPENER),
        ("it", "della", "casa", BOUND),
        ("it", "casa", "perché", OPENER),
        ("pt", "não", "sei", BOUND),
        ("pt", "casa", "com", OPENER),
        # A language without a table: punctuation only.
        ("nl", "het", "schip", PLAIN),
        ("nl", "schip,", "het", CLAUSE),
        (None, "Margaret", "Thompson", PLAIN),
        # What is written apart in French.
        ("fr", "Bonjour", "!", NEVER),
        ("fr", "«", "Bonjour", NEVER),
        ("fr", "Bonjour", "»", NEVER),
        ("de", "50", "%", NEVER),
        ("en", "wait", "–", NEVER),
        ("en", "–", "wait", CLAUSE),
        ("zh", "你", "好", PLAIN),
        ("zh", "好。", "你", SENTENCE),
        ("zh", "好，", "你", CLAUSE),
    ],
)
def test_a_line_breaks_where_readers_pause_rather_than_between_words_that_belong_together(
    language: str | None, left: str, right: str, cost: int
) -> None:
    text = BreakableText(f"{left} {right}" if left != "你" else left + right, language, 37)
    assert [atom.text for atom in text.atoms] == [left, right]
    assert text.break_costs == [0, cost]


def test_a_break_costs_more_the_more_it_separates() -> None:
    assert SENTENCE < CLAUSE < OPENER < PLAIN < BOUND < NEVER


@for_each(
    ("text", "expected"),
    [
        ("Two \n words\t", ["Two", "words"]),
        ("well-known, isn't it?", ["well-known,", "isn't", "it?"]),
        ("你好。「世界」", ["你", "好。", "「世", "界」"]),
        ("今日はパーティーだった。", ["今", "日", "は", "パー", "ティー", "だっ", "た。"]),
        ("2024年に", ["2024", "年", "に"]),
        ("用AI技术，好！", ["用", "AI", "技", "术，", "好！"]),
        ("“你”好", ["“你”", "好"]),
        # It may open or close.
        ('你"好"', ['你"好"']),
        ("你——好", ["你——", "好"]),
        # Korean has spaces.
        ("안녕하세요 여러분", ["안녕하세요", "여러분"]),
        # A dakuten of its own belongs to what it stands behind.
        ("か\u3099き", ["か\u3099", "き"]),
    ],
)
def test_scripts_without_spaces_break_anywhere_but_before_closing_and_after_opening_punctuation(
    text: str, expected: list[str]
) -> None:
    assert atoms(text) == expected


def test_a_word_longer_than_a_line_is_cut_but_not_between_a_character_and_its_accent() -> None:
    assert atoms("x" * 80) == ["x" * 37, "x" * 37, "x" * 6]
    assert atoms("e\u0301" * 40) == ["e\u0301" * 37, "e\u0301" * 3]
    assert atoms("한" * 40) == ["한" * 18, "한" * 18, "한" * 4]
    assert atoms("👩\u200d🚀" * 2, line_length=4) == ["👩\u200d🚀", "👩\u200d🚀"]


@given(TEXTS, st.sampled_from([None, "en", "ja"]), st.sampled_from([2, 32, 37]))
def test_no_character_is_lost_and_no_atom_is_longer_than_a_line(text: str, language: str | None, length: int) -> None:
    breakable = BreakableText(text, language, length)
    assert " ".join(text.split()) == (breakable.line(0, breakable.n_atoms) if breakable.n_atoms else "")
    assert all(atom.columns <= length for atom in breakable.atoms)
    assert len(breakable.break_costs) == max(1, breakable.n_atoms)


@given(TEXTS, st.data())
def test_the_width_of_a_line_is_that_of_its_text(text: str, data: st.DataObject) -> None:
    breakable = BreakableText("a " + text, "en", 37)
    begin, end = sorted(
        data.draw(
            st.lists(st.integers(0, breakable.n_atoms), min_size=2, max_size=2, unique=True)
            if breakable.n_atoms > 1
            else st.just([0, 1])
        )
    )
    assert breakable.columns(begin, end) == width(breakable.line(begin, end))


@given(TEXTS, st.integers(0, 200))
def test_more_text_changes_no_atom_but_the_last(text: str, n: int) -> None:
    """So a roll-up can number the atoms of text that grows."""
    whole = atoms(text)
    part = atoms(text[:n])
    assert part[:-1] == whole[: max(0, len(part) - 1)]
