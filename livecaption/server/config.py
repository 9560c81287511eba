"""The settings of the server: addresses, access, and limits of streams and readers."""

from dataclasses import dataclass, field


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
        tls_cert, tls_key: PEM files; browsers allow the microphone only with https or on localhost.
        max_streams: streams at a time; one more is refused with 503. None: as many as get their finals in time.
        max_readers: readers at a time, of all sessions together; one more is refused with 503. Each takes 24 KiB
            (measured), so the default number takes 120 MiB. The limit is lower if descriptors are few (`descriptors`).
        drain_timeout_s: time that a stop waits for the last captions. Docker kills after 10 s.
        resume_window_s: time that a session waits for a publisher whose connection was lost; 0: not at all.
        insecure: allow listening beyond loopback without a token.
        http: the time-outs of clients over HTTP.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    tls_cert: str = ""
    tls_key: str = ""
    max_streams: int | None = None
    max_readers: int = 5000
    drain_timeout_s: float = 7.0
    resume_window_s: float = 60.0
    insecure: bool = False
    http: HttpLimits = field(default_factory=HttpLimits)
