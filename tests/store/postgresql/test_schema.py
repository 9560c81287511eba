"""Each step has a note whether a program without it can use the database after it."""

from livecaption.store.postgresql.schema import MIGRATIONS, VERSION, Step, oldest
from tests.support.cases import for_each

ADDS, BREAKS = Step("", is_for_all=True), Step("", is_for_all=False)


@for_each(
    ("steps", "expected"),
    [((), 0), ((BREAKS,), 1), ((BREAKS, ADDS), 1), ((BREAKS, ADDS, BREAKS), 3), ((BREAKS, ADDS, ADDS), 1)],
)
def test_a_program_needs_all_steps_up_to_the_last_that_is_not_for_all(steps: tuple[Step, ...], expected: int) -> None:
    assert oldest(steps) == expected


def test_the_first_step_makes_the_tables() -> None:
    assert not MIGRATIONS[0].is_for_all
    assert len(MIGRATIONS) == VERSION
