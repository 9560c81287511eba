"""OpenAI's error object and its answers to requests, the same for streams and recordings. Pure."""

import json
from typing import Any

from livecaption.errors import InvalidUpload, LivecaptionError
from livecaption.live.dialects.dialect import HttpAnswer
from livecaption.live.dialects.refusals import refusal_headers

CODES = {
    "unauthorized": "invalid_api_key",
    "unsupported_task": "unsupported_model",
    "minutes_used_up": "insufficient_quota",
    "too_many_streams": "rate_limit_exceeded",
    "overloaded": "server_overloaded",
    "unknown_address": "unknown_url",
    "wrong_method": "method_not_supported",
}
"""OpenAI's codes for errors that it has too, by ours."""
FIELDS = {
    "unsupported_language": "language",
    "unsupported_speakers": "response_format",
    "invalid_container": "file",
    "empty_recording": "file",
}
"""The fields of a form that errors are about, by their code, unless an error names one."""
FAILURES = ("engine_error", "engine_unusable", "worker_died", "transcription_failed", "quarantined")
"""Codes of errors behind which a final has no answer of the engine."""
SERVER_ERRORS = ("internal", "failed", "overloaded", "loading", "draining", *FAILURES)
"""Codes of errors that are no fault of the client, in a stream."""


def error_object(message: str, code: str, param: str | None = None) -> dict[str, Any]:
    """Return the object of an error with this code, ours or OpenAI's own. `param` is what it is about."""
    return _object(message, code, param, is_ours=code in SERVER_ERRORS)


def object_of(error: LivecaptionError) -> dict[str, Any]:
    """Return the object of an error that is the answer to a request."""
    field = (error.field if isinstance(error, InvalidUpload) else None) or FIELDS.get(error.code)
    return _object(error.message, error.code, field, is_ours=error.http_status >= 500)


def refusal(error: LivecaptionError, request_id: str = "") -> HttpAnswer:
    """Answer a request that is refused, with the status of the error. Clients show the message of OpenAI's object.

    They send a request again after many errors, with the whole recording. A header forbids that if it cannot help.
    """
    del request_id  # each answer has it in a header
    headers = refusal_headers(error) | {"x-should-retry": "false" if error.retry_after_s is None else "true"}
    return HttpAnswer(error.http_status, json.dumps({"error": object_of(error)}, ensure_ascii=False), headers)


def _object(message: str, code: str, param: str | None, *, is_ours: bool) -> dict[str, Any]:
    kind = "server_error" if is_ours else "invalid_request_error"
    return {"message": message, "type": kind, "param": param, "code": CODES.get(code, code)}
