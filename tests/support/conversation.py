"""A client's conversation in some dialect with the real pipeline: no socket, no loop, no clock.

Executes the commands of a dialect as `live.connection` and `live.session` do. The engine answers `u0w0 u0w1 ...` in the
utterance of number 0, one word for each 300 ms of it. While the utterance is open, it is wrong about the last two.
"""

import itertools
from collections import deque
from collections.abc import Iterable
from typing import Literal

from livecaption.errors import LivecaptionError
from livecaption.events import PROTOCOL_VERSION, End, ErrorReport, Event, Final, Pong, Ready
from livecaption.live.dialects.commands import (
    Audio,
    Command,
    Configure,
    Discard,
    Finish,
    Flush,
    Open,
    Ping,
    Reattach,
    Reply,
)
from livecaption.live.dialects.dialect import Dialect
from livecaption.live.state import Ending
from livecaption.pipeline.stream import Output, StreamPipeline
from livecaption.recognition import Hypothesis, RequestId, SessionId
from livecaption.scheduling.request import Request
from tests.support.pipeline import USUAL_LEVEL

WORD_MS = 300


class Conversation:
    """One connection, from the handshake to the close.

    Args:
        every: the engine answers behind every so many messages of the client, all that it was asked by then.

    Attributes:
        sent: all that the client was sent, in order.
        events: all that happened in the session.
        ending: why it was closed; None: it is open.
    """

    def __init__(self, dialect: Dialect, every: int = 1) -> None:
        self.dialect = dialect
        self.sent: list[str | bytes] = []
        self.events: list[Event] = []
        self.ending: Ending | None = None
        self._every = every
        self._requests: deque[Request] = deque()
        self._request_ids = itertools.count(1)
        self._pipeline: StreamPipeline | None = None
        self._now = 0
        self._attempt(lambda: dialect.connected())

    def send(self, messages: Iterable[str | bytes]) -> None:
        """Take messages of the client, until it is closed."""
        for message in messages:
            if self.ending is not None:
                return
            self._now += 1
            self._attempt(lambda message=message: self.dialect.receive(message))
            if self._now % self._every == 0:
                self._answer()

    def finish(self) -> None:
        """Answer all that is asked for, so that a session that is ending ends."""
        self._answer()

    def leave(self) -> None:
        """Close the connection as a client does whose protocol has no end, and answer all that is asked for."""
        assert self._pipeline is not None
        self._take(self._pipeline.end("disconnect", 0.0))
        self._answer("disconnect")
        self._end_if_drained("disconnect")

    @property
    def finals(self) -> list[str]:
        """The texts of all finals of the session, in order."""
        return [event.text for event in self.events if isinstance(event, Final)]

    def _attempt(self, commands: object) -> None:
        try:
            for command in commands():
                self._execute(command)
        except LivecaptionError as error:
            self._publish(ErrorReport.of(error))
            if error.fatal:
                self.ending = Ending("error", error)

    def _execute(self, command: Command) -> None:
        if isinstance(command, Open):
            self._pipeline = StreamPipeline(
                SessionId("s"),
                command.options,
                lambda: USUAL_LEVEL,
                lambda: RequestId(next(self._request_ids)),
            )
            self._publish(Ready("s", "token", PROTOCOL_VERSION, "scripted", "en", 0))
            return
        if isinstance(command, Reply):
            self.sent.append(command.message)
            return
        pipeline = self._pipeline
        assert pipeline is not None, "a dialect opens a session before it uses it"
        match command:
            case Audio(data):
                self._take(pipeline.receive_audio(data, 0.0))
            case Configure(options):
                self._take(pipeline.configure(options, 0.0))
            case Flush(tag):
                self._take(pipeline.flush(tag, 0.0))
            case Discard():
                self._take(pipeline.discard(0.0))
            case Ping(tag):
                self._publish(Pong(tag))
            case Finish():
                self._take(pipeline.end("stop", 0.0))
                self._end_if_drained("stop")
            case Reattach():
                raise AssertionError("nothing is resumed here")

    def _take(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Request):
                self._requests.append(output)
            elif isinstance(output, Event):
                self._publish(output)

    def _answer(self, reason: Literal["stop", "disconnect"] = "stop") -> None:
        while self._requests:
            request = self._requests.popleft()
            assert self._pipeline is not None
            request = self._pipeline.refresh(request, 0.0) if request.is_partial else request
            n_words = max(1, len(request.window.samples) // 16 // WORD_MS)
            words = [f"u{request.utterance}w{number}" for number in range(n_words)]
            if request.is_partial:
                words[-2:] = [f"guess{n_words}"] * len(words[-2:])
            hypothesis = Hypothesis(" ".join(words), "en", 0.9, 0.0)
            self._take(self._pipeline.receive_answer(request, hypothesis, 0.0))
            self._end_if_drained(reason)

    def _end_if_drained(self, reason: Literal["stop", "disconnect"]) -> None:
        if self._pipeline is not None and self._pipeline.is_over(0.0) and self.ending is None:
            self._publish(End(self._pipeline.received_ms, self._pipeline.n_utterances, reason))
            self.ending = Ending(reason)

    def _publish(self, event: Event) -> None:
        self.events.append(event)
        self.sent += self.dialect.encode(event, len(self.events))
