"""Decode a live broadcast that FFmpeg fetches, or receives from an encoder: RTMP, with TLS or without.

Addresses of http and https need nothing of this: see `cli.sources`. SRT and RIST are missing in PyAV's FFmpeg.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import av

from livecaption.audio.accepted import BROADCASTS
from livecaption.audio.container import MALFORMED, Contents, Decoding
from livecaption.audio.formats import ChannelMode, Samples
from livecaption.errors import InvalidAudio

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
"""Time without a byte after which a broadcast counts as over. An encoder sends silence too, so none means a fault."""


@dataclass(frozen=True, slots=True)
class _Address:
    """An address that FFmpeg reads from. With `?listen=1` it waits there until an encoder connects."""

    place: str

    @property
    def duration_s(self) -> float | None:
        return None

    def open(self, options: dict[str, str]) -> Any:
        listens = parse_qs(urlsplit(self.place).query).get("listen") == ["1"]
        own = {"listen": "1"} if listens else {}
        return av.open(
            self.place.partition("?")[0] if listens else self.place,
            "r",
            options=options | own | {"tls_verify": "1"},
            metadata_errors="replace",
            timeout=(None if listens else CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
        )


def decode_broadcast(
    address: str,
    opened: Callable[[Contents], None] = lambda contents: None,
    *,
    track: int | None = None,
    channel_mode: ChannelMode = "mix",
) -> Iterator[Samples]:
    """Decode to float32 [n_samples], mono, 16 kHz, -1..1, as the broadcast arrives, up to its end.

    The arguments and the samples are those of `decode_container`. An end looks like a connection that is lost.

    Raises:
        InvalidAudio: `invalid_container`: nobody answers, or no audio comes that can be decoded. The message has no
            address, because that may have a secret.
    """
    decoding = Decoding(_Address(address), opened, BROADCASTS, track, channel_mode)
    has_audio = False
    try:
        for samples in decoding.decode():
            has_audio |= bool(samples.size)
            yield samples
    except MALFORMED as error:
        if not has_audio:
            why = getattr(error, "strerror", None) or str(error)
            raise InvalidAudio(f"no broadcast could be received ({why})", code="invalid_container") from error
    yield from decoding.flush()
