"""The syntax of a source file, for the tests that hold sources to rules."""

import ast
import functools
from pathlib import Path


@functools.cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Return all nodes of a file, from the outside in. They are kept, because several tests walk the same files."""
    return tuple(ast.walk(ast.parse(path.read_text())))
