"""Numbers without gaps, and readers that hurt only themselves."""

import json

from livecaption.events import Ack
from livecaption.server.hub import Hub


class Reader:
    """Takes what it is offered, up to a limit."""

    def __init__(self, limit: int) -> None:
        self.got: list[int] = []
        self._limit = limit

    def offer(self, message: str) -> bool:
        if len(self.got) == self._limit:
            return False
        self.got.append(json.loads(message)["seq"])
        return True


def test_events_are_numbered_from_one_without_gaps_and_reach_every_reader() -> None:
    hub, early, late = Hub(), Reader(99), Reader(99)
    hub.attach(early)
    hub.publish(Ack(1))
    hub.attach(late)
    hub.publish(Ack(2))
    hub.publish(Ack(3))
    assert (early.got, late.got) == ([1, 2, 3], [2, 3])


def test_a_reader_that_refuses_is_left_alone_and_the_others_miss_nothing() -> None:
    hub, full, other = Hub(), Reader(1), Reader(99)
    hub.attach(full)
    hub.attach(other)
    for _ in range(3):
        hub.publish(Ack(1))
    assert (full.got, other.got) == ([1], [1, 2, 3])
