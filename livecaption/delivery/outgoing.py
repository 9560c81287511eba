"""The texts of one sink that wait, the number of the one that is sent, and what became of the others. Pure.

    push ─> waits ─next─> is sent with a number ─┬─accepted───> the next number
              ^                                  ├─refused────> it waits again; its number is free
              │                                  └─unanswered─> it is sent again with its number
              └──────────────────────────────────────┘

A text that is too old, or too many others wait behind it, is dropped and counted. Captions are no use to people long
after the speech. Nor do they expect in a meeting what was said before it began.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum

from livecaption.delivery.lines import Text

MAX_WAITING = 50
"""Texts that may wait: three minutes of speech."""
MAX_AGE_S = 60.0
"""Age above which a text is not sent any more. More: people read what is long over. Less: a receiver that is away for a
moment loses captions."""
DELAYS_S = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Times between attempts after the first, second, ... failure in a row. The last one counts for all others."""


class SinkState(Enum):
    """The state of a sink: the first row that holds.

    | it was detached, or the server stops | stopped |
    | the newest attempt failed            | failing |
    | a text waits or is being sent        | sending |
    | otherwise                            | waiting |
    """

    WAITING = "waiting"
    SENDING = "sending"
    FAILING = "failing"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Numbered:
    """A text with the number that it is sent with."""

    seq: int
    text: Text


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """The state of a sink for the operator. It has no address and no password.

    Attributes:
        failing_for_s: time since the first failure after the newest success; None: the newest attempt did not fail.
        problem: the reason; None: there is none.
        sent, waiting, dropped: numbers of texts.
    """

    name: str
    service: str
    host: str
    state: str
    failing_for_s: float | None
    problem: str | None
    sent: int
    waiting: int
    dropped: int


class Outgoing:
    """The texts of one sink. Times are those of a monotonic clock.

    Attributes:
        n_sent: texts that the receiver has accepted.
        n_dropped: texts that were dropped.
        needs_beginning: whether nobody knows yet which number comes next.
        failing_since_s: time of the first failure since the newest success; None: there was none.
        problem: the reason of the newest failure, without an address; empty: there was none since the newest success.
    """

    def __init__(self) -> None:
        self.n_sent = self.n_dropped = 0
        self.needs_beginning = True
        self.failing_since_s: float | None = None
        self.problem = ""
        self._waiting: deque[tuple[float, Text]] = deque()
        self._current: tuple[float, Text] | None = None
        self._may_have_arrived = False
        self._seq = 0  # the next number, or the one being used; until it is known, the least that it can be
        self._n_failures = 0
        self._stopped = False

    @property
    def state(self) -> SinkState:
        """See `SinkState`."""
        if self._stopped:
            return SinkState.STOPPED
        if self._n_failures:
            return SinkState.FAILING
        return SinkState.SENDING if self.n_waiting else SinkState.WAITING

    @property
    def n_waiting(self) -> int:
        """Number of texts that wait or are being sent."""
        return len(self._waiting) + (self._current is not None)

    @property
    def newest_seq(self) -> int:
        """The greatest number that is used, or is being used; 0: none is known to be."""
        return max(0, self._seq + (self._current is not None) - 1)

    def begin(self, seq: int) -> None:
        """Begin with this number, or the one after those that are used already."""
        self._seq = max(seq, self._seq)
        self.needs_beginning = False

    def begin_again(self) -> None:
        """Let the next text begin, because other processes of the server may have sent texts. One on its way stays."""
        self.needs_beginning |= self._current is None

    def used(self, seq: int) -> None:
        """Note that another process of the server has sent a text with this number."""
        if not self._may_have_arrived:
            self._seq = max(self._seq, seq + 1)

    def push(self, text: Text, now_s: float) -> None:
        """Take a new text, and drop the oldest one if too many wait."""
        self._waiting.append((now_s, text))
        self._drop_too_many()

    def next(self, now_s: float) -> Numbered | None:
        """Return the text to send now, with its number; None: there is none. Not before `begin`."""
        assert not self.needs_beginning
        self.drop_old(now_s)
        if self._current is None and self._waiting:
            self._current = self._waiting.popleft()
        return None if self._current is None else Numbered(self._seq, self._current[1])

    def drop_old(self, now_s: float) -> None:
        """Drop the texts that are too old."""
        oldest_s = now_s - MAX_AGE_S
        if self._current is not None and self._current[0] < oldest_s:
            # The receiver may have it. So its number is used.
            self._take_next_number()
            self.n_dropped += 1
        while self._waiting and self._waiting[0][0] < oldest_s:
            self._waiting.popleft()
            self.n_dropped += 1

    def accepted(self) -> None:
        """Note that the receiver has the text."""
        self._take_next_number()
        self.n_sent += 1
        self._n_failures = 0
        self.failing_since_s = None
        self.problem = ""

    def failed(self, problem: str, now_s: float, *, may_have_arrived: bool) -> float:
        """Note that an attempt has failed. Return the time in s until the next one.

        Args:
            problem: the reason, for people.
            now_s: the present time.
            may_have_arrived: whether the receiver may have the text. Then the text keeps its number.
        """
        if self.failing_since_s is None:
            self.failing_since_s = now_s
        self.problem = problem
        self._n_failures += 1
        if self._current is not None:  # else the attempt was to find out which number comes next
            self._may_have_arrived |= may_have_arrived
            if not self._may_have_arrived:
                self._waiting.appendleft(self._current)
                self._current = None
                self._drop_too_many()
        return DELAYS_S[min(self._n_failures, len(DELAYS_S)) - 1]

    def stop(self) -> None:
        """Drop all texts."""
        self.n_dropped += self.n_waiting
        self._waiting.clear()
        self._current = None
        self._stopped = True

    def _take_next_number(self) -> None:
        self._seq += 1
        self._current = None
        self._may_have_arrived = False

    def _drop_too_many(self) -> None:
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self.n_dropped += 1
