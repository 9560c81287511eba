"""Questions and messages between the processes of a server, over real sockets."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from livecaption.server.config import Place
from livecaption.server.siblings import Siblings

QUESTION = "question"
Asked = list[tuple[int, str]]


@asynccontextmanager
async def three(directory: Path, answers: dict[int, object]) -> AsyncIterator[tuple[Siblings, Asked]]:
    """Run three processes with these answers. Yield the second one, and who is asked about what."""
    asked: Asked = []

    def answer(number: int, about: str) -> object:
        asked.append((number, about))
        return answers[number]

    async with AsyncExitStack() as stack:
        found = [
            Siblings(Place(number, 3, str(directory)), {QUESTION: partial(answer, number)}) for number in (1, 2, 3)
        ]
        for each in found:
            await each.open()
            stack.push_async_callback(each.close)
        yield found[1], asked


async def test_a_question_for_all_processes_has_all_answers_by_their_numbers(tmp_path: Path) -> None:
    async with three(tmp_path, {1: "one", 2: "two", 3: "three"}) as (second, _):
        assert list((await second.ask(QUESTION)).items()) == [(1, "one"), (2, "two"), (3, "three")]


async def test_a_question_for_the_others_is_not_answered_by_the_process_that_asks(tmp_path: Path) -> None:
    async with three(tmp_path, {1: "one", 2: "two", 3: "three"}) as (second, asked):
        assert await second.ask_others(QUESTION, "this") == {1: "one", 3: "three"}
        assert sorted(asked) == [(1, "this"), (3, "this")]


async def test_processes_that_have_handed_a_request_over_are_not_asked_whether_they_take_it(tmp_path: Path) -> None:
    async with three(tmp_path, {1: True, 2: True, 3: False}) as (second, asked):
        assert await second.first_that(QUESTION) == 1
        asked.clear()
        assert await second.first_that(QUESTION, apart_from={1}) is None
        assert asked == [(3, "")]


async def test_a_process_that_does_not_answer_is_left_out(tmp_path: Path) -> None:
    async with three(tmp_path, {1: "one", 2: "two", 3: "three"}) as (second, _):
        (tmp_path / "3.socket").unlink()
        assert await second.ask(QUESTION) == {1: "one", 2: "two"}
