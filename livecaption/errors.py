"""Every error of livecaption: what a client is told and what the caller may do about it.

    LivecaptionError
    ├── ClientError             the peer sent something it must not send
    │   ├── InvalidMessage      not JSON, unknown type, wrong type of value, unknown option
    │   ├── WrongState          a message that is fine, at a time when it is not
    │   ├── MessageTooBig
    │   ├── InvalidAudio        undecodable, truncated or non-finite audio
    │   ├── TooSlow             it does not start, send or read in time
    │   ├── UnknownSession      there is no such session, it is over, or nothing of it was kept
    │   ├── InvalidQuery        of a list or search of transcripts
    │   └── Unauthorized, ForbiddenOrigin
    ├── Unavailable             asking again later may help: loading, overloaded, draining
    ├── EngineError             the inference process or its model
    │   ├── EngineUnusable      it can never start with these settings (missing model, no CUDA): do not retry
    │   ├── WorkerDied          the process is gone; whatever it had in flight was not answered
    │   └── TranscriptionFailed one request failed; the worker lives
    ├── StoreUnusable           transcripts cannot be kept where the settings say: do not start
    ├── StoreFailed             the store cannot be read or changed now
    └── ConfigError             a flag, variable or file of settings that makes no sense

`code` is the word on the wire. A fatal error closes its socket with `close_code`; an error that
is not fatal is reported as an event and the stream goes on. Before the upgrade the same error is
an HTTP answer with `http_status`.

The client's errors stand apart, `client.StreamError`: they tell a program what became of its connection, are
`ConnectionError`s, and carry the codes that the server sent.
"""

from typing import ClassVar


class LivecaptionError(Exception):
    """Base of every error of ours. The message is for people and never holds what was said.

    Attributes:
        code: stable word for programs, listed in docs/protocol.md.
        fatal: whether the stream ends with it.
        retry_after_s: seconds after which asking again makes sense; None: it does not.
    """

    close_code: ClassVar[int] = 1011
    http_status: ClassVar[int] = 500
    default_code: ClassVar[str] = "internal"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        fatal: bool = True,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.fatal = fatal
        self.retry_after_s = retry_after_s


class ClientError(LivecaptionError):
    """The peer broke the protocol; nothing of ours changed."""

    close_code = 1008
    http_status = 400
    default_code = "invalid_message"


class InvalidMessage(ClientError):
    """Not JSON, not an object, an unknown `type`, a missing field, a wrong value."""


class WrongState(ClientError):
    """A known message at the wrong time, such as audio before `start`."""

    default_code = "wrong_state"


class MessageTooBig(ClientError):
    """One WebSocket message over the limit."""

    close_code = 1009
    http_status = 413
    default_code = "message_too_big"


class InvalidAudio(ClientError):
    """Audio that cannot be decoded.

    Codes: `invalid_container`, `truncated_audio` (not fatal: half a sample at the end),
    `non_finite_audio` (not fatal: NaN and infinities are taken as silence).
    """

    default_code = "invalid_audio"


class TooSlow(ClientError):
    """The peer let a deadline pass. Codes: `start_timeout`, `idle_timeout`."""

    default_code = "start_timeout"


class UnknownSession(ClientError):
    """There never was such a session, or it is forgotten.

    Codes: `unknown_session`; `session_ended`: it is over, and all of it was told; `no_store`: nothing is kept here.
    """

    http_status = 404
    default_code = "unknown_session"


class InvalidQuery(ClientError):
    """What follows the `?` makes no sense."""

    default_code = "invalid_query"


class Unauthorized(ClientError):
    """A token is needed and the peer did not show it. Code `wrong_token`: a session's own, not the operator's."""

    http_status = 401
    default_code = "unauthorized"


class ForbiddenOrigin(ClientError):
    """A browser page of another site tried to connect."""

    http_status = 403
    default_code = "forbidden_origin"


class Unavailable(LivecaptionError):
    """Not now. Codes: `loading`, `overloaded`, `draining`, `failed`, `too_many_readers`."""

    close_code = 1013
    http_status = 503
    default_code = "overloaded"


class EngineError(LivecaptionError):
    """The inference process or its model failed."""

    default_code = "engine_error"


class EngineUnusable(EngineError):
    """The engine cannot start with these settings, now or later. Trying again is useless."""

    default_code = "engine_unusable"


class WorkerDied(EngineError):
    """The worker process is gone. Its requests may be sent to another."""

    default_code = "worker_died"


class TranscriptionFailed(EngineError):
    """One utterance could not be transcribed. Not fatal: its final comes, with the words that were committed already.

    Codes: `transcription_failed`, `quarantined` (its audio ended the worker twice, and is not tried again).
    """

    default_code = "transcription_failed"


class StoreUnusable(LivecaptionError):
    """Transcripts cannot be kept there: no room, no right, another server, not a database of ours."""

    default_code = "store_unusable"


class StoreFailed(LivecaptionError):
    """The transcripts cannot be read or deleted now; captions go on."""

    http_status = 503
    default_code = "store_failed"


class ConfigError(LivecaptionError):
    """Settings that make no sense; the message names the flag, variable or key."""

    default_code = "invalid_config"
