"""One sentence about many values, as one test, and some of the values for a quick run."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from hypothesis import settings

Case = TypeVar("Case")
Test = Callable[..., None]


def spread(cases: Iterable[Case], n_quick: int) -> list[Case]:
    """Return so many of the cases, at even distances. With the thorough profile of Hypothesis, which CI has: all."""
    rows = list(cases)
    if settings.get_current_profile_name() == "thorough":
        return rows
    assert n_quick < len(rows)
    return [rows[number * len(rows) // n_quick] for number in range(n_quick)]


def for_each(names: str | tuple[str, ...], cases: Iterable[Any]) -> Callable[[Test], Test]:
    """Call a test with each of the values, as `pytest.mark.parametrize` does, but as one test.

    A test takes pytest 4 ms with `-n 2`, and most of these compute for microseconds. The first failure ends the test,
    with a note of its values. Fixtures are the same for all values.
    """

    rows = list(cases)
    assert rows

    def decorate(test: Test) -> Test:
        signature = inspect.signature(test)
        own = (names,) if isinstance(names, str) else names

        @functools.wraps(test)
        def run(*args: Any, **fixtures: Any) -> None:
            for case in rows:
                values = dict(zip(own, (case,) if isinstance(names, str) else case, strict=True))
                try:
                    test(*args, **fixtures, **values)
                except BaseException as error:  # failures of pytest are no `Exception`
                    error.add_note(f"with {values}")
                    raise

        others = [parameter for name, parameter in signature.parameters.items() if name not in own]
        run.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
        return run

    return decorate
