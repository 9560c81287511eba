"""The settings of the server: addresses, access, and limits of streams and readers."""

import os
from dataclasses import dataclass, field
from ipaddress import ip_address

from livecaption.errors import ConfigError
from livecaption.server.forwarded import networks_of
from livecaption.server.origins import NULL, host_name, normal_origin, page_url, why_not_an_origin

PROTOCOLS = ("native", "openai", "deepgram", "whisperlive", "vosk", "wyoming")
"""The protocols that clients may speak; `server.protocols` has what each consists of."""
UNIX = "unix:"
"""The beginning of the address of a Unix socket. Its path follows."""
MAX_UNIX_BYTES = 107
"""The longest path of a Unix socket, in bytes, without the zero byte at its end (unix(7))."""
MIN_TOKEN_CHARACTERS = 16
"""Length of a token below which it is weak: shorter ones are mostly words, which a program finds by trying. Secrets of
rooms have this length too."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """The time-outs of clients over HTTP, readers among them. No user sets them.

    Attributes:
        keepalive_timeout_s: time that an idle connection stays open; also the deadline of small bodies, and of the
            handshakes of WebSocket and TLS. Longer: connections without a request hold descriptors. Shorter: more
            handshakes.
        unread_timeout_s: time in which a client that has something to read must read some of it. Longer: clients that
            do not read hold descriptors. Shorter: clients whose network fails for a while are cut off.
        heartbeat_s: interval of the heartbeats of server-sent events. Longer: proxies and phones close connections that
            are idle for 30 to 60 s. Shorter: more traffic for each reader.
        download_timeout_s: time for one download. An hour of speech with words has 17 MB, so 30 KB/s is enough. A
            slower client is cut off, because the body stays in memory meanwhile. It may request the rest with
            `Range: bytes=N-`, if no speaker has a name. Longer: more memory. Shorter: slow clients need more requests.
        upload_timeout_s: time in which a recording must arrive. 200 MB need 350 KB/s. Longer: slow clients keep others
            waiting. Shorter: clients on slow networks cannot send large recordings.
        upload_pause_s: time without a byte of a recording after which its client is refused.
    """

    keepalive_timeout_s: float = 10.0
    unread_timeout_s: float = 30.0
    heartbeat_s: float = 15.0
    download_timeout_s: float = 600.0
    upload_timeout_s: float = 600.0
    upload_pause_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Place:
    """The place of one process among those of a server. No user sets it: `parent` gives one to each.

    Attributes:
        number: its number, from 1 on.
        n: how many there are.
        directory: where the processes have the sockets by which they reach each other.
    """

    number: int
    n: int
    directory: str


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The settings of the server.

    Attributes:
        host, port: address to listen on; port 0 picks a free one. `unix:PATH` is a Unix socket, and has no port.
        wyoming_port, vosk_port, whisperlive_port: ports of the same address on which only this protocol is spoken, for
            clients that have no other place for it; 0: none.
        wyoming_endpointing: end commands of Wyoming by the server's own endpointing, and not by the client's.
        token: token that clients must send; empty: there is none.
        tokens: TOML file with more tokens and what each allows: see `keys`; empty: there is none.
        allowed_origins: web origins other than the server's own whose pages may stream and use the API.
        allowed_frames: web origins whose pages may show the readers' page in a frame.
        trusted_proxies: networks of reverse proxies whose `X-Forwarded-*` headers are believed: see `forwarded`;
            `unix:` stands for all that connect to a Unix socket.
        allowed_hosts: names of the server in addition to its own, if names are checked: see `auth.check_host`. Names
            and origins get one form: lower case, no brackets, no usual port.
        protocols: the protocols that clients may speak; empty: all on loopback, and beyond it the native one and
            those with a port of their own.
        public_url: address under which people reach the page; empty: the one that they have used.
        tls_cert, tls_key: PEM files; browsers allow the microphone only with https or on localhost.
        tls_self_signed: serve https with a certificate that the server makes and keeps.
        processes: processes that serve the address together, each with inference processes of its own: see `parent`.
        max_streams: streams at a time; one more is refused with 503. None: as many as get their finals in time.
        max_readers: readers at a time, of all sessions together; one more is refused with 503. Each takes 24 KiB
            (measured), so the default number takes 120 MiB. The limit is lower if descriptors are few (`descriptors`).
        max_upload_mb: size of a recording that is uploaded, in MiB, at most. It is on the disk until it is transcribed,
            beside nine others at most.
        drain_timeout_s: time that a stop waits for the last captions. Docker kills after 10 s.
        resume_window_s: time that a session waits for a publisher whose connection was lost; 0: not at all.
        insecure: allow listening beyond loopback without a token. Anyone may then stream and see figures. Transcripts
            are listed, searched and deleted from this machine only: see `auth.check_operations`.
        http: the time-outs of clients over HTTP.
        process: the place of this process; None: it is the only one, or the parent.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    wyoming_port: int = 0
    wyoming_endpointing: bool = False
    vosk_port: int = 0
    whisperlive_port: int = 0
    token: str = ""
    tokens: str = ""
    allowed_origins: tuple[str, ...] = ()
    allowed_frames: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    public_url: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tls_self_signed: bool = False
    processes: int = 1
    max_streams: int | None = None
    max_readers: int = 5000
    max_upload_mb: int = 200
    drain_timeout_s: float = 7.0
    resume_window_s: float = 60.0
    insecure: bool = False
    http: HttpLimits = field(default_factory=HttpLimits)
    process: Place | None = None

    def __post_init__(self) -> None:
        if self.public_url and page_url(self.public_url) is None:
            raise ConfigError("public_url must be an address such as https://captions.example.org/hall")
        if not 1 <= self.processes <= 64:
            raise ConfigError("processes must be from 1 to 64")
        self._check_access()
        self._check_own_ports()
        normal = {"allowed_hosts": _normal_host, "allowed_origins": normal_origin, "allowed_frames": normal_origin}
        for name, function in normal.items():
            object.__setattr__(self, name, tuple(map(function, getattr(self, name))))

    @property
    def needs_key(self) -> bool:
        """True if clients need a token. A file without keys accepts nobody: it does not open the server."""
        return bool(self.token or self.tokens)

    @property
    def has_weak_token(self) -> bool:
        """True if the token may be found by trying."""
        return 0 < len(self.token) < MIN_TOKEN_CHARACTERS

    @property
    def spoken_protocols(self) -> tuple[str, ...]:
        """The protocols that clients may speak."""
        return self.protocols or (PROTOCOLS if is_on_this_machine(self.host) else ("native", *self.own_ports))

    @property
    def public_page(self) -> str | None:
        """The public address in one form, with `/` at its end; None: there is none."""
        return page_url(self.public_url)

    def _check_access(self) -> None:
        """Refuse values that would allow nobody, and a path that no socket can have."""
        if self.token != self.token.strip():
            raise ConfigError("token has a space before or after it, which clients cannot send")
        for origin in self.allowed_origins:
            if origin != NULL and (why := why_not_an_origin(origin)):
                raise ConfigError(f"allowed_origins: {why}")
        for name in self.protocols:
            if name not in PROTOCOLS:
                raise ConfigError(f"protocols: {name} is none; known are {', '.join(PROTOCOLS)}")
        for origin in self.allowed_frames:
            if origin == NULL:
                raise ConfigError("allowed_frames: a page with the origin null cannot be named. Put it on a web server")
            if why := why_not_an_origin(origin):
                raise ConfigError(f"allowed_frames: {why}")
        for name in self.allowed_hosts:
            if not _normal_host(name):
                raise ConfigError(
                    f"allowed_hosts: {name} is no host name. Write it without scheme and port: captions.example.org"
                )
        if self.unix_path is not None and not 0 < len(os.fsencode(self.unix_path)) <= MAX_UNIX_BYTES:
            raise ConfigError(f"host: {UNIX} needs the path of a socket, of at most {MAX_UNIX_BYTES} bytes")
        for network in self.trusted_proxies:
            try:
                networks_of((network,))
            except ValueError as error:
                raise ConfigError(
                    f"trusted_proxies: {error}. Write an address, or a network such as 10.0.0.0/8, or unix:"
                ) from None

    @property
    def unix_path(self) -> str | None:
        """The path of the Unix socket to listen on; None: the host is none."""
        return self.host.removeprefix(UNIX) if self.host.startswith(UNIX) else None

    def _check_own_ports(self) -> None:
        """Refuse ports that cannot be used, or that would admit everybody.

        Wyoming has no keys. So a server that needs one speaks it on this machine only, unless the operator has decided
        otherwise.
        """
        ports = self.own_ports
        for field_name, port in ports.items():
            if self.protocols and field_name not in self.protocols:
                raise ConfigError(f"{field_name}_port: protocols does not have {field_name}")
            if not 0 < port <= 65535:
                raise ConfigError(f"{field_name}_port must be from 0 to 65535")
            if self.unix_path is not None:
                raise ConfigError(f"{field_name}_port: a Unix socket has no ports, and host is one")
        if len({self.port, *ports.values()}) <= len(ports):
            raise ConfigError("port and the ports of protocols must differ")
        if self.wyoming_port and self.needs_key and not is_on_this_machine(self.host) and not self.insecure:
            raise ConfigError(
                f"wyoming_port: Wyoming has no keys, and {self.host} accepts other machines. Use --insecure if "
                "everybody who reaches this machine may stream over it, or a second server on a loopback address"
            )

    @property
    def own_ports(self) -> dict[str, int]:
        """The ports of protocols that have one of their own, by the name of the protocol."""
        ports = {"wyoming": self.wyoming_port, "vosk": self.vosk_port, "whisperlive": self.whisperlive_port}
        return {name: port for name, port in ports.items() if port}

    @property
    def place(self) -> str:
        """The address to listen on, for people."""
        return self.host if self.unix_path is not None else f"{self.host} port {self.port}"


def _normal_host(name: str) -> str:
    """Return a host name in lower case, or an address as browsers write it, without brackets. Empty: it is neither."""
    try:
        return str(ip_address(name.removeprefix("[").removesuffix("]")))
    except ValueError:
        return name.lower() if host_name(name) == name.lower() else ""


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach itself by `host`. `127.evil.example` is not such a name."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def is_on_this_machine(host: str) -> bool:
    """Return whether only this machine reaches a server that listens on `host`."""
    return host.startswith(UNIX) or is_loopback(host)
