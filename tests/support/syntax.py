"""The syntax of a source file, for the tests that hold sources to rules."""

import ast
import functools
import re
import textwrap
from pathlib import Path

IMPORT = re.compile(r"^[ \t]*(?:from [\w.]+ import (?:\([^)]*\)|.*)|import .*)", re.MULTILINE)
STRING = re.compile(r'"{3}.*?"{3}', re.DOTALL)


@functools.cache
def imported_names(path: Path) -> frozenset[str]:
    """Return the dotted names that a module imports, wherever in the file, those for type checkers included.

    Only these lines are parsed. All lines of the package would take twenty times as long.
    """
    names = set()
    lines = IMPORT.findall(STRING.sub("", path.read_text()))
    for node in ast.parse("\n".join(map(textwrap.dedent, lines))).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)
