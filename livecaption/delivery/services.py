"""The services that take captions by HTTP, as a table: how a text is written, and where its numbers begin. Pure.

    service      body                                          number of the first text
    zoom         the lines                                     after the one that `.../seq` answers
    youtube      a time in UTC, and the lines joined by <br>   1
    streamtext   the lines                                     1

Sources: Zoom, "Using a third-party closed captioning service"; YouTube, "Live captions: HTTP POST"; StreamText,
"Caption ingest". They agree on the numbers: one more for each new text, and the same one for another attempt.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from livecaption.delivery.lines import Text

REGION = "region:reg1#cue1"
"""The place of captions in the picture. YouTube has this one."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service.

    Attributes:
        body: writes a text.
        first_seq: the number of the first text; None: the receiver is asked.
        has_language: whether the address of each text has its language.
        headers: returns further headers of a text in a language.
    """

    body: Callable[[Text], str]
    first_seq: int | None
    has_language: bool
    headers: Callable[[Text, str], Mapping[str, str]]


def _no_headers(_: Text, __: str) -> Mapping[str, str]:
    return {}


def _headers(text: Text, language: str) -> Mapping[str, str]:
    return {"Content-Language": language, "X-Timestamp": f"{_utc(text.spoken_at_ms)}Z"}


def _plain(text: Text) -> str:
    return "\n".join(text.lines)


def _timed(text: Text) -> str:
    return f"{_utc(text.spoken_at_ms)} {REGION}\n{'<br>'.join(text.lines)}\n"


def _utc(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")


SERVICES = {
    "zoom": Service(_plain, None, True, _no_headers),
    "youtube": Service(_timed, 1, False, _no_headers),
    "streamtext": Service(_plain, 1, True, _headers),
}


def address_of(url: str, seq: int, service: Service, language: str) -> str:
    """Return the address for a text. The query that is there stays as it is, because it may be signed."""
    query = f"seq={seq}" + (f"&lang={language}" if service.has_language else "")
    return f"{url}{'&' if '?' in url else '?'}{query}"


def counter_of(url: str) -> str:
    """Return the address that answers the number of the newest text: that of the captions, with `/seq`."""
    path, mark, query = url.partition("?")
    return f"{path.removesuffix('/')}/seq{mark}{query}"
