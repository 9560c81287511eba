"""Documents agree with the code, their links resolve, and they are written in plain English."""

import ast
import functools
import inspect
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from livecaption import events, messages
from livecaption.cli import serve
from livecaption.config import OPTIONS, Config
from livecaption.errors import Unavailable
from livecaption.events import CaptionWord, Event, Final, Partial, Snapshot
from livecaption.live.dialects import commands, native
from livecaption.server import build_app, http, transcripts
from livecaption.server.services import METRICS, SERVICES
from livecaption.speech.endpointing import PRESETS, EndpointingConfig
from livecaption.store.config import StoreConfig
from tests.support import conformance
from tests.support.cases import for_each

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "livecaption"
SOURCES = sorted(PACKAGE.rglob("*.py"))
DOCUMENTS = sorted(
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
)
SHORT = {"README.md": 130, "ARCHITECTURE.md": 130}
"""Lines that a document may have."""


def text(name: str) -> str:
    return (ROOT / name).read_text()


def without_code(document: str) -> str:
    """Return the prose: no fenced blocks, no code spans."""
    return re.sub(r"`[^`\n]*`", "``", re.sub(r"^```.*?^```$", "", document, flags=re.MULTILINE | re.DOTALL))


def fenced(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)


# Documents and code


@functools.cache
def codes() -> set[str]:
    """Return every error code of the package."""
    sources = "\n".join(path.read_text() for path in SOURCES)
    return set(re.findall(r'(?:default_code(?:: ClassVar\[str\])?|\bcode) ?= ?"(\w+)"', sources))


def test_the_protocol_lists_every_error_code() -> None:
    protocol = text("docs/protocol.md")
    assert len(codes()) > 20
    assert {code for code in codes() if f"`{code}`" not in protocol} == set()


def test_the_protocol_lists_no_code_that_does_not_exist() -> None:
    table = text("docs/protocol.md").partition("\n## Errors\n")[2].partition("\n## ")[0]
    listed = {
        code for row in re.findall(r"^\| (`\w.*?) \|", table, re.MULTILINE) for code in re.findall(r"`(\w+)`", row)
    }
    sources = "\n".join(path.read_text() for path in SOURCES)
    assert {code for code in listed if f'"{code}"' not in sources} == set()


def option_row(flag: str) -> list[str]:
    """Return the cells of the option's row in docs/operating.md."""
    rows = re.findall(rf"^\| `--{flag}` \|.*\|$", text("docs/operating.md"), re.MULTILINE)
    assert len(rows) == 1, f"--{flag} has {len(rows)} rows"
    return [cell.strip() for cell in rows[0].strip("|").split("|")]


@for_each("option", OPTIONS)
def test_the_manual_has_every_option_with_its_key_and_its_default(option: Any) -> None:
    _, key, default, meaning = option_row(option.flag)
    assert key == f"`{option.section}.{option.key}`"
    assert meaning
    actual = getattr(getattr(serve.defaults(), option.section), option.key)
    if option.flag == "store":  # a path that depends on the user
        assert default == "a file in the user's data directory"
        return
    if actual is None:
        assert default == "`auto`"
    elif actual is False:
        assert default == "off"
    elif actual in ("", ()):
        assert default.startswith(("none", "`tiny.en`"))
    else:
        assert default == f"`{actual:g}`" if isinstance(actual, float) else default == f"`{actual}`"


def test_the_manual_has_no_option_that_does_not_exist() -> None:
    rows = re.findall(r"^\| `--([\w-]+)` \| `", text("docs/operating.md"), re.MULTILINE)
    assert sorted(rows) == sorted(option.flag for option in OPTIONS)


def test_the_manual_has_every_exit_code() -> None:
    manual = text("docs/operating.md").partition("\n## Exit codes\n")[2].partition("\n## ")[0]
    programs = (path for path in SOURCES if path.relative_to(PACKAGE).parts[0] in ("server", "cli"))
    sources = "\n".join(path.read_text() for path in programs)
    numbers = set(
        re.findall(r"^(?:EXIT_\w+|FAILED|WRONG_USAGE|ENGINE_UNUSABLE|INTERRUPTED) = (\d+)$", sources, re.MULTILINE)
    )
    assert numbers
    assert {number for number in numbers if f"| {number} |" not in manual} == set()


async def metric_names(store: Path) -> set[str]:
    """Return the names of all metrics, as Prometheus sees them on a server that does not run yet."""
    app = build_app(Config(store=StoreConfig(str(store))))
    services = app[SERVICES]
    services.pool.counts.audio_s = 1.0  # without audio there is no real-time factor
    app[METRICS].certificate_expiry = lambda: datetime.now(UTC)
    assert services.store is not None
    await services.store.open()
    exposition = (await app[METRICS].exposition()).decode()
    await services.store.close()
    return set(re.findall(r"^# TYPE (livecaption_\w+)(?<!_created) ", exposition, re.MULTILINE))


async def test_the_monitoring_guide_lists_exactly_the_metrics_there_are(tmp_path: Path) -> None:
    guide = text("docs/monitoring.md")
    listed = set(re.findall(r"^\| `(livecaption_\w+)(?:\{[\w,]+\})?` \|", guide, re.MULTILINE))
    assert len(listed) > 30
    of_several_processes = {"livecaption_process_up"}
    assert listed == await metric_names(tmp_path / "transcripts.db") | of_several_processes


def event_types() -> dict[str, type[Event]]:
    return {kind.type: kind for kind in get_args(Event)}


def test_the_protocol_describes_every_event_and_every_field_of_it() -> None:
    protocol = text("docs/protocol.md")
    for name, kind in event_types().items():
        section = protocol.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
        assert section, f"no section for {name}"
        for field in fields(kind):
            assert re.search(rf'["`.]{field.name}["`]', section), f"{name}.{field.name}"


def test_the_protocol_describes_every_field_of_start_and_its_default() -> None:
    section = text("docs/protocol.md").partition("\n### start\n")[2].partition("\n### ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", section, re.MULTILINE))
    settings = {each.name: each.default for each in fields(messages.StreamSettings)}
    assert settings.keys() == rows.keys() - {"resume", *PRESETS}
    words = {
        "channels": "1; 2 for `auto` with `separate`",
        "endpointing": "the server's",
        **dict.fromkeys(("prompt", "title", "room"), "none"),
    }
    for name, default in settings.items():
        value = list(default) if isinstance(default, tuple) else default
        expected = words.get(name, value if isinstance(value, str) else json.dumps(value))
        assert rows[name] in (expected, f"`{expected}`"), name


def test_the_protocol_has_the_presets_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) ms \| (\d+) ms \| (\d+) s \|$", text("docs/protocol.md"), re.MULTILINE)
    assert {name: tuple(map(int, numbers)) for name, *numbers in rows} == {
        name: (preset.hangover_ms, preset.mid_phrase_hangover_ms, preset.max_utterance_ms // 1000)
        for name, preset in PRESETS.items()
    }


# The examples of the protocol


def event_of(example: dict[str, Any]) -> Event:
    """Build the event that an example shows."""
    kind = event_types()[example["type"]]
    values = {name: value for name, value in example.items() if name not in ("type", "seq")}
    if example.get("words"):
        values["words"] = tuple(CaptionWord(**word) for word in example["words"])
    if example.get("turns"):
        values["turns"] = tuple(events.Turn(**turn) for turn in example["turns"])
    if kind is events.Room:
        values["parts"] = tuple(events.RoomPart(**part) for part in example["parts"])
    if kind is Snapshot:
        values["finals"] = tuple(Final(**final) for final in example["finals"])
        values["partial"] = Partial(**example["partial"])
    return kind(**values)


EXAMPLES = [json.loads(block) for block in fenced(text("docs/protocol.md"), "json")]
MESSAGES = ("start", "flush", "stop", "ping", "name")
MESSAGE_EXAMPLES = [example for example in EXAMPLES if example.get("type") in MESSAGES and "seq" not in example]
EVENT_EXAMPLES = [
    example for example in EXAMPLES if example.get("type") in event_types() and example not in MESSAGE_EXAMPLES
]


@for_each("example", EVENT_EXAMPLES)
def test_an_example_of_an_event_is_what_the_server_sends(example: dict[str, Any]) -> None:
    assert json.loads(messages.encode(event_of(example), example.get("seq"))) == example


@for_each(
    "example",
    MESSAGE_EXAMPLES,
)
def test_an_example_of_a_clients_message_is_accepted(example: dict[str, Any]) -> None:
    kinds = {
        "start": commands.Open,
        "flush": commands.Flush,
        "stop": commands.Finish,
        "ping": commands.Ping,
        "name": commands.NameSpeaker,
    }
    kind = commands.Reattach if "resume" in example else kinds[example["type"]]
    assert isinstance(native.parse(json.dumps(example), EndpointingConfig()), kind)


def test_every_message_and_every_event_has_an_example() -> None:
    assert {example["type"] for example in EVENT_EXAMPLES} == set(event_types())
    assert set(MESSAGES) <= {example.get("type") for example in EXAMPLES}


def test_the_example_of_a_refusal_is_what_the_server_answers() -> None:
    [example] = [example for example in EXAMPLES if "code" in example and "type" not in example]
    answer = http.error_response(Unavailable(example["message"], retry_after_s=example["retry_after_s"]))
    assert json.loads(str(answer.text)) == example


def test_the_other_examples_have_the_fields_that_the_server_answers() -> None:
    [info] = [example for example in EXAMPLES if "version" in example]
    [session] = [json.loads(block) for block in fenced(text("docs/transcripts-and-privacy.md"), "json")]
    for example, module in ((info, http), (info["model"], http), (session, transcripts)):
        source = inspect.getsource(module)
        assert [name for name in example if f'"{name}":' not in source] == []
    assert len(EXAMPLES) == len(EVENT_EXAMPLES) + len(MESSAGE_EXAMPLES) + 2


# The fault matrix


def rows_of_tests() -> set[tuple[int, str]]:
    """Return each row that a test's docstring names, with the test; a module counts with its file name."""
    found = set()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        source = path.read_text()
        if not re.search(r"\bRows? \d", source):
            continue
        module = ast.parse(source)
        classes = [each for each in module.body if isinstance(each, ast.ClassDef)]
        for node in (module, *module.body, *(method for each in classes for method in each.body)):
            if not isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for numbers in re.findall(r"\bRows? (\d[\d, and]*)", ast.get_docstring(node) or ""):
                name = path.name if isinstance(node, ast.Module) else node.name
                found |= {(int(number), name) for number in re.findall(r"\d+", numbers)}
    return found


def test_the_fault_matrix_names_the_tests_of_each_row() -> None:
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]*) \|$", text("docs/fault-matrix.md"), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    listed = {(int(number), name) for number, cell in rows for name in re.findall(r"`(test_[\w.]+)`", cell)}
    assert rows_of_tests() - listed == set()
    files = list((ROOT / "tests").rglob("test_*.py"))
    tests = {name for path in files for name in re.findall(r"\bdef (test_\w+)\(", path.read_text())}
    assert {name for _, name in listed} - tests - {path.name for path in files} == set()


# Links and lengths


@functools.cache
def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(document: Path) -> list[str]:
    broken = []
    prose = without_code(document.read_text())
    for link in re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:src|href)="([^"]+)"', prose):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{document.relative_to(ROOT)}: {link}")
    return broken


def test_every_link_leads_somewhere() -> None:
    assert [link for document in DOCUMENTS for link in broken_links(document)] == []


def test_the_table_of_conformance_is_that_of_the_tests() -> None:
    assert text("docs/clients/conformance.md") == conformance.page(), "python -m tests.support.conformance"


@pytest.mark.parametrize("name", SHORT)
def test_a_document_that_everybody_reads_is_short(name: str) -> None:
    assert len(text(name).splitlines()) <= SHORT[name]


def test_the_readme_leads_to_every_document() -> None:
    guides = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} | {
        path.name for path in ROOT.glob("*.md") if path.name != "README.md"
    }
    assert {guide for guide in guides if f"]({guide})" not in text("README.md")} == set()


def decisions() -> list[str]:
    return sorted(path.name for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))


def test_the_index_lists_every_decision() -> None:
    index = text("docs/decisions/README.md")
    assert [int(name[:4]) for name in decisions()] == list(range(1, len(decisions()) + 1))
    assert [name for name in decisions() if f"]({name})" not in index] == []


def test_a_decision_has_all_its_parts() -> None:
    parts = ["Context", "Decision", "Evidence", "Rejected", "Consequences"]
    headings = {name: re.findall(r"^## (.*)$", text(f"docs/decisions/{name}"), re.MULTILINE) for name in decisions()}
    assert {name: found for name, found in headings.items() if found != parts} == {}


def test_every_decision_that_code_names_exists() -> None:
    numbers = {name[:4] for name in decisions()}
    named = set()
    for path in [*SOURCES, *(path for path in (ROOT / "packaging").rglob("*") if path.is_file())]:
        for link in re.findall(r"decisions/(\d{4}[\w-]*(?:\.md)?)", path.read_text()):
            assert link in numbers or link in decisions(), f"{path.relative_to(ROOT)}: {link}"
            named.add(link[:4])
    assert named


# Plain English

BANNED = re.compile(r"\b(anew|of late|in vain|lest|whoever|whomever|hence|whatever)\b", re.IGNORECASE)
PERSONIFIED = re.compile(
    r"\b(tells?|told|(?<!people )hear|hears|heard|(?<!nobody )says"
    # "Nobody knows", "anyone who knows", and a table of tasks speak of people.
    r"|(?<!nobody )(?<!anybody who )(?<!anyone who )(?<!say and )(?<!\| )(?:know|knows|knew))\b",
    re.IGNORECASE,
)
"""Verbs of people, which machines do not do: they send, receive and report."""
PRIVATE = re.compile(r"\b(lets? (?:\w+ )?in|let go|hurr(?:y|ies|ied)|in a hurry)\b", re.IGNORECASE)
"""Words of our own for a term of the field: admit, accept, close, shorten a time-out."""
OPENERS = re.compile(r"(Of|For|As|Until|Who|Whom|Whose|Where|What|Whether|How|Else|Though|Those|When)\b")
"""Words that no docstring begins with, because its first sentence has a subject or is an imperative."""
CLAUSE_SUBJECTS = re.compile(r"(?:^|[.:;] |\| |- )(Who|Whoever|Whom|Nobody who)\b(?![^.|\n]*\?)")
"""A free relative clause as a subject: "Who asks ..."."""
WORDS = (BANNED, PERSONIFIED, PRIVATE)
TESTS = sorted((ROOT / "tests").rglob("*.py"))
COMMENT = re.compile("#[#: ]*(.*)")
STRING = re.compile(r'"{3}(.*?)"{3}', re.DOTALL)
NAMES = re.compile(r"^(who|whose|whom|what) ")
"""The name of a test, read as a sentence, may not begin with these."""


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield each comment, and what follows a "#" in a string: a tokenizer would need longer than all other tests."""
    number, read = 1, 0
    for comment in COMMENT.finditer(source):
        number += source.count("\n", read, read := comment.start())
        yield number, comment[1]


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield each string in triple quotes that begins a line: docstrings, and those below attributes and constants.

    A parser would need longer than all other tests.
    """
    number, read = 1, 0
    for string in STRING.finditer(source):
        number += source.count("\n", read, read := string.start())
        if source[source.rfind("\n", 0, read) + 1 : read].strip() in ("", "r"):
            yield number, string[1].strip()


def english_faults(path: Path) -> list[str]:
    """Return what a module's docstrings and comments break."""
    source = path.read_text()
    strings = list(docstrings(source))
    found = [
        (line, match[0].strip())
        for line, words in (*comments(source), *strings)
        for rule in (*WORDS, CLAUSE_SUBJECTS)
        for match in rule.finditer(words)
    ]
    found += [(line, f"{match[0]} ...") for line, words in strings if (match := OPENERS.match(words))]
    return [f"{path.relative_to(ROOT)}:{line}: {fault}" for line, fault in sorted(found)]


def test_the_documents_are_in_plain_english() -> None:
    faults = [
        f"{document.relative_to(ROOT)}: {match[0].strip()} ({line[:60]})"
        for document in DOCUMENTS
        # The rule itself names the words.
        for line in re.sub(r'"[^"\n]*"', '""', without_code(document.read_text())).splitlines()
        for rule in (*WORDS, CLAUSE_SUBJECTS)
        for match in rule.finditer(line)
    ]
    assert faults == []


def test_docstrings_and_comments_are_in_plain_english() -> None:
    assert [fault for module in (*SOURCES, *TESTS) for fault in english_faults(module)] == []


def test_names_of_tests_are_in_plain_english() -> None:
    names = [
        match[1].replace("_", " ")
        for module in TESTS
        for match in re.finditer(r"^ *(?:async )?def test_(\w+)", module.read_text(), re.MULTILINE)
    ]
    assert len(names) > 1000
    assert [name for name in names for rule in (*WORDS, NAMES) if rule.search(name)] == []
