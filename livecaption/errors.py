"""Define every error of livecaption: what a client receives, and what the caller may do about it.

    LivecaptionError
    ├── ClientError             the peer sent something that it must not send
    │   ├── InvalidMessage      not JSON, unknown type, wrong type of value, unknown option
    │   ├── WrongState          a valid message at the wrong time
    │   ├── MessageTooBig
    │   ├── InvalidAudio        undecodable, truncated or non-finite audio
    │   ├── InvalidUpload       a request with a recording is not what its protocol allows, or the recording is empty
    │   ├── UploadTooLarge          a recording has too many bytes, or is too long
    │   ├── EncodedUpload           a recording is compressed for the transport
    │   ├── TooSlow             it does not start, send or read in time
    │   ├── UnknownSession      there is no such session, it has ended, or nothing of it was kept
    │   ├── UnknownModel        a model that is not the loaded one
    │   ├── InvalidQuery        malformed query for a list or search of transcripts
    │   └── Unauthorized, ForbiddenRole, ForbiddenOrigin, LocalOnly
    ├── Unavailable             a later attempt may succeed: loading, overloaded, draining
    ├── LimitReached            this client has used what it may use; others are served
    ├── EngineError             the inference process or its model
    │   ├── EngineUnusable      it can never start with these settings (missing model, no CUDA): do not retry
    │   ├── OutOfMemory         memory is short: a smaller batch or a later attempt may succeed
    │   ├── WorkerDied          the process is gone; its requests in flight were not answered
    │   └── TranscriptionFailed one request failed; the worker goes on
    ├── StoreUnusable           transcripts cannot be kept in the configured place: do not start
    │   └── StoreAway               not now, but a later start may succeed: the database does not run yet
    ├── StoreFailed             the store cannot be read or changed now
    └── ConfigError             an invalid flag, variable or file of settings

`code` is the word on the wire. A fatal error closes its socket with `close_code`. An error that is not fatal is
reported as an event, and the stream goes on. Before the upgrade the same error is an HTTP answer with `http_status`.

The errors of the client are separate: `client.StreamError`. They report the fate of a connection to a program, are
`ConnectionError`s, and carry the codes that the server sent.
"""

from typing import ClassVar


class LivecaptionError(Exception):
    """Base of every error of livecaption. The message is for people and never contains what anybody said.

    Attributes:
        message: the message.
        code: stable word for programs, listed in docs/protocol.md.
        fatal: True if the error ends the stream.
        retry_after_s: seconds after which another attempt makes sense; None: it does not.
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
    """The peer broke the protocol. The state of the session is unchanged."""

    close_code = 1008
    http_status = 400
    default_code = "invalid_message"


class InvalidMessage(ClientError):
    """A message is not JSON, not an object, of an unknown `type`, or has a missing field or a wrong value."""


class WrongState(ClientError):
    """A known message came at the wrong time, such as audio before `start`."""

    default_code = "wrong_state"


class MessageTooBig(ClientError):
    """A WebSocket message is larger than the limit."""

    close_code = 1009
    http_status = 413
    default_code = "message_too_big"


class InvalidAudio(ClientError):
    """Audio cannot be decoded.

    Codes: `invalid_container`, `truncated_audio` (not fatal: half a sample at the end), `non_finite_audio` (not fatal:
    NaN and infinities are replaced by silence), `wrong_encoding` (not fatal: the bytes look like another encoding).
    """

    default_code = "invalid_audio"


class InvalidUpload(ClientError):
    """A request with a recording is wrong. Codes: `invalid_upload`, `empty_recording`.

    Attributes:
        field: the field that is wrong; None: the request as a whole.
    """

    default_code = "invalid_upload"

    def __init__(self, message: str, *, code: str | None = None, field: str | None = None) -> None:
        super().__init__(message, code=code)
        self.field = field


class UploadTooLarge(ClientError):
    """A recording, or a field of its request, exceeds a limit. Codes: `upload_too_large`, `recording_too_long`."""

    http_status = 413
    default_code = "upload_too_large"


class EncodedUpload(ClientError):
    """A request with a recording has a `Content-Encoding`: a few bytes could become many."""

    http_status = 415
    default_code = "unsupported_content_encoding"


class TooSlow(ClientError):
    """The peer missed a deadline. Codes: `start_timeout`, `idle_timeout`, `body_timeout`, `upload_timeout`."""

    http_status = 408
    default_code = "start_timeout"


class UnknownSession(ClientError):
    """There never was such a session, or it is forgotten.

    Codes: `unknown_session`; `session_ended`: it is over, and all its events were sent; `no_store`: no transcripts are
    kept here.
    """

    http_status = 404
    default_code = "unknown_session"


class UnknownModel(ClientError):
    """A client asks about a model that is not loaded."""

    http_status = 404
    default_code = "model_not_found"


class InvalidQuery(ClientError):
    """The query of a URL is invalid."""

    default_code = "invalid_query"


class Unauthorized(ClientError):
    """The peer did not show a required token. Code `wrong_token`: it must be the session's own, not the operator's."""

    http_status = 401
    default_code = "unauthorized"


class ForbiddenRole(ClientError):
    """The peer's key is valid, and does not allow this."""

    http_status = 403
    default_code = "forbidden_role"


class ForbiddenOrigin(ClientError):
    """A browser page of another site tried to connect."""

    http_status = 403
    default_code = "forbidden_origin"


class LocalOnly(ClientError):
    """The server has no token, and the client may be on another machine than the server."""

    http_status = 403
    default_code = "local_only"


class Unavailable(LivecaptionError):
    """The server cannot do this now.

    Codes: `loading`, `overloaded`, `draining`, `failed`, `too_many_readers`, `too_many_uploads`.
    """

    close_code = 1013
    http_status = 503
    default_code = "overloaded"


class LimitReached(LivecaptionError):
    """This client has used what it may use.

    Codes: `too_many_attempts`, `too_many_streams`, `too_many_uploads`, `minutes_used_up`.
    """

    close_code = 1013
    http_status = 429
    default_code = "too_many_streams"


class UnknownAddress(LivecaptionError):
    """A request is for an address that its protocol does not have here."""

    http_status = 404
    default_code = "unknown_address"


class WrongMethod(LivecaptionError):
    """A request is for an address that has other methods."""

    http_status = 405
    default_code = "wrong_method"


class EngineError(LivecaptionError):
    """The inference process or its model failed."""

    default_code = "engine_error"


class EngineUnusable(EngineError):
    """The engine cannot start with these settings, now or later. A retry is useless."""

    default_code = "engine_unusable"


class OutOfMemory(EngineError):
    """The device has too little memory for this now. Less at once, or a later attempt, may succeed."""


class WorkerDied(EngineError):
    """The worker process is gone. Its requests may be sent to another worker."""

    default_code = "worker_died"


class TranscriptionFailed(EngineError):
    """One utterance could not be transcribed. This is not fatal: its final has the committed words.

    Codes: `transcription_failed`, `quarantined` (its audio crashed the worker twice, and is not tried again).
    """

    default_code = "transcription_failed"


class StoreUnusable(LivecaptionError):
    """Transcripts cannot be kept there: no space, no permission, another server, or another program's database."""

    default_code = "store_unusable"


class StoreAway(StoreUnusable):
    """Transcripts cannot be kept there now, because the network is down, or their database does not run yet."""


class UpgradeRequired(LivecaptionError):
    """A plain GET of the stream endpoint that passed all checks. A page sends it to check before it connects."""

    http_status = 426
    default_code = "upgrade_required"


class StoreFailed(LivecaptionError):
    """The transcripts cannot be read or deleted now. Captions go on."""

    http_status = 503
    default_code = "store_failed"


class ConfigError(LivecaptionError):
    """A setting is invalid. The message names the flag, variable or key."""

    default_code = "invalid_config"
