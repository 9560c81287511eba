"""The parts that `transcribe` and `listen` share: options, the server, and decoding of files."""

import argparse
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from livecaption.cli.terminal import complain, stderr
from livecaption.config import Config
from livecaption.errors import InvalidAudio, LivecaptionError
from livecaption.events import ErrorReport, Event, Gap

if TYPE_CHECKING:
    from livecaption.client import StreamSettings


def add_stream_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the stream and of the server."""
    parser.set_defaults(parser=parser)
    parser.add_argument("--language", metavar="CODE", help="language of the audio, such as en (default: detect)")
    parser.add_argument(
        "--task",
        choices=("transcribe", "translate"),
        default="transcribe",
        help="transcribe, or translate into English",
    )
    parser.add_argument("--server", metavar="URL", help="a running server (default: start one for this command)")
    parser.add_argument("--token", help="the server's token (safer in LIVECAPTION_TOKEN)")
    parser.add_argument("--model", help="without --server: the model to load, as for serve")
    parser.add_argument("--device", help="without --server: auto, cpu, cuda or cuda:INDEX")
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings (or LIVECAPTION_CONFIG)")


async def stream(
    url: str,
    audio: AsyncIterator[bytes],
    receive: Callable[[Event], None],
    options: argparse.Namespace,
    config: Config,
    **more: "Unpack[StreamSettings]",
) -> None:
    """Stream float32 audio from beginning to end.

    Raises:
        LivecaptionError: the server ended the stream before the audio ended.
        OSError: the connection or reading the audio failed.
    """
    from livecaption.client import transcribe

    def receive_or_complain(event: Event) -> None:
        if isinstance(event, ErrorReport) and not event.fatal:
            complain(event.message)
        if isinstance(event, Gap) and event.end_ms > event.start_ms:
            complain(f"captions were lost with the connection, from {event.start_ms} to {event.end_ms} ms")
        receive(event)

    settings: StreamSettings = {
        "encoding": "pcm_f32le",
        "language": options.language,
        "task": options.task,
        "token": config.server.token,
        **more,
    }
    end = await transcribe(url, audio, receive_or_complain, **settings)
    if end.reason != "stop":
        raise LivecaptionError(f"the server ended the stream ({end.reason})")


@asynccontextmanager
async def server(options: argparse.Namespace, config: Config) -> AsyncIterator[str]:
    """Yield the URL of the server: the one in the options, or a new one that runs as long as the block."""
    if options.server is not None:
        yield options.server
        return
    from livecaption.server.lifecycle import running_server

    async with AsyncExitStack() as stack:
        with stderr().status("Loading the model"):
            url = await stack.enter_async_context(running_server(config))
        yield url


async def decode(
    path: Path, opened: Callable[[float], None] = lambda duration_s: None, track: int | None = None
) -> AsyncIterator[bytes]:
    """Yield the audio of a recording as mono float32 at 16 kHz.

    The command decodes the recording itself, because the server cannot seek, and MP4 files of cameras and phones have
    their index at the end. Decoding runs in a separate process as in the server, because the file is not trusted.

    Args:
        path: the recording.
        opened: called with the duration in seconds, if the container's header has it.
        track: number of the audio track, from 1. None: the default one, or the first with sound if that is silent.
    """
    from livecaption.decoding.pool import ContainerDecoder, DecoderPool

    pool = DecoderPool()
    try:
        with path.open("rb") as file:
            decoder = ContainerDecoder(pool, file, track)
            async with aclosing(decoder.samples()) as pieces:
                async for samples in pieces:
                    if decoder.opened is not None:
                        if decoder.opened.duration_s is not None:
                            opened(decoder.opened.duration_s)
                        if decoder.opened.n_tracks > 1:
                            complain(f"{path}: audio track {decoder.opened.track} of {decoder.opened.n_tracks}")
                        decoder.opened = None
                    yield samples.tobytes()
    except InvalidAudio as error:
        if error.fatal:
            raise
        complain(f"{path}: {error}")
    finally:
        await pool.close()


def readable(path: Path) -> bool:
    """Return True if a file can be opened; print an error if not."""
    try:
        path.open("rb").close()
    except OSError as error:
        complain(f"{path}: {error.strerror}")
        return False
    return True
