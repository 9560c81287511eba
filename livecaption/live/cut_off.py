"""Leave the sessions of a server to others while it does not reach the store which they share.

cut off ─> sessions that can go on elsewhere are parked, and their publishers and readers are sent away with 1012
  ─> for `ELSEWHERE_S` those publishers are refused here, so that others are asked ─> then they go on here, as the store
  may be gone for all
over ─> sessions that nobody has taken go on here
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from livecaption.errors import Unavailable
from livecaption.live.mirror import MirroredSession
from livecaption.live.registry import SessionRegistry
from livecaption.live.session import LiveSession
from livecaption.live.slots import RETRY_AFTER_S

ELSEWHERE_S = 3.0
"""Time in s in which publishers that were sent away are refused here. A client tries five times in it. Longer: captions
stand still for longer where no server reaches the store. Shorter: more come back to a server that is cut off."""

logger = logging.getLogger(__name__)


class CutOff:
    """The sessions that this server leaves to others while it is cut off. Used by the event loop.

    Args:
        sessions: those of this server.

    Attributes:
        is_now: whether it is cut off.
    """

    def __init__(self, sessions: SessionRegistry) -> None:
        self._sessions = sessions
        self.is_now = False
        self._left: frozenset[str] = frozenset()
        self._refuses_until_s = 0.0
        self._readers: dict[asyncio.Timeout, Callable[[], LiveSession | MirroredSession | None]] = {}

    def note(self, is_now: bool) -> None:
        """Note that this server is cut off, or not any more."""
        self.is_now = is_now
        if is_now:
            self._refuses_until_s = time.monotonic() + ELSEWHERE_S
            self._left = frozenset(session.id for session in self._sessions.send_away())
            logger.error("the transcripts are not reached from here: %d sessions may go on elsewhere", len(self._left))
            for stay, session_of in self._readers.items():
                if self._is_left(session_of()):
                    stay.reschedule(asyncio.get_running_loop().time())
        else:
            self._left = frozenset()
            logger.warning("the transcripts are reached again")

    def check(self) -> None:
        """Check that new streams are best opened here. They are accepted all the same: perhaps no server is better.

        Raises:
            Unavailable: `cut_off`.
        """
        if self.is_now:
            raise _refusal()

    def check_publisher(self, session_id: str) -> None:
        """Check that a publisher may ask here for this session; empty: it asks for none.

        Raises:
            Unavailable: `cut_off`.
        """
        if not self.is_now or not session_id:
            return
        is_elsewhere = session_id in self._left and time.monotonic() < self._refuses_until_s
        if is_elsewhere or self._sessions.known(session_id) is None:
            raise _refusal()

    def check_reader(self, session: LiveSession | MirroredSession | None) -> None:
        """Check that this server may have captions of a session.

        Raises:
            Unavailable: `cut_off`: it is left to other servers, and its publisher is not here.
        """
        if self._is_left(session):
            raise _refusal()

    @asynccontextmanager
    async def reading(self, session_of: Callable[[], LiveSession | MirroredSession | None]) -> AsyncIterator[None]:
        """Let a reader read in this block, which is left once the session of that time is left to other servers."""
        try:
            async with asyncio.timeout(None) as stay:
                self._readers[stay] = session_of
                try:
                    yield
                finally:
                    del self._readers[stay]
        except TimeoutError:
            if not stay.expired():
                raise

    def _is_left(self, session: LiveSession | MirroredSession | None) -> bool:
        if isinstance(session, MirroredSession):
            return self.is_now and not session.hub.is_here  # its captions do not get here
        return session is not None and session.id in self._left and not session.hub.has_publisher


def _refusal() -> Unavailable:
    return Unavailable(
        "this server does not reach the transcripts now; another one may", code="cut_off", retry_after_s=RETRY_AFTER_S
    )
