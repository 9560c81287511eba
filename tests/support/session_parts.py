"""The parts of a live session, without workers and sockets."""

from dataclasses import dataclass, field
from typing import Any

from livecaption.events import Event
from livecaption.live.event_log import Message
from livecaption.live.hub import Hub
from livecaption.live.state import Ending
from livecaption.live.store_gate import StoreGate
from livecaption.pipeline.arrival import ArrivalClock
from livecaption.recognition import ModelDescription, RequestId, SessionId
from livecaption.scheduling.load_control import ServiceLevel
from livecaption.workers.pool import PoolState
from tests.support.pipeline import USUAL_LEVEL
from tests.support.stored import new_session

ENGLISH = ModelDescription("scripted", "cpu", "int8", ("en",), translates=False)


@dataclass
class IdleWorkers:
    """A pool that keeps what is submitted and answers when the test calls it."""

    state: PoolState = PoolState.READY
    loaded: ModelDescription | None = ENGLISH
    given_up: bool = False
    submitted: list[Any] = field(default_factory=list)
    attached: dict[SessionId, Any] = field(default_factory=dict)

    def service_level(self) -> ServiceLevel:
        return USUAL_LEVEL

    def attach(self, session: SessionId, on_answer: Any, refresh: Any = None, *, is_recording: bool = False) -> None:
        self.attached[session] = on_answer

    def detach(self, session: SessionId) -> None:
        del self.attached[session]

    def submit(self, request: Any) -> None:
        self.submitted.append(request)

    def cancel(self, cancel: Any) -> None:
        self.submitted.append(cancel)

    def next_request_id(self) -> RequestId:
        return RequestId(len(self.submitted) + 1)


@dataclass
class KeptPeer:
    """A publisher's connection that keeps what is sent."""

    last_received_s: float = 0.0
    may_idle: bool = False
    is_gone: bool = False
    sent: list[Event] = field(default_factory=list)
    ending: Ending | None = None

    def deliver(self, message: Message) -> None:
        self.sent.append(message.event)

    def send(self, event: Event) -> None:
        self.sent.append(event)

    def tick(self, stream_ms: int) -> None:
        pass

    def finish(self, ending: Ending) -> None:
        self.ending = self.ending or ending

    def connection_lost(self, *, clean: bool = False) -> None:
        self.is_gone = True


def published_by(hub: Hub) -> list[Event]:
    """Return the list of all events that the hub publishes from now on."""
    events: list[Event] = []
    hub.attach(lambda message: events.append(message.event), hub.last_seq)
    return events


def gate_of(hub: Hub) -> StoreGate:
    return StoreGate(None, new_session(), hub, ArrivalClock())
