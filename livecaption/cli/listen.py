"""`livecaption listen` shows live captions of a recording or the microphone in the terminal."""

import argparse
import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from livecaption.captions.labels import in_turns, label, open_label, prefix
from livecaption.captions.layout import RollUp
from livecaption.cli.reconnecting import again_and_again
from livecaption.cli.sources import Arriving, Broadcast, opened
from livecaption.cli.streaming import (
    add_stream_arguments,
    begun,
    bytes_per_s,
    check_authority,
    chunks,
    server,
    source_argument,
    stream,
    stream_settings,
    words,
)
from livecaption.cli.terminal import INTERRUPTED, reason
from livecaption.config import ROOM_SECRET, load_config
from livecaption.errors import ConfigError, LivecaptionError
from livecaption.events import Final, Partial, SpeakerNamed, Status, Translation
from livecaption.messages import RoomEntry
from livecaption.settings import text_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from livecaption.audio.formats import ChannelMode
    from livecaption.client import StreamEvent
    from livecaption.decoding.messages import Opened


MIN_WIDTH = 10
"""Columns that words have at least. A terminal that is too narrow for them beside the name of a channel wraps them."""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `listen` and its options to the commands."""
    parser = commands.add_parser(
        "listen",
        help="show live captions in the terminal",
        description="Show live captions of a recording, streamed in real time, or of the microphone. "
        "Words that may still change are dim.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "source",
        nargs="?",
        type=source_argument,
        metavar="FILE",
        help="a recording, an address of http(s) or rtmp(s), a FIFO, or - for standard input (default: the microphone)",
    )
    parser.add_argument(
        "--reconnect", action="store_true", help="connect to an address again whenever it ends or cannot be reached"
    )
    parser.add_argument(
        "--room",
        metavar="NAME",
        help="room of the server whose readers see these captions; its secret is in LIVECAPTION_ROOM_SECRET",
    )
    parser.add_argument(
        "--take-over", action="store_true", help="end the part of somebody else who speaks in the room (with --room)"
    )
    parser.add_argument(
        "--translate",
        type=words,
        dest="tracks",
        default=(),
        metavar="CODES",
        help="languages into which captions are translated too, such as en or de,fr (the server has to offer them)",
    )
    add_stream_arguments(parser)


async def run(options: argparse.Namespace) -> int:
    """Show captions until the audio ends, and return the exit code."""
    from rich.console import Console

    check_authority(options)
    if not options.server:
        options.translate = options.tracks or None  # the server of this command offers what is asked for
    config = load_config(options, os.environ)
    room = _checked_room(options)
    async with AsyncExitStack() as stack:
        # Open it before the model is loaded, so that no live audio is lost meanwhile.
        first = None if options.reconnect else await _open(options, stack)
        url = await stack.enter_async_context(server(options, config))
        # The first Ctrl+C ends the audio, and the last captions still arrive. The second one ends the command. So does
        # the first one before the server has accepted the stream, because there is no audio to end yet.
        interrupted = asyncio.Event()
        accepted = asyncio.Event()
        task = asyncio.current_task()
        assert task is not None

        def interrupt() -> None:
            if interrupted.is_set() or not accepted.is_set():
                task.cancel()
            interrupted.set()

        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)
        language = options.language if isinstance(options.language, str) else None
        speakers = bool(options.wanted_speakers)
        with _LiveCaptions(Console(highlight=False), language, speakers=speakers) as captions:

            def receive(event: "StreamEvent") -> None:
                accepted.set()
                captions.receive(event)

            async def caption(live: _LiveAudio) -> None:
                settings = replace(
                    stream_settings(options, live.n_channels, live.sample_rate_hz),
                    translate=tuple(options.tracks),
                    room=room,
                )
                await stream(url, _until(interrupted, live.chunks), receive, settings, config, options.ca)

            async def attempt() -> None:
                accepted.clear()
                async with AsyncExitStack() as own:
                    await caption(await _open(options, own))

            try:
                if first is not None:
                    await caption(first)
                    if options.source is None and not interrupted.is_set():
                        raise LivecaptionError("the microphone has stopped; it may be unplugged")
                else:
                    await again_and_again(options.source, attempt, interrupted)
            except asyncio.CancelledError:
                return INTERRUPTED
    return INTERRUPTED if interrupted.is_set() else 0


def _checked_room(options: argparse.Namespace) -> RoomEntry | None:
    """Check the options that belong together, and return the room of the stream.

    Raises:
        ConfigError: they contradict each other.
    """
    is_live = options.source is not None and (options.source.is_address or options.source.is_broadcast)
    if options.raw is not None and (options.source is None or options.source.is_broadcast):
        raise ConfigError("--raw is for a file or a pipe")
    if options.reconnect and not is_live:
        raise ConfigError("--reconnect is for an address")
    room_secret = text_of(ROOM_SECRET, os.environ)
    if options.take_over and options.room is None:
        raise ConfigError("--take-over needs --room")
    if options.room is None:
        return None
    if not (options.server and room_secret):
        raise ConfigError("--room needs --server, and the secret of the room in LIVECAPTION_ROOM_SECRET")
    return RoomEntry(options.room, room_secret, options.take_over)


@dataclass(frozen=True, slots=True)
class _LiveAudio:
    """Audio at its own pace, in float32 unless `--raw` states another format."""

    sample_rate_hz: int
    n_channels: int
    chunks: AsyncGenerator[bytes, None]


async def _open(options: argparse.Namespace, stack: AsyncExitStack) -> _LiveAudio:
    """Open the source that the options name.

    Raises:
        LivecaptionError: it cannot be opened.
    """
    if options.source is None:
        return _LiveAudio(*_microphone(options.channels))
    return _LiveAudio(16_000, *await _recording(options, stack))


async def _recording(options: argparse.Namespace, stack: AsyncExitStack) -> tuple[int, AsyncGenerator[bytes, None]]:
    """Open the recording. Return its number of channels, and its audio at its own pace.

    Raises:
        LivecaptionError: it cannot be opened.
    """
    from livecaption.client import real_time

    try:
        audio = await stack.enter_async_context(opened(options.source))
    except (LivecaptionError, OSError) as error:
        raise LivecaptionError(f"{options.source.name}: {reason(error)}") from None
    n_channels = 1

    def note_contents(contents: "Opened") -> None:
        nonlocal n_channels
        n_channels = contents.n_channels

    decoded = chunks(options.source, audio, options.raw, live=True, channel_mode=options.channels, opened=note_contents)
    recorded: AsyncGenerator[bytes, None] = await stack.enter_async_context(aclosing(decoded))
    if isinstance(audio, Broadcast):
        recorded = await begun(recorded)  # no session waits for an encoder that does not send yet
        return n_channels, recorded
    if options.channels == "separate":
        recorded = await begun(recorded)  # now the number of channels is known
    return n_channels, real_time(
        recorded,
        bytes_per_s(options.raw, n_channels),
        began_s=lambda: audio.began_s if isinstance(audio, Arriving) else None,
    )


@dataclass(slots=True)
class _OpenLines:
    """The open utterance of a channel: its last lines, each with its stable and its tentative part, behind its name."""

    utterance: int
    name: str
    roll_up: RollUp
    shown: list[tuple[str, str]] = field(default_factory=list)


class _LiveCaptions:
    """Shows events in the terminal: finals scroll up, and the last two lines of each open utterance are below them.

    If stdout is not a terminal, only finals are printed.
    """

    def __init__(self, console: "Console", language: str | None, *, speakers: bool) -> None:
        from rich.live import Live

        self._console = console
        self._language = language
        self._speakers = speakers  # whether they are distinguished
        self._open: dict[int | None, _OpenLines] = {}  # by channel
        self._names: dict[int, str] = {}  # of speakers
        self._voice = ""  # the one who spoke last
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def receive(self, event: "StreamEvent") -> None:
        from rich.text import Text

        if isinstance(event, Final):
            self._forget(event)
            self._show(self._lines())
        if isinstance(event, Final) and event.text:
            for turn in in_turns(event):
                seconds = turn.start_ms // 1000
                clock = Text(f"{seconds // 60:02}:{seconds % 60:02} ", style="cyan")
                voice = label(turn, self._names)
                is_named = turn.turns is None or voice != self._voice
                self._voice = voice
                # The terminal wraps long lines, so that they can be copied as one line.
                said = Text(prefix(voice) if is_named else "") + Text(turn.text)
                self._console.print(clock + said, soft_wrap=True)
        elif isinstance(event, SpeakerNamed):
            self._names[event.speaker] = event.name
        elif isinstance(event, Translation):
            self._console.print(Text(f"   {event.language} ", style="cyan") + Text(event.text), soft_wrap=True)
        elif isinstance(event, Partial):
            line = self._open.get(event.channel)
            if line is None or event.utterance != line.utterance or event.revision == 0:  # it may have restarted
                name = prefix(open_label(event.channel, self._names, is_speaker=self._speakers))
                width = max(MIN_WIDTH, self._console.width - len(name))
                line = self._open[event.channel] = _OpenLines(event.utterance, name, RollUp(self._language, width))
            line.shown = line.roll_up.show(event.stable, event.text[len(event.stable) :])
            self._show(self._lines())
        elif isinstance(event, Status) and event.state != "ready":
            self._show(Text(f"({event.state})", style="yellow"))

    def _forget(self, final: Final) -> None:
        """Remove the lines of an utterance that has its final, unless a newer one of its channel is open."""
        line = self._open.get(final.channel)
        if line is not None and line.utterance <= final.utterance:
            del self._open[final.channel]

    def _lines(self) -> "Text":
        from rich.text import Text

        lines = []
        for _, line in sorted(self._open.items(), key=lambda item: item[0] or 0):
            for number, (stable, tentative) in enumerate(line.shown):
                margin = line.name if number == 0 else " " * len(line.name)
                lines.append(Text.assemble((margin, "cyan"), (stable, "bold"), (tentative, "dim")))
        return Text("\n").join(lines)

    def _show(self, text: "Text") -> None:
        if self._live:
            self._live.update(text, refresh=True)


def _microphone(channel_mode: "ChannelMode") -> tuple[int, int, AsyncGenerator[bytes, None]]:
    """Open the default microphone.

    Returns:
        Its sample rate in Hz, the number of its channels (1 if they need not be kept apart), and its audio in float32,
        which ends only with the microphone itself.

    Raises:
        LivecaptionError: there is no microphone, or sounddevice or PortAudio is not installed.
    """
    from livecaption.audio.formats import MAX_CHANNELS

    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise LivecaptionError(
            f"the microphone needs the package sounddevice and the library PortAudio ({error}): "
            "pip install sounddevice; on Linux also: apt install libportaudio2"
        ) from None
    try:
        # Use the device's own rate, because not every device supports 16 kHz, and the server resamples.
        device = sounddevice.query_devices(kind="input")
        sample_rate = int(device["default_samplerate"])
        n_channels = 1 if channel_mode == "mix" else min(int(device["max_input_channels"]), MAX_CHANNELS)
    except (sounddevice.PortAudioError, ValueError) as error:
        raise LivecaptionError(f"no microphone: {error}") from None

    async def record() -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        recorded: asyncio.Queue[bytes | None] = asyncio.Queue()  # None: no more comes

        def take(data: Any, *_: object) -> None:
            # PortAudio's thread calls this, and reuses the buffer when it returns.
            loop.call_soon_threadsafe(recorded.put_nowait, bytes(data))

        def finish() -> None:
            loop.call_soon_threadsafe(recorded.put_nowait, None)

        try:
            with sounddevice.RawInputStream(
                samplerate=sample_rate,
                blocksize=sample_rate // 25,
                channels=n_channels,
                dtype="float32",
                callback=take,
                finished_callback=finish,
            ):
                while (chunk := await recorded.get()) is not None:
                    yield chunk
        except sounddevice.PortAudioError as error:
            raise LivecaptionError(f"the microphone cannot be opened: {error}") from None

    return sample_rate, n_channels, record()


async def _until(stopped: asyncio.Event, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield the chunks until the event is set, also while none comes."""
    stopping = asyncio.ensure_future(stopped.wait())
    async with aclosing(chunks):
        try:
            while True:
                coming = asyncio.ensure_future(anext(chunks, None))
                await asyncio.wait({coming, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if stopping.done():
                    return
                chunk = coming.result()
                if chunk is None:
                    return
                yield chunk
        finally:
            stopping.cancel()
            coming.cancel()
            await asyncio.wait({coming})
