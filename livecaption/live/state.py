"""The states of a live session, as a table, and why it ends. Pure.

STREAMING <--publisher lost, publisher back--> PARKED <-- the server died, and another took the session over
    └──────────┬───────────────────────────────┘
   stop, clean close, drain, fatal error, nobody back in time
               ▼
           DRAINING --last final out--> ENDED; remembered for a while
"""

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from livecaption.errors import LivecaptionError


class State(Enum):
    """The state of a session."""

    STREAMING = "streaming"  # its publisher is connected, and its audio is taken
    PARKED = "parked"  # its publisher's connection is lost, and may come back within the resume window
    DRAINING = "draining"  # takes no more audio; finals are still awaited
    ENDED = "ended"  # all finals and `end` are out


class Happening(Enum):
    """The things that can happen to a session."""

    PUBLISHER_LOST = "its publisher is lost"
    PUBLISHER_BACK = "its publisher is back"
    AUDIO_OVER = "its audio is over"
    FAILED = "it failed"
    LAST_FINAL_OUT = "its last final is out"


class IllegalTransition(Exception):
    """Something that cannot happen in this state: a mistake of ours, never of a peer."""


_S, _H = State, Happening

TRANSITIONS: dict[State, dict[Happening, State]] = {
    _S.STREAMING: {
        _H.PUBLISHER_LOST: _S.PARKED,
        _H.PUBLISHER_BACK: _S.STREAMING,  # over a second connection, before the first was noticed to be lost
        _H.AUDIO_OVER: _S.DRAINING,
        _H.FAILED: _S.DRAINING,
    },
    # No connection is left to be lost.
    _S.PARKED: {
        _H.PUBLISHER_BACK: _S.STREAMING,
        _H.AUDIO_OVER: _S.DRAINING,
        _H.FAILED: _S.DRAINING,
    },
    _S.DRAINING: {
        _H.PUBLISHER_LOST: _S.DRAINING,
        _H.PUBLISHER_BACK: _S.DRAINING,
        _H.AUDIO_OVER: _S.DRAINING,
        _H.FAILED: _S.DRAINING,
        _H.LAST_FINAL_OUT: _S.ENDED,
    },
    _S.ENDED: {
        _H.PUBLISHER_LOST: _S.ENDED,
        _H.PUBLISHER_BACK: _S.ENDED,
        _H.AUDIO_OVER: _S.ENDED,
        _H.FAILED: _S.ENDED,
    },
}


def next_state(state: State, happening: Happening) -> State:
    """Return the state after `happening`.

    Raises:
        IllegalTransition: the table has no such entry.
    """
    try:
        return TRANSITIONS[state][happening]
    except KeyError:
        raise IllegalTransition(f"to a session that is {state.value} cannot happen: {happening.value}") from None


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a session ends, or a connection alone. A dialect has a close code for each.

    Attributes:
        reason: `replaced`: another connection has taken over: the session, which goes on, or the room. `restarting`: a
            connection ends because the server stops, and the next one goes on with the session.
        error: the fatal error, with the reason `error` only.
    """

    reason: Literal["stop", "disconnect", "draining", "error", "replaced", "restarting"]
    error: LivecaptionError | None = None


class Lifecycle:
    """The state of one session, and its consequences.

    Args:
        outlives_server: whether the next server goes on with the session where this one stops.

    Attributes:
        state: changed by the methods only.
        takes_audio: whether audio that comes now counts. No property, because it is asked for each message.
        ending: why the session ends; None: it does not end yet.
        parked_since_s: monotonic time since which the session is parked; means nothing in another state.
    """

    def __init__(self, *, outlives_server: bool = False) -> None:
        self._outlives_server = outlives_server
        self._leaves = False
        self.state = State.STREAMING
        self.takes_audio = True
        self.parked_since_s = 0.0
        self.ending: Ending | None = None
        self._reports_late_audio = False
        self._forgives_late_messages = False

    @property
    def is_parked(self) -> bool:
        """True if the session waits for its publisher to come back."""
        return self.state is State.PARKED

    @property
    def has_ended(self) -> bool:
        """True if all finals and `end` are out."""
        return self.state is State.ENDED

    @property
    def is_draining(self) -> bool:
        """True if the session takes no more audio, and its last events are not out."""
        return self.state is State.DRAINING

    @property
    def forgives_late_messages(self) -> bool:
        """True if messages behind the end of the audio are no mistake.

        A publisher whose connection broke behind its own `stop` may send that again: it has no answer to the first one.
        What was on its way when the server began to stop came too late through no fault of the publisher.
        """
        return self._forgives_late_messages or self.ends_because("draining")

    @property
    def known_ending(self) -> Ending:
        """The reason why the session ends; only known once it ends."""
        assert self.ending is not None
        return self.ending

    @property
    def is_suspended(self) -> bool:
        """True if the session ends in this server only: without `end`, and another one goes on with it."""
        return self._leaves or (self._outlives_server and self.ends_because("draining"))

    @property
    def ending_of_connection(self) -> Ending:
        """The reason why the connection is closed at the end of the session; only known once it ends."""
        return Ending("restarting") if self.is_suspended and not self._leaves else self.known_ending

    def ends_because(self, reason: str) -> bool:
        """Return True if the session ends, and for this reason."""
        return self.ending is not None and self.ending.reason == reason

    def lose_publisher(self, now_s: float) -> None:
        """Note that the publisher's connection is lost, and that the publisher may come back."""
        self._note(Happening.PUBLISHER_LOST)
        self.parked_since_s = now_s

    def regain_publisher(self) -> None:
        """Note that the publisher is back."""
        self._note(Happening.PUBLISHER_BACK)
        self._forgives_late_messages = not self.takes_audio

    def end_audio(self, ending: Ending) -> bool:
        """Take no more audio; return False where the session was ending already, for a reason that stays."""
        begins = self.takes_audio
        self._note(Happening.AUDIO_OVER)
        if begins:
            self.ending = ending
            self._reports_late_audio = ending.reason == "stop"
        return begins

    def fail(self, error: LivecaptionError) -> bool:
        """Take no more audio and end with this error, which replaces another reason.

        Returns False and changes nothing where all is over.
        """
        self._note(Happening.FAILED)
        if self.has_ended:
            return False
        self.ending = Ending("error", error)
        self._reports_late_audio = False
        return True

    def leave(self, ending: Ending) -> None:
        """End in this server only, in any state; `ending` is that of the connection."""
        self._note(Happening.AUDIO_OVER)
        self.ending = ending
        self._leaves = True

    def end(self) -> None:
        """Note that the last final is out."""
        self._note(Happening.LAST_FINAL_OUT)

    def note_late_audio(self) -> bool:
        """Note audio that comes too late; return whether to report it as the client's mistake, which is once.

        Audio that was on its way when the server stopped taking it is no mistake.
        """
        is_mistake = self._reports_late_audio and not self._forgives_late_messages
        if is_mistake:
            self._reports_late_audio = False
        return is_mistake

    def _note(self, happening: Happening) -> None:
        self.state = next_state(self.state, happening)
        self.takes_audio = self.state in (State.STREAMING, State.PARKED)
