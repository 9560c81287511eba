"""Only the newest connections that name a session wait for their `start`."""

from contextlib import ExitStack
from typing import cast

from livecaption.errors import LivecaptionError
from livecaption.live.claims import Claims
from livecaption.live.peer import Socket


class Refusable:
    """A connection that notes why it is refused."""

    def __init__(self) -> None:
        self.refusals: list[str] = []

    def fail(self, error: LivecaptionError) -> None:
        self.refusals.append(error.code)


def test_the_oldest_of_too_many_is_refused_and_one_that_has_left_is_not_counted() -> None:
    claims = Claims(2)
    sockets = [Refusable() for _ in range(4)]
    waiting = [ExitStack() for _ in sockets]
    for socket, stack in zip(sockets[:3], waiting, strict=False):
        stack.enter_context(claims.waiting("one", cast(Socket, socket)))
    assert [socket.refusals for socket in sockets] == [["overloaded"], [], [], []]
    waiting[1].close()
    waiting[3].enter_context(claims.waiting("one", cast(Socket, sockets[3])))
    assert [len(socket.refusals) for socket in sockets] == [1, 0, 0, 0]
    for stack in waiting:
        stack.close()
    assert claims._claims == {}


def test_connections_of_other_sessions_push_nobody_out() -> None:
    claims = Claims(1)
    one, other = Refusable(), Refusable()
    with claims.waiting("one", cast(Socket, one)), claims.waiting("other", cast(Socket, other)):
        assert one.refusals == other.refusals == []
