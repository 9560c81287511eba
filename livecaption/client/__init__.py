"""Audio -> a livecaption server -> events: the asyncio client of the native protocol.

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

Sending and reading are independent: one task may send while another reads. Read all the time,
also while you have nothing to send: the connection's keep-alive is answered by reading, and a
connection that is lost is made anew by reading. The session goes on then, for as long as the server
keeps it, also where the server died meanwhile and was started anew: finals that were missed come late,
audio that did not arrive or has no final yet is sent again, and the utterance that was open begins anew
with its number. What cannot be had back comes as a `Gap`; one of no length is no loss of captions.

Runs in anybody's event loop and never blocks it. Knows nothing of microphones, files or codecs.
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
