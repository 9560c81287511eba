"""The asyncio client of the native protocol sends audio to a livecaption server and receives events.

    async with connect("http://localhost:8000", sample_rate=48_000) as stream:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(speak(stream))
            async for event in stream:
                if isinstance(event, Final):
                    print(event.text)

    async def speak(stream: Stream) -> None:
        async for pcm in microphone():
            await stream.send_audio(pcm)
        await stream.stop()

Sending and reading are independent: one task may send while another reads. Read all the time, also while you send
nothing. Reading answers the connection's keep-alive, and reading reconnects after a lost connection.

After a reconnection the session goes on, as long as the server keeps it. This also works if the server crashed and was
restarted. Missed finals arrive late. The client resends audio that did not arrive or has no final yet. The open
utterance restarts under its number, or, if channels are apart, under one that no final has. Lost captions are reported
by a `Gap`; a `Gap` of zero length means that only partials were lost.

The client runs in the caller's event loop and never blocks it. It has no code for microphones, files or codecs.
"""

from livecaption.client.connection import StreamSettings, connect, stream_url, transcribe
from livecaption.client.pacing import real_time
from livecaption.client.stream import Stream, StreamClosed, StreamError, StreamRefused
from livecaption.messages import parse_event

__all__ = [
    "Stream",
    "StreamClosed",
    "StreamError",
    "StreamRefused",
    "StreamSettings",
    "connect",
    "parse_event",
    "real_time",
    "stream_url",
    "transcribe",
]
