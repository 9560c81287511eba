"""The parts that `transcribe` and `listen` share: options, the server, and decoding of files."""

import argparse
import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from livecaption.captions.language_names import language_code
from livecaption.cli.sources import Arriving, Broadcast, Source, raw_chunks, source, store
from livecaption.cli.terminal import complain, stderr
from livecaption.config import Config
from livecaption.errors import ConfigError, InvalidAudio, InvalidMessage, LivecaptionError
from livecaption.events import MAX_SPEAKERS, ErrorReport, Gap, Ready

if TYPE_CHECKING:
    from ssl import SSLContext

    from livecaption.audio.formats import AudioFormat, ChannelMode
    from livecaption.client import StreamError, StreamEvent, StreamSettings
    from livecaption.decoding.messages import Opened
    from livecaption.decoding.pool import ContainerDecoder


RECEIVER = "livecaption.decoding.receiver"
"""The program that receives broadcasts."""
WAIT_S = 300.0
"""Time for which a command waits for a server that is full or loads its model, which it may have to download. Longer: a
command without a place hangs. Shorter: the files of a batch fail while a large model loads."""


def _languages(names: str) -> str | list[str] | None:
    return names.split(",") if "," in names else language_code(names)


def add_stream_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the stream and of the server."""
    parser.set_defaults(parser=parser)
    parser.add_argument(
        "--language",
        type=_languages,
        metavar="NAME",
        help="language of the audio, such as en, en-US or English, or several with commas (default: auto, which "
        "detects it in each utterance)",
    )
    parser.add_argument(
        "--task",
        choices=("transcribe", "translate"),
        default="transcribe",
        help="transcribe, or translate into English",
    )
    parser.add_argument(
        "--hotwords", type=words, default=(), metavar="LIST", help="names and terms that are likely, such as Ada,Zuse"
    )
    parser.add_argument("--prompt", default="", metavar="TEXT", help="text that precedes the audio, or is like it")
    parser.add_argument("--title", metavar="TEXT", help="title that readers of the server see")
    parser.add_argument(
        "--raw",
        type=_raw,
        metavar="FORMAT",
        help="audio without a header: encoding, rate and channels, such as s16le:16000:1",
    )
    parser.add_argument(
        "--channels",
        choices=("mix", "separate"),
        default="mix",
        help="mix the channels of the audio (default), or caption each of them apart, such as two people on a phone",
    )
    parser.add_argument(
        "--speakers",
        dest="wanted_speakers",  # the server has a setting of that name
        nargs="?",
        type=_speakers,
        const=True,
        default=False,
        metavar="N",
        help="name the speakers by their voices, or the channels with --channels separate; N people are expected",
    )
    parser.add_argument("--server", metavar="URL", help="a running server (default: start one for this command)")
    add_authority_argument(parser)
    parser.add_argument("--token", help="the server's token (safer in LIVECAPTION_TOKEN)")
    parser.add_argument("--model", help="without --server: the model to load, as for serve")
    parser.add_argument("--device", help="without --server: auto, cpu, cuda, cuda:INDEX or cuda:all")
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings (or LIVECAPTION_CONFIG)")


def add_authority_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--ca`, which goes with `--server`."""
    parser.add_argument(
        "--ca",
        type=_authority,
        metavar="FILE",
        help="with --server: trust the certificates of the authorities in this PEM file, in place of the system's",
    )


def check_authority(options: argparse.Namespace) -> None:
    """Check that `--ca` goes with `--server`.

    Raises:
        ConfigError: it does not.
    """
    if options.ca is not None and options.server is None:
        raise ConfigError("--ca needs --server")


def _authority(file: str) -> "SSLContext":
    import ssl

    try:
        return ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        raise argparse.ArgumentTypeError(f"{file} has no certificate in PEM") from None
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {file}: {error.strerror or error}") from None


def source_argument(place: str) -> Source:
    """Convert an argument to a source."""
    try:
        return source(place)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def words(text: str) -> list[str]:
    """Convert an argument to its words, which are separated by commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def _speakers(number: str) -> int:
    if not number.isdecimal() or not 1 <= int(number) <= MAX_SPEAKERS:
        raise argparse.ArgumentTypeError(
            f"{number!r} is not a number of people from 1 to {MAX_SPEAKERS}; a file must stand before this option"
        )
    return int(number)


def _raw(text: str) -> "AudioFormat":
    from livecaption.audio.formats import SAMPLE_BYTES, AudioFormat

    encoding, _, rate_and_channels = text.partition(":")
    rate, _, channels = rate_and_channels.partition(":")
    known = {name.removeprefix("pcm_"): name for name in SAMPLE_BYTES}
    if encoding not in known or not rate.isdecimal() or not (channels or "1").isdecimal():
        raise argparse.ArgumentTypeError(
            f"{text!r} is not ENCODING:RATE:CHANNELS, such as s16le:16000:1; encodings are {', '.join(known)}"
        )
    try:
        return AudioFormat(known[encoding], int(rate), int(channels or 1))
    except InvalidMessage as error:
        raise argparse.ArgumentTypeError(error.message) from None


def stream_settings(options: argparse.Namespace, n_channels: int, sample_rate: int = 16_000) -> "StreamSettings":
    """Return the settings for audio of `chunks`, or with `--raw` for what that states."""
    from livecaption.client import StreamSettings

    settings = StreamSettings(
        encoding="pcm_f32le",
        sample_rate=sample_rate,
        channels=n_channels,
        channel_mode=options.channels,
        language=tuple(options.language) if isinstance(options.language, list) else options.language,
        task=options.task,
        hotwords=tuple(options.hotwords),
        prompt=options.prompt,
        title=options.title or "",
        speakers=options.wanted_speakers,
    )
    if (raw := options.raw) is None:
        return settings
    return replace(settings, encoding=raw.encoding, sample_rate=raw.sample_rate_hz, channels=raw.channels)


async def stream(
    url: str,
    audio: AsyncGenerator[bytes, None],
    receive: "Callable[[StreamEvent], None]",
    settings: "StreamSettings",
    config: Config,
    trusted: "SSLContext | None",
) -> None:
    """Stream audio from beginning to end, and close it. Wait for a server that loads its model or is full.

    Raises:
        LivecaptionError: the server ended the stream before the audio ended.
        OSError: the connection or reading the audio failed.
    """
    from livecaption.client import Reconnected, Reconnecting, transcribe

    def receive_or_complain(event: "StreamEvent") -> None:
        if isinstance(event, ErrorReport) and not event.fatal:
            complain(event.message)
        if isinstance(event, Ready) and event.hotwords is not None and event.hotwords.used < event.hotwords.given:
            complain(f"only the first {event.hotwords.used} of {event.hotwords.given} hotwords are certain to be used")
        if isinstance(event, Gap) and event.end_ms > event.start_ms:
            complain(f"captions were lost with the connection, from {event.start_ms} to {event.end_ms} ms")
        if isinstance(event, Reconnecting):
            complain("the connection is lost; connecting again")
        if isinstance(event, Reconnected):
            complain("connected again")
        receive(event)

    reported = ""

    def waiting(refusal: "StreamError") -> None:
        nonlocal reported
        if str(refusal) != reported:
            reported = str(refusal)
            complain(f"waiting for the server: {refusal}")

    async with aclosing(audio):
        end = await transcribe(
            url,
            audio,
            receive_or_complain,
            settings,
            token=config.server.token,
            ssl=trusted,
            wait_s=WAIT_S,
            waiting=waiting,
        )
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
            # It has one stream, which is accepted at any cost.
            needs_voices = bool(options.wanted_speakers) and options.channels == "mix"
            engine = replace(config.engine, calibrates=False, speakers=config.engine.speakers or needs_voices)
            url = await stack.enter_async_context(running_server(replace(config, engine=engine)))
        yield url


async def chunks(
    source: Source,
    audio: BinaryIO | Arriving | Broadcast,
    raw: "AudioFormat | None",
    *,
    live: bool,
    track: int | None = None,
    channel_mode: "ChannelMode" = "mix",
    opened: Callable[["Opened"], None] = lambda contents: None,
) -> AsyncGenerator[bytes, None]:
    """Yield the audio of an opened source: as it is if it is raw, otherwise decoded to float32 at 16 kHz.

    Args:
        source: the source.
        audio: what it was opened as.
        raw: the format of audio without a header. None: the audio is in a container.
        live: whether audio that arrives is needed at once. Otherwise it is stored first, because more can be decoded
            from a file.
        track: number of the audio track, from 1. None: the default one, or the first with sound if that is silent.
        channel_mode: whether the channels of a container are mixed, or interleaved.
        opened: called with the contents of a container, before the first chunk.

    Raises:
        InvalidAudio: there is no audio in it that can be decoded.
        OSError: it cannot be read to its end.
    """
    if raw is not None and not isinstance(audio, Broadcast):
        pieces = raw_chunks(audio)
    elif isinstance(audio, Arriving) and (not live or await audio.has_index_at_its_end()):
        with await store(audio) as file:
            async with aclosing(_decode(source, file, opened, track, channel_mode)) as pieces:
                async for piece in pieces:
                    yield piece
        return
    else:
        pieces = _decode(source, audio, opened, track, channel_mode)
    async with aclosing(pieces):
        async for piece in pieces:
            yield piece


async def begun(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Wait for the first chunk, so that the container is opened. Return all chunks. The caller closes `chunks`."""
    first = await anext(chunks, b"")

    async def all_chunks() -> AsyncGenerator[bytes, None]:
        yield first
        async for chunk in chunks:
            yield chunk

    return all_chunks()


async def _decode(
    source: Source,
    audio: BinaryIO | Arriving | Broadcast,
    opened: Callable[["Opened"], None],
    track: int | None,
    channel_mode: "ChannelMode",
) -> AsyncGenerator[bytes, None]:
    """Decode a container.

    The command decodes the recording itself, because the server cannot seek, and MP4 files of cameras and phones have
    their index at the end. Decoding runs in a separate process as in the server, because the file is not trusted.
    """
    from livecaption.decoding.decoder import DecoderConfig
    from livecaption.decoding.pool import ContainerDecoder, DecoderPool

    pool = DecoderPool(keep_spare_s=0)
    if isinstance(audio, Broadcast):
        # An encoder may connect hours later. FFmpeg has a time-out of its own from then on.
        pool = DecoderPool(DecoderConfig(max_silences=sys.maxsize), keep_spare_s=0, program=RECEIVER)
    feeding: asyncio.Task[None] | None = None
    damage: InvalidAudio | None = None
    is_opened = False
    try:
        file = None if isinstance(audio, Arriving | Broadcast) else audio
        decoder = ContainerDecoder(pool, file, track, channel_mode, from_stranger=file is None)
        if isinstance(audio, Arriving):
            feeding = asyncio.create_task(_feed(decoder, audio))
        elif isinstance(audio, Broadcast):
            feeding = asyncio.create_task(_address(decoder, audio))
        async with aclosing(decoder.samples()) as pieces:
            async for samples in pieces:
                if decoder.opened is not None and not is_opened:
                    opened(decoder.opened)
                    if decoder.opened.n_tracks > 1:
                        complain(f"{source.name}: audio track {decoder.opened.track} of {decoder.opened.n_tracks}")
                    is_opened = True
                yield samples.tobytes()
    except InvalidAudio as error:
        damage = error
    finally:
        if feeding is not None:
            feeding.cancel()  # no effect, unless the container ends before the bytes do
            await asyncio.wait({feeding})
        await pool.close()
    if feeding is not None and not feeding.cancelled():
        feeding.result()  # bytes that broke off explain the damage
    if damage is not None:
        if damage.fatal:
            raise damage
        complain(f"{source.name}: {damage}")


async def _feed(decoder: "ContainerDecoder", audio: Arriving) -> None:
    try:
        while data := await audio.read():
            await decoder.push(data)
    finally:
        decoder.finish()


async def _address(decoder: "ContainerDecoder", broadcast: Broadcast) -> None:
    """Send a receiver process the address of its broadcast."""
    await decoder.push(broadcast.address.encode())
    decoder.finish()


def bytes_per_s(raw: "AudioFormat | None", n_channels: int) -> int:
    """Return the bytes of one second of `chunks`. Raw audio states its own number of channels."""
    from livecaption.audio import SAMPLE_RATE_HZ
    from livecaption.audio.formats import SAMPLE_BYTES

    if raw is None:
        return SAMPLE_RATE_HZ * n_channels * SAMPLE_BYTES["pcm_f32le"]
    return raw.sample_rate_hz * raw.channels * SAMPLE_BYTES[raw.encoding]
