"""How the server listens, whom it lets in, and what it allows each stream."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Attributes:
    host, port: where to listen; port 0 picks a free one.
    token: what clients must show; empty: nobody is asked.
    allowed_origins: web origins beside the server's own whose pages may stream.
    allowed_hosts: names by which a server may be called beside its own, where names count: see `auth.check_host`.
    tls_cert, tls_key: PEM files; browsers give the microphone only to https or localhost.
    max_streams: streams at a time; one more is refused with 503. None: as many as get their finals in time.
    max_readers: who read along at a time, of all sessions together; one more is refused with 503. Each was measured to
        take 24 KiB, so as many as the default take 120 MiB. Fewer where descriptors are few (`descriptors`).
    drain_timeout_s: how long a stop waits for the last captions. Docker kills after 10 s.
    resume_window_s: how long a session waits for a publisher whose connection was lost; 0: not at all.
    insecure: allow listening beyond loopback without a token.
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
