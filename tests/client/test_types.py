"""Events are unions: a `match` that forgets one is an error of mypy, which checks this file strictly."""

from typing import assert_never, assert_type, get_args

import livecaption
from livecaption.client import Part, Reader, ReaderEvent, Reconnected, Reconnecting, Stream, StreamEvent
from livecaption.events import (
    Ack,
    End,
    ErrorReport,
    Event,
    Final,
    Flushed,
    Gap,
    Partial,
    Pong,
    Ready,
    Room,
    Snapshot,
    SpeakerNamed,
    SpeechEnd,
    SpeechStart,
    Status,
    Translation,
)


def text_of_stream(event: StreamEvent) -> str | None:
    match event:
        case Partial(text=text) | Final(text=text) | Translation(text=text):
            return text
        case Ready() | SpeechStart() | SpeechEnd() | Flushed() | Pong() | Ack() | Status() | ErrorReport() | Gap():
            return None
        case SpeakerNamed() | End() | Reconnecting() | Reconnected():
            return None
        case _:
            assert_never(event)


def text_of_reader(event: ReaderEvent) -> str | None:
    match event:
        case Partial(text=text) | Final(text=text) | Translation(text=text):
            return text
        case Room() | Part() | SpeechStart() | SpeechEnd() | Status() | Gap() | End() | Reconnecting() | Reconnected():
            return None
        case SpeakerNamed():
            return None
        case _:
            assert_never(event)


def forgets_the_end(event: ReaderEvent) -> str | None:
    match event:
        case Partial(text=text) | Final(text=text) | Translation(text=text):
            return text
        case Room() | Part() | SpeechStart() | SpeechEnd() | Status() | Gap() | Reconnecting() | Reconnected():
            return None
        case SpeakerNamed():
            return None
        case _:
            assert_never(event)  # type: ignore[arg-type]  # mypy reports the `End`, or else this comment


async def types_of_what_is_yielded(stream: Stream, reader: Reader) -> None:
    async for event in stream:
        assert_type(event, StreamEvent)
    async for read in reader:
        assert_type(read, ReaderEvent)
    async with livecaption.connect("http://localhost") as opened, livecaption.watch("http://localhost", "one") as read_:
        assert_type(opened, Stream)
        assert_type(read_, Reader)


def test_streams_and_readers_together_yield_every_event_of_the_protocol_but_snapshots() -> None:
    """A reader gets the captions of a snapshot one by one."""
    yielded = set(get_args(StreamEvent)) | set(get_args(ReaderEvent))
    assert yielded - {Part, Reconnecting, Reconnected} == set(get_args(Event)) - {Snapshot}


def test_the_text_of_an_event_is_found_by_its_class() -> None:
    assert text_of_stream(Translation(0, "en", "Hello.")) == text_of_reader(Translation(0, "en", "Hello.")) == "Hello."
    assert text_of_reader(Reconnecting()) is forgets_the_end(Reconnected()) is text_of_stream(Pong(1)) is None
