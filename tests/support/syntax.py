"""The syntax of a source file, for the tests that hold sources to rules."""

import ast
import functools
from pathlib import Path


@functools.cache
def statements(path: Path) -> tuple[ast.AST, ...]:
    """Return a file's module and all its statements. They are kept, because several tests walk the same files.

    Expressions would be ten times as many.
    """
    found: list[ast.AST] = [ast.parse(path.read_text())]
    for node in found:
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            found += getattr(node, name, ())
    return tuple(found)
