"""The asyncio client sends audio to a livecaption server, and reads captions.

    async with connect("http://localhost:8000", StreamSettings(sample_rate=48_000)) as stream:
        await asyncio.gather(speak(stream), show(stream))

    async def speak(stream: Stream) -> None:
        async for pcm in microphone():
            await stream.send_audio(pcm)
        await stream.stop()

    async def show(stream: Stream) -> None:
        async for event in stream:
            if isinstance(event, Final):
                print(event.text)

Sending and reading are independent: one task may send while another reads. Read all the time, also while you send
nothing. Reading answers the connection's keep-alive, and reading reconnects after a lost connection. Tasks that still
send or read when the block is left end with `StreamClosed`, such as the other one if `speak` or `show` fails.

After a reconnection the session goes on, as long as the server keeps it. This also works if the server crashed and was
restarted. Missed finals arrive late. The client resends audio that did not arrive or has no final yet. The open
utterance restarts under its number, or, if channels are apart, under one that no final has. Lost captions are reported
by a `Gap`; a `Gap` of zero length means that only partials were lost.

`watch` reads a session or room that somebody else speaks in.

The client runs in the caller's event loop and never blocks it. It has no code for microphones, files or codecs.
"""

from livecaption.client.connection import connect, transcribe
from livecaption.client.opening import (
    Reconnected,
    Reconnecting,
    StreamClosed,
    StreamError,
    StreamRefused,
    stream_url,
    watch_url,
)
from livecaption.client.pacing import real_time
from livecaption.client.reader import Part, Reader, ReaderEvent, watch
from livecaption.client.stream import Stream, StreamEvent
from livecaption.messages import Endpointing, RoomEntry, StreamSettings, parse_event

__all__ = [
    "Endpointing",
    "Part",
    "Reader",
    "ReaderEvent",
    "Reconnected",
    "Reconnecting",
    "RoomEntry",
    "Stream",
    "StreamClosed",
    "StreamError",
    "StreamEvent",
    "StreamRefused",
    "StreamSettings",
    "connect",
    "parse_event",
    "real_time",
    "stream_url",
    "transcribe",
    "watch",
    "watch_url",
]
