"""Clients of other services, as they are on PyPI: the extra `test-clients`."""

import importlib
import os
import warnings
from types import ModuleType

import pytest


def client(name: str) -> ModuleType:
    """Import a package of the extra, or skip the file.

    Continuous integration fails instead, because a skipped test looks like a passed one there.

    Args:
        name: the name of the module.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what such a package imports
        if os.environ.get("CI"):
            return importlib.import_module(name)
        reason = "the tests of foreign clients need them: pip install -e '.[test-clients]'"
        return pytest.importorskip(name, reason=reason)
