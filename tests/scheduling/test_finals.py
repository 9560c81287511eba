"""The finals of one class that wait."""

import numpy as np

from livecaption.recognition import RequestId, SessionId, Window
from livecaption.scheduling.finals import WaitingFinals
from livecaption.scheduling.request import Request

MANY_BYTES = 2**30


def final(number: int, asked_s: float | None = None) -> Request:
    at_s = float(number) if asked_s is None else asked_s
    return Request(RequestId(number), SessionId("a"), number, at_s, Window(np.zeros(1600, np.float32)))


def waiting(*requests: Request) -> WaitingFinals:
    finals = WaitingFinals()
    for request in requests:
        finals.add(request)
    return finals


def share(first: Request, other: Request) -> bool:
    return True


def ids(requests: tuple[Request, ...] | list[Request]) -> list[int]:
    return [request.id for request in requests]


def test_a_batch_has_the_oldest_finals_up_to_its_size() -> None:
    finals = waiting(final(1, 3.0), final(2, 1.0), final(3, 2.0))
    assert finals.oldest.id == 2
    assert ids(finals.take(2, MANY_BYTES, share)) == [2, 3]
    assert ids(finals.take(2, MANY_BYTES, share)) == [1]
    assert finals.take(2, MANY_BYTES, share) == ()
    assert finals.oldest is None


def test_a_batch_has_no_more_bytes_than_allowed_unless_one_request_has() -> None:
    finals = waiting(final(1), final(2), final(3))
    each = final(9).n_bytes
    assert ids(finals.take(9, 2 * each, share)) == [1, 2]
    assert ids(finals.take(9, 1, share)) == [3]


def test_a_batch_ends_before_a_final_that_may_not_be_in_it() -> None:
    finals = waiting(final(1), final(2), final(3))
    assert ids(finals.take(9, MANY_BYTES, lambda _, other: other.id != 3)) == [1, 2]
    assert len(finals) == 1


def test_finals_that_nobody_needs_are_removed_and_the_others_keep_their_order() -> None:
    finals = waiting(*(final(number) for number in range(6, 0, -1)))
    assert sorted(ids(finals.remove(lambda request: request.id % 2 == 0))) == [2, 4, 6]
    assert ids(finals.take(9, MANY_BYTES, share)) == [1, 3, 5]
    assert waiting(final(1)).clear()[0].id == 1
