"""The table of conformance in the documents, made from the tests of foreign clients and their pinned versions.

`python -m tests.support.conformance` writes it. A test compares it with the tests.
"""

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "docs" / "clients" / "conformance.md"
FOREIGN = ROOT / "tests" / "foreign"

HEAD = """# Conformance

Clients of other services, as they are published, talk to this server in each run of the tests.
These are their versions, and what is proven with them.
`python -m tests.support.conformance` writes this page from [tests/foreign](../../tests/foreign).
"""


def versions() -> dict[str, str]:
    """Return the pinned version of each client."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    old = (FOREIGN / "old-clients.txt").read_text().splitlines()
    pins = [*extras["test-clients"], *(line for line in old if line.startswith(("deepgram", "websockets", "whisper")))]
    found = [re.fullmatch(r"([\w.-]+)(?:\[\w+\])?==([\w.]+)", pin) for pin in pins]
    table: dict[str, str] = {}
    for match in filter(None, found):
        table[match[1]] = " and ".join(filter(None, (table.get(match[1]), match[2])))
    return table


def sentences(module: Path) -> tuple[str, list[str]]:
    """Return the first line of a module's docstring, and its tests as sentences."""
    tree = ast.parse(module.read_text())
    title = (ast.get_docstring(tree) or "").splitlines()[0].rstrip(".")
    tests = [
        node.name.removeprefix("test_").replace("_", " ")
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    return title, [f"{test[0].upper()}{test[1:]}" for test in tests]


def page() -> str:
    """Return the page."""
    lines = [HEAD, "| client | version |", "|---|---|"]
    lines += [f"| {name} | {version} |" for name, version in sorted(versions().items())]
    for module in sorted(FOREIGN.glob("test_*.py")):
        title, tests = sentences(module)
        lines += ["", f"## {title}", "", *(f"- {test}" for test in tests)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PLACE.parent.mkdir(exist_ok=True)
    PLACE.write_text(page())
