"""The batches that a worker has begun: whose deadline counts, and how long each took."""

import pytest

from livecaption.engine.batches import BegunBatches


def test_the_deadline_is_that_of_the_oldest_batch() -> None:
    begun = BegunBatches()
    assert begun.deadline_s is None
    begun.begin(10.0, 0.0)
    begun.begin(20.0, 1.0)
    assert begun.deadline_s == 10.0
    begun.answer(2.0)
    assert begun.deadline_s == 20.0
    begun.answer(3.0)
    assert begun.deadline_s is None


def test_a_batch_alone_takes_the_time_from_its_beginning_to_its_answer() -> None:
    begun = BegunBatches()
    begun.begin(10.0, 5.0)
    assert begun.answer(7.0) == 2.0
    begun.begin(10.0, 100.0)
    assert begun.answer(101.0) == 1.0


def test_batches_at_the_same_time_take_together_as_long_as_time_passes() -> None:
    begun = BegunBatches()
    begun.begin(10.0, 0.0)
    begun.begin(10.0, 1.0)
    begun.begin(10.0, 2.0)
    took_s = [begun.answer(5.0), begun.answer(7.0), begun.answer(8.0)]
    assert took_s == pytest.approx([1 + 1 / 2 + 3 / 3, 1 / 2 + 3 / 3 + 2 / 2, 3 / 3 + 2 / 2 + 1])
    assert sum(took_s) == pytest.approx(8.0)
