"""A request to transcribe or translate one window."""

from dataclasses import dataclass

from livecaption.recognition import RequestId, SessionId, Window


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """A window of one utterance of one session, on its way to a worker.

    Attributes:
        id: unique in this server process.
        session: the session. Each channel that is captioned apart has an id of its own, and so its own turn.
        utterance: number of the utterance in its session, from 0.
        asked_s: monotonic time of the request; finals are served in this order.
        window_start: stream time of the window's first sample.
        is_recorded: whether it is a final of a recording, for which no reader waits live.
    """

    id: RequestId
    session: SessionId
    utterance: int
    asked_s: float
    window: Window
    window_start: int = 0
    is_recorded: bool = False

    @property
    def is_translation(self) -> bool:
        return self.window.translation is not None

    @property
    def is_final(self) -> bool:
        return self.window.is_final and not self.is_translation

    @property
    def is_background(self) -> bool:
        """True if it takes only the time that live captions leave."""
        return self.is_translation or self.is_recorded

    @property
    def n_bytes(self) -> int:
        """The size of its audio in a message to a worker."""
        return self.window.n_bytes

    @property
    def is_partial(self) -> bool:
        return not self.window.is_final


@dataclass(frozen=True, slots=True)
class Cancel:
    """Instruction to drop all requests of one utterance, because nobody needs their answers."""

    session: SessionId
    utterance: int
