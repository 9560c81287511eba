"""Keep the translations that no worker has yet. Pure.

Translations take only the time that finals and partials leave. So there may be too many of them. A session keeps those
of its newest finals; the others are dropped, and their finals stay untranslated.
"""

from collections import deque

from livecaption.recognition import SessionId
from livecaption.scheduling.request import Request

MAX_WAITING = 8
"""Finals of one session whose translations wait, at most: a minute of speech. More: a busy server translates what was
said long ago, and keeps its audio. Fewer: a short burst of speech leaves finals untranslated."""


class WaitingTranslations:
    """The translations that wait, the oldest first."""

    def __init__(self) -> None:
        self._waiting: deque[Request] = deque()
        self.barred: set[SessionId] = set()
        """Sessions that get no more translations."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, request: Request) -> list[Request]:
        """Let a translation wait. Return those that are dropped for that: older ones, or itself."""
        if request.session in self.barred:
            return [request]
        self._waiting.append(request)
        own = [each for each in self._waiting if each.session == request.session]
        kept = sorted({each.utterance for each in own})[-MAX_WAITING:]
        dropped = [each for each in own if each.utterance not in kept]
        for each in dropped:
            self._waiting.remove(each)
        return dropped

    def take(self) -> Request | None:
        """Return the oldest translation, which no longer waits; None: none waits."""
        return self._waiting.popleft() if self._waiting else None

    def bar(self, session: SessionId) -> list[Request]:
        """Take no more translations of this session, because one has crashed its worker. Return those that waited."""
        dropped = [each for each in self._waiting if each.session == session]
        self.forget(session)
        self.barred.add(session)
        return dropped

    def forget(self, session: SessionId) -> None:
        """Forget a session that has ended."""
        self._waiting = deque(each for each in self._waiting if each.session != session)
        self.barred.discard(session)

    def clear(self) -> list[Request]:
        """Return all that wait, and forget them."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting
