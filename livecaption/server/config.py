"""The settings of the server: addresses, access, and limits of streams and readers."""

import re
from dataclasses import dataclass, field

from livecaption.errors import ConfigError

MAX_PORT = 65535
MAX_URL_CHARACTERS = 500
"""A QR code of a link must stay readable from a distance, and holds 2300 characters at most."""
_PAGE_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[0-9A-Za-z._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/[0-9A-Za-z._~!$&'()*+,;=:@%-]+)*)/?",
    re.IGNORECASE,
)
"""An address in http or https without user, query and fragment (RFC 3986, 3), in ASCII."""


def page_url(url: str) -> str | None:
    """Return the address of a page in one form: scheme and host in lower case, `/` at its end. None: it is none."""
    match = _PAGE_URL.fullmatch(url)
    if match is None or len(url) > MAX_URL_CHARACTERS or int(match["port"] or 0) > MAX_PORT:
        return None
    port = f":{match['port']}" if match["port"] else ""
    return f"{match['scheme'].lower()}://{match['host'].lower()}{port}{match['path']}/"


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """The time-outs of clients over HTTP, readers among them. No user sets them.

    Attributes:
        keepalive_timeout_s: time that an idle connection stays open; also the deadline of the handshakes of WebSocket
            and TLS. Longer: connections without a request hold descriptors. Shorter: more handshakes.
        heartbeat_s: interval of the heartbeats of server-sent events. Longer: proxies and phones close connections that
            are idle for 30 to 60 s. Shorter: more traffic for each reader.
        download_timeout_s: time for one download. An hour of speech with words has 17 MB, so 30 KB/s is enough. A
            slower client is cut off, because the body stays in memory meanwhile. It may request the rest with
            `Range: bytes=N-`. Longer: more memory. Shorter: slow clients need more requests.
    """

    keepalive_timeout_s: float = 10.0
    heartbeat_s: float = 15.0
    download_timeout_s: float = 600.0


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The settings of the server.

    Attributes:
        host, port: address to listen on; port 0 picks a free one.
        token: token that clients must send; empty: none is needed.
        allowed_origins: web origins other than the server's own whose pages may stream.
        allowed_hosts: names of the server in addition to its own, if names are checked: see `auth.check_host`.
        public_url: address under which people reach the page; empty: the one that they have used.
        tls_cert, tls_key: PEM files; browsers allow the microphone only with https or on localhost.
        tls_self_signed: serve https with a certificate that the server makes and keeps.
        max_streams: streams at a time; one more is refused with 503. None: as many as get their finals in time.
        max_readers: readers at a time, of all sessions together; one more is refused with 503. Each takes 24 KiB
            (measured), so the default number takes 120 MiB. The limit is lower if descriptors are few (`descriptors`).
        drain_timeout_s: time that a stop waits for the last captions. Docker kills after 10 s.
        resume_window_s: time that a session waits for a publisher whose connection was lost; 0: not at all.
        insecure: allow listening beyond loopback without a token. Anyone may then stream and see figures. Transcripts
            are listed, searched and deleted from this machine only: see `auth.check_operations`.
        http: the time-outs of clients over HTTP.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    public_url: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tls_self_signed: bool = False
    max_streams: int | None = None
    max_readers: int = 5000
    drain_timeout_s: float = 7.0
    resume_window_s: float = 60.0
    insecure: bool = False
    http: HttpLimits = field(default_factory=HttpLimits)

    def __post_init__(self) -> None:
        if self.public_url and page_url(self.public_url) is None:
            raise ConfigError("public_url must be an address such as https://captions.example.org/hall")

    @property
    def public_page(self) -> str | None:
        """The public address in one form, with `/` at its end; None: there is none."""
        return page_url(self.public_url)
