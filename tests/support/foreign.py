"""Clients of other services, as they are on PyPI: the extra `test-clients`."""

import functools
import importlib
import importlib.util
import os
import warnings
from types import ModuleType
from typing import Any

import pytest


class Client:
    """A package that is imported at its first use.

    Each process that shares the tests reads all files, and some of these packages take seconds.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(_imported(self._name), name)


@functools.cache
def _imported(name: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what such a package imports
        return importlib.import_module(name)


def client(name: str) -> Client:
    """Find a package of the extra, or skip the file.

    Continuous integration fails instead, because a skipped test looks like a passed one there.

    Args:
        name: the name of the module.
    """
    package = name.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        if os.environ.get("CI"):
            raise ModuleNotFoundError(package)
        pytest.skip("the tests of foreign clients need them: pip install -e '.[test-clients]'", allow_module_level=True)
    return Client(name)
