"""Exports are laid out few at a time, equal ones once, and none for clients that have gone."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from livecaption.errors import Unavailable
from livecaption.events import Final
from livecaption.server.exports import MAX_AT_A_TIME, MAX_WAITING, RETRY_AFTER_S, Export, Exports
from tests.support.eventually import eventually
from tests.support.transcripts import final

FINALS = [final("One."), final("Two.", 5000, 6000, 1)]
ENDED = Export("one", "srt", 37, None)


class Layouts:
    """Exports with counted layouts that wait for an event of the test."""

    def __init__(self, **kept: Any) -> None:
        self.exports = Exports(**kept)
        self.n_read = 0
        self.n_begun = 0
        self.n_done = 0
        self.may_go_on = threading.Event()

    async def read(self) -> list[Final]:
        self.n_read += 1
        return FINALS

    def lay_out(self, finals: Iterable[Final]) -> str:
        self.n_begun += 1
        assert self.may_go_on.wait(20)
        text = " ".join(final.text for final in finals)
        self.n_done += 1
        return text

    def ask(self, export: Export = ENDED, gone: threading.Event | None = None) -> "asyncio.Task[bytes]":
        is_wanted = (lambda: True) if gone is None else (lambda: not gone.is_set())
        return asyncio.create_task(self.exports.text(export, self.read, self.lay_out, is_wanted))

    async def answer(self, export: Export = ENDED) -> bytes:
        self.may_go_on.set()
        return await self.ask(export)


@asynccontextmanager
async def opened(**kept: Any) -> AsyncIterator[Layouts]:
    layouts = Layouts(**kept)
    yield layouts
    layouts.may_go_on.set()
    layouts.exports.close()


@pytest.fixture
async def layouts() -> AsyncIterator[Layouts]:
    async with opened() as layouts:
        yield layouts


async def test_equal_requests_are_laid_out_once(layouts: Layouts) -> None:
    asked = [layouts.ask() for _ in range(60)]
    await eventually(lambda: layouts.n_begun == 1)
    layouts.may_go_on.set()
    assert await asyncio.gather(*asked) == [b"One. Two."] * 60
    assert (layouts.n_read, layouts.n_begun) == (1, 1)


async def test_texts_that_cannot_change_are_kept_and_others_are_not(layouts: Layouts) -> None:
    for _ in range(3):
        assert await layouts.answer() == b"One. Two."
    assert layouts.n_done == 1
    for n_done in (2, 3):
        await layouts.answer(Export("one", "srt", 37, 2))
        assert layouts.n_done == n_done
    for other in (Export("two", "srt", 37, None), Export("one", "vtt", 37, None), Export("one", "srt", 42, None)):
        before = layouts.n_done
        await layouts.answer(other)
        assert layouts.n_done == before + 1


async def test_kept_texts_have_a_bound_and_the_oldest_goes() -> None:
    made = [Export(str(n), "srt", 37, None) for n in range(4)]
    async with opened(max_kept_bytes=3 * len(b"One. Two.")) as layouts:
        for export in made[:3]:
            await layouts.answer(export)
        await layouts.answer(made[0])  # now the newest
        await layouts.answer(made[3])
        assert layouts.n_done == 4
        for export in (made[2], made[0], made[3]):
            await layouts.answer(export)
        assert layouts.n_done == 4
        await layouts.answer(made[1])
        assert layouts.n_done == 5


async def test_a_text_that_is_greater_than_all_that_is_kept_is_not_kept() -> None:
    async with opened(max_kept_bytes=1) as layouts:
        for n_done in (1, 2):
            await layouts.answer()
            assert layouts.n_done == n_done


async def test_kept_texts_go_after_a_while() -> None:
    async with opened(keep_s=0.0) as layouts:
        await layouts.answer()
        await asyncio.sleep(0.01)  # it goes in a later turn of the loop
        await layouts.answer()
        assert layouts.n_done == 2


async def test_nothing_is_kept_of_a_session_that_is_forgotten(layouts: Layouts) -> None:
    await layouts.answer()
    layouts.exports.forget("one")
    layouts.may_go_on.clear()
    asked = layouts.ask()
    await eventually(lambda: layouts.n_begun == 2)
    layouts.exports.forget("one")  # while it is laid out
    layouts.may_go_on.set()
    await asked
    await layouts.answer()
    assert layouts.n_done == 3


async def test_two_are_laid_out_at_a_time_a_few_wait_and_more_are_refused(layouts: Layouts) -> None:
    n_taken = MAX_AT_A_TIME + MAX_WAITING
    asked = [layouts.ask(Export(str(n), "srt", 37, None)) for n in range(n_taken)]
    await eventually(lambda: layouts.n_begun == MAX_AT_A_TIME)
    with pytest.raises(Unavailable) as refusal:
        await layouts.ask(Export("one more", "srt", 37, None))
    assert (refusal.value.code, refusal.value.retry_after_s) == ("overloaded", RETRY_AFTER_S)
    asked.append(layouts.ask(Export("0", "srt", 37, None)))  # needs no other layout
    await asyncio.sleep(0)
    assert layouts.n_begun == MAX_AT_A_TIME
    layouts.may_go_on.set()
    assert await asyncio.gather(*asked) == [b"One. Two."] * (n_taken + 1)
    await layouts.answer(Export("one more", "srt", 37, None))


async def test_an_export_that_nobody_waits_for_any_more_is_not_finished(layouts: Layouts) -> None:
    gone = threading.Event()
    asked = [layouts.ask(gone=gone), layouts.ask(gone=gone)]
    await eventually(lambda: layouts.n_begun == 1)
    gone.set()
    layouts.may_go_on.set()
    for left in asked:
        with pytest.raises(Unavailable):
            await left
    assert layouts.n_done == 0
    assert await layouts.answer() == b"One. Two."


async def test_an_export_that_one_of_several_still_waits_for_is_made(layouts: Layouts) -> None:
    gone = threading.Event()
    left, waits = layouts.ask(gone=gone), layouts.ask()
    await eventually(lambda: layouts.n_begun == 1)
    gone.set()
    layouts.may_go_on.set()
    assert await waits == await left == b"One. Two."


async def test_a_failure_reaches_all_who_wait_and_the_next_is_tried_again(layouts: Layouts) -> None:
    async def fail() -> list[Final]:
        await asyncio.sleep(0)
        raise OSError("disk")

    asked = [asyncio.create_task(layouts.exports.text(ENDED, fail, layouts.lay_out, lambda: True)) for _ in range(2)]
    assert [type(failure) for failure in await asyncio.gather(*asked, return_exceptions=True)] == [OSError, OSError]
    assert await layouts.answer() == b"One. Two."
