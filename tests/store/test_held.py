"""Callers wait until their entries are written, in order, and not for ever."""

import asyncio
from collections.abc import Callable

from livecaption.store.held import Held, ignore
from tests.support.eventually import eventually


def noting(noted: list[str], name: str) -> Callable[[], None]:
    return lambda: noted.append(name)


async def test_callers_go_on_in_order_once_their_entries_are_written() -> None:
    held, noted = Held(60), []
    held.add(2, noting(noted, "begin"))
    held.add(1, noting(noted, "final"))
    held.note_written(1)
    assert noted == []
    held.note_written(2)
    assert noted == ["begin"]
    held.note_written(3)
    assert noted == ["begin", "final"]
    assert (held.behind, held.n_early) == (False, 0)


async def test_nobody_waits_for_a_store_that_is_behind_until_it_has_caught_up() -> None:
    held, noted = Held(0.01), []
    held.add(1, noting(noted, "one"))
    held.add(1, ignore)
    await eventually(lambda: held.behind)
    held.add(1, noting(noted, "two"))
    assert (noted, held.n_early) == (["one", "two"], 2)
    held.note_written(2)
    assert held.behind
    held.note_written(3)
    held.add(1, noting(noted, "three"))
    assert (noted, held.behind) == (["one", "two"], False)
    held.go_on()
    assert (noted, held.n_early) == (["one", "two", "three"], 3)


async def test_a_caller_that_waits_from_now_on_has_its_full_time() -> None:
    held, noted = Held(0.1), []
    held.add(1, noting(noted, "one"))
    await asyncio.sleep(0.05)
    held.note_written(1)
    held.add(1, noting(noted, "two"))
    await asyncio.sleep(0.07)
    assert (noted, held.behind) == (["one"], False)
    held.note_written(2)
