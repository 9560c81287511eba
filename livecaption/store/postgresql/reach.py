"""Decide whether this server alone has lost a database that other servers use. Pure.

Nobody can be asked, so this follows from the failures. A machine that refuses connections, or a database
that starts or stops, is in the same state for all servers. Silence and refusals of this server's own are not. A server
that was alone on its database when it last reached it is never cut off.
"""

CUT_OFF_S = 5.0
"""Time in s without the database from which a server is cut off. PostgreSQL has freed its lock by then: see
`connecting.KEEPALIVES`. Longer: more captions are sent that another server may make again. Shorter: a network that
loses packets for a moment costs everybody a new connection."""
MIN_FAILURES = 2
"""Failed looks in a row. After a pause of the server itself the first one may fail although the answer has come."""


class Reach:
    """The state of the way to the database. Time is an argument, in s of one clock.

    Args:
        now_s: the present time, at which the database was reached.
        n_others: the number of other servers that use it.
    """

    def __init__(self, now_s: float, n_others: int) -> None:
        self.note_reached(now_s)
        self.note_others(n_others)

    def note_reached(self, now_s: float) -> None:
        """Note that the database has answered."""
        self._reached_s = now_s
        self._n_failures = 0
        self._is_down = False

    def note_others(self, n_others: int) -> None:
        """Note how many other servers use the database."""
        self._n_others = n_others

    def note_failure(self, *, is_down: bool) -> None:
        """Note that the database was not reached. `is_down`: no other server can reach it either."""
        self._n_failures += 1
        self._is_down = is_down

    def is_cut_off(self, now_s: float) -> bool:
        """Return True if other servers may reach the database, and this one has not for `CUT_OFF_S`."""
        is_lasting = now_s - self._reached_s >= CUT_OFF_S and self._n_failures >= MIN_FAILURES
        return is_lasting and not self._is_down and self._n_others > 0
