"""Destinations of captions, as the operator names them: in a file of TOML, or over the API.

    [[sink]]
    room = "pycon"
    name = "zoom"
    service = "zoom"
    url = "https://..."

Addresses and passwords are secrets. No message has them, and a state shows the host only.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import urlsplit

from livecaption.captions.layout import DEFAULT_LINE_LENGTH, LINE_LENGTHS
from livecaption.delivery.services import SERVICES
from livecaption.errors import ConfigError, InvalidMessage
from livecaption.live.room_state import MAX_NAME_CHARACTERS, check_name, is_name
from livecaption.wire import from_plain

OBS = "obs"
OBS_LINE_LENGTH = 32
"""Columns of CEA-608, as which OBS encodes captions."""
MAX_URL_CHARACTERS = 2000
MAX_PASSWORD_CHARACTERS = 200
MAX_SINKS = 32
"""Sinks of a server. Each has one connection, and two tasks."""
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_PRINTABLE = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Destination:
    """The place to which captions are sent. Also the body of `PUT .../sinks/{sink}`.

    Attributes:
        service: one of `services.SERVICES`, or `obs`.
        url: the address that the service has given; of OBS, such as `ws://127.0.0.1:4455`.
        password: of OBS; empty: it needs none.
        language: the language that a service shows, such as `en-US`.
        line_length: columns of a line; None: those that suit the service.

    Raises:
        InvalidMessage: a value is wrong.
    """

    service: str
    url: str = field(repr=False)
    password: str = field(default="", repr=False)
    language: str = "en-US"
    line_length: int | None = None

    def __post_init__(self) -> None:
        if self.service not in (*SERVICES, OBS):
            raise InvalidMessage(f"service must be one of {', '.join((*SERVICES, OBS))}")
        schemes = ("ws", "wss") if self.service == OBS else ("http", "https")
        if len(self.url) > MAX_URL_CHARACTERS or not _PRINTABLE.fullmatch(self.url) or not self._has_host(schemes):
            raise InvalidMessage(f"url must be an address that begins with {schemes[0]}:// or {schemes[1]}://")
        if self.password and (self.service != OBS or len(self.password) > MAX_PASSWORD_CHARACTERS):
            raise InvalidMessage(f"password is for obs only, and has at most {MAX_PASSWORD_CHARACTERS} characters")
        if not _LANGUAGE.fullmatch(self.language):
            raise InvalidMessage("language must be one such as en-US")
        if self.line_length is not None and self.line_length not in LINE_LENGTHS:
            raise InvalidMessage(f"line_length must be one of {', '.join(map(str, LINE_LENGTHS))}")

    @property
    def host(self) -> str:
        """The host of the address, which is no secret."""
        return urlsplit(self.url).hostname or ""

    @property
    def columns(self) -> int:
        """The columns of a line."""
        return self.line_length or (OBS_LINE_LENGTH if self.service == OBS else DEFAULT_LINE_LENGTH)

    def _has_host(self, schemes: tuple[str, str]) -> bool:
        try:
            parts = urlsplit(self.url)
            _ = parts.port
        except ValueError:
            return False
        return parts.scheme in schemes and bool(parts.hostname) and "@" not in parts.netloc and not parts.fragment


FIELDS = tuple(each.name for each in fields(Destination))


def check_sink_name(name: str) -> None:
    """Check the name of a sink, which has the form of a room's name.

    Raises:
        InvalidMessage: a sink cannot have it.
    """
    if not is_name(name):
        raise InvalidMessage(f"the name of a sink has 1 to {MAX_NAME_CHARACTERS} letters, digits, or characters of ._-")


def parse(parsed: Mapping[str, Any], source: str) -> dict[tuple[str, str], Destination]:
    """Read the sinks in a file of TOML. Return their destinations by the name of the room and that of the sink.

    Args:
        parsed: the file.
        source: the name of the file, for messages.

    Raises:
        ConfigError: the file has something else. The message has no address and no password.
    """
    sections = parsed.get("sink", [])
    if set(parsed) - {"sink"} or not isinstance(sections, list):
        raise ConfigError(f"{source} must have sections [[sink]], and nothing else")
    if len(sections) > MAX_SINKS:
        raise ConfigError(f"{source} may have {MAX_SINKS} sinks")
    found: dict[tuple[str, str], Destination] = {}
    for number, section in enumerate(sections, start=1):
        where = f"{source}: sink {number}"
        if not isinstance(section, dict):
            raise ConfigError(f"{where} must be a section [[sink]]")
        settings = dict(section)
        room, name = settings.pop("room", None), settings.pop("name", settings.get("service"))
        if unknown := set(settings) - set(FIELDS):
            # The name is not shown if it may be a secret in the wrong place.
            raise ConfigError(f"{where}: {len(unknown)} unknown settings; known are room, name, {', '.join(FIELDS)}")
        try:
            check_name(room if isinstance(room, str) else "")
            check_sink_name(name if isinstance(name, str) else "")
            destination: Destination = from_plain(Destination, settings, lenient=True)
        except (InvalidMessage, ValueError) as error:
            raise ConfigError(f"{where}: {error}") from None
        if (room, name) in found:
            raise ConfigError(f"{where}: the room has two sinks with the name {name!r}")
        found[room, name] = destination
    return found
