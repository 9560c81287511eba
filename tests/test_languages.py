"""The pages' catalogues have every text that people see, and nothing else."""

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

STATIC = Path(__file__).resolve().parents[1] / "static"
CATALOGUES = sorted((STATIC / "languages").glob("*.json"))

# As in language.js.
ATTRIBUTES = {"action", "alt", "aria-label", "aria-valuetext", "placeholder", "title"}
INLINE = {"a", "code", "kbd", "strong"}
EMPTY = {"img", "input", "link", "meta", "path", "rect"}

NAMES = {"livecaption", "WebVTT", "Zoom", "YouTube Live", "StreamText"}

STRING = r'"(?:[^"\\\n]|\\.)*"'
TOKEN = re.compile(rf"//[^\n]*|/\*.*?\*/|(?P<string>{STRING})|(?P<template>`(?:[^`\\]|\\.)*`)", re.DOTALL)
CALL = re.compile(rf"(?<![\w.#])t\(\s*(?P<text>{STRING}(?:\s*\+\s*{STRING})*)?")


@dataclass
class Element:
    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list["Element | str"] = field(default_factory=list)

    @property
    def words(self) -> str:
        return "".join(child if isinstance(child, str) else child.words for child in self.children)

    def texts(self) -> list[str]:
        """Return what language.js looks up."""
        found = [value for name, value in self.attributes.items() if name in ATTRIBUTES]
        texts = [child for child in self.children if isinstance(child, str) and child.strip()]
        elements = [child for child in self.children if isinstance(child, Element)]
        marked = [element for element in elements if element.tag in INLINE]
        if texts and marked:
            assert elements == marked, f"a sentence with {[element.tag for element in elements]} in it"
            numbers = {id(element): i for i, element in enumerate(marked, 1)}
            parts = [
                child if isinstance(child, str) else f"<{numbers[id(child)]}>{child.words}</{numbers[id(child)]}>"
                for child in self.children
            ]
            return [*found, one_line("".join(parts))]
        found += [one_line(text) for text in texts]
        return found + [text for element in elements for text in element.texts()]


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.open = [Element("")]
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in EMPTY:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY:
            assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)

    def texts(self) -> list[str]:
        [root] = self.open
        return root.texts()


def one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def is_translated(text: str) -> bool:
    """Names, keys, signs and abbreviations are the same in all languages."""
    return text not in NAMES and re.search("[a-z]{2}", text) is not None


def code_of(script: Path) -> str:
    """Return a script without comments."""
    return TOKEN.sub(lambda token: token[0] if token["string"] or token["template"] else "", script.read_text())


def literal(strings: str) -> str:
    """Return the value of string literals that are joined by `+`."""
    return "".join(json.loads(string) for string in re.findall(STRING, strings))


def texts_of_scripts() -> set[str]:
    found = set()
    for script in sorted(STATIC.glob("*.js")):
        for call in CALL.finditer(code_of(script)):
            if script.name == "language.js":
                continue
            assert call["text"], f"{script.name}: t() takes its English text as a literal"
            found.add(literal(call["text"]))
    return found


def texts_of_pages() -> set[str]:
    pages = [Page(path.read_text()) for path in STATIC.glob("*.html")]
    return {text for page in pages for text in page.texts() if is_translated(text)}


def catalogue(path: Path) -> dict[str, str]:
    def once(pairs: list[tuple[str, str]]) -> dict[str, str]:
        assert len(dict(pairs)) == len(pairs), "a text occurs twice"
        return dict(pairs)

    found: dict[str, str] = json.loads(path.read_text(), object_pairs_hook=once)
    return found


def placeholders(text: str) -> list[str]:
    """Return what a translation must keep: values, marks of elements, and what is typed."""
    return sorted(re.findall(r"\{\w+\}|</?\d>|`[^`]*`", text))


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_a_catalogue_has_each_text_of_the_pages_and_no_other(path: Path) -> None:
    shown = texts_of_pages() | texts_of_scripts()
    translated = catalogue(path).keys()
    assert sorted(shown - translated) == [], "without a translation"
    assert sorted(translated - shown) == [], "not in the pages"


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_a_translation_keeps_the_values_and_marks_of_its_text(path: Path) -> None:
    entries = catalogue(path).items()
    assert [text for text, words in entries if placeholders(text) != placeholders(words)] == []
    assert [text for text, words in entries if words != words.strip() or words == ""] == []


def test_each_catalogue_is_in_the_list_of_languages() -> None:
    [listed] = re.findall(r"^const TRANSLATED = (\[.*\]);$", (STATIC / "language.js").read_text(), re.MULTILINE)
    assert json.loads(listed) == [path.stem for path in CATALOGUES]


def test_sentences_in_scripts_are_translated() -> None:
    """A sentence begins with a capital and has several words. Causes of errors are technical."""
    left = []
    for script in sorted(STATIC.glob("*.js")):
        code = re.sub(r"\b(?:Type|Range)?Error\(\s*(?:`[^`]*`|\"[^\"]*\")", "", code_of(script))
        code = CALL.sub("", code)
        left += [token[0] for token in TOKEN.finditer(code) if re.match(r"[\"`][A-Z].* [a-z]", token[0])]
    assert left == []
