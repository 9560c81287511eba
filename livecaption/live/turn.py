"""Turns on the event loop: no connection has it for long while others wait.

An await of a result that exists already does not suspend the coroutine. So a peer that always has something ready
would hold the loop until it has nothing more. Pure: the owner of the turn gives way.
"""

MAX_TURN_S = 0.002
"""The longest turn. A hundred busy connections let each other wait for 0.2 s; giving way costs 20 us."""
MAX_STEPS = 64
"""The most steps of a turn, however short they are: frames without meaning take 10 us each."""


class Turn:
    """The use of the loop by one connection since it last gave way."""

    def __init__(self) -> None:
        self.begin()

    def is_over(self, used_s: float) -> bool:
        """Note a step of `used_s` seconds without suspension; return whether to `await asyncio.sleep(0)` now."""
        self._used_s += used_s
        self._n_steps += 1
        if self._used_s < MAX_TURN_S and self._n_steps < MAX_STEPS:
            return False
        self.begin()
        return True

    def begin(self) -> None:
        """Begin a new turn, because others had the loop."""
        self._used_s, self._n_steps = 0.0, 0
