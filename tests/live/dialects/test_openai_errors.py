"""OpenAI's error object: its own codes where it has one, and whose fault it was."""

import json

from livecaption.errors import (
    InvalidAudio,
    InvalidMessage,
    InvalidUpload,
    LimitReached,
    LivecaptionError,
    TranscriptionFailed,
    Unauthorized,
    Unavailable,
)
from livecaption.events import ErrorReport
from livecaption.live.dialects.openai_errors import CODES, FAILURES, error_object, object_of, refusal
from tests.support.cases import for_each


@for_each(
    ("error", "kind", "code", "param"),
    [
        (Unauthorized("?"), "invalid_request_error", "invalid_api_key", None),
        (LimitReached("?"), "invalid_request_error", "rate_limit_exceeded", None),
        (LimitReached("?", code="minutes_used_up"), "invalid_request_error", "insufficient_quota", None),
        (InvalidUpload("?", field="stream"), "invalid_request_error", "invalid_upload", "stream"),
        (InvalidAudio("?", code="invalid_container"), "invalid_request_error", "invalid_container", "file"),
        (Unavailable("?"), "server_error", "server_overloaded", None),
        (Unavailable("?", code="loading"), "server_error", "loading", None),
        (TranscriptionFailed("?"), "server_error", "transcription_failed", None),
    ],
)
def test_an_error_has_the_code_of_openai_and_its_kind(
    error: LivecaptionError, kind: str, code: str, param: str | None
) -> None:
    assert object_of(error) == {"message": "?", "type": kind, "param": param, "code": code}


@for_each("code", ["overloaded", "draining", "failed", *FAILURES])
def test_an_error_of_a_stream_has_the_same_code_and_kind_as_one_of_a_recording(code: str) -> None:
    error = Unavailable("?", code=code)
    report = ErrorReport.of(error, fatal=True)
    assert error_object(report.message, report.code) == object_of(error)


def test_codes_of_openai_stay_as_they_are() -> None:
    assert error_object("?", "invalid_value", "audio") == {
        "message": "?",
        "type": "invalid_request_error",
        "param": "audio",
        "code": "invalid_value",
    }
    assert not set(CODES) & set(CODES.values())


@for_each(
    ("error", "status", "kind", "code", "param"),
    [
        (Unauthorized("no"), 401, "invalid_request_error", "invalid_api_key", None),
        (InvalidUpload("no", field="stream"), 400, "invalid_request_error", "invalid_upload", "stream"),
        (InvalidAudio("no", code="invalid_container"), 400, "invalid_request_error", "invalid_container", "file"),
        (InvalidMessage("no", code="unsupported_task"), 400, "invalid_request_error", "unsupported_model", None),
        (TranscriptionFailed("no"), 500, "server_error", "transcription_failed", None),
    ],
)
def test_a_failure_that_would_come_again_is_no_reason_to_send_the_recording_again(
    error: LivecaptionError, status: int, kind: str, code: str, param: str | None
) -> None:
    refused = refusal(error)
    assert (refused.status, refused.headers["x-should-retry"]) == (status, "false")
    assert json.loads(refused.body) == {"error": {"message": "no", "type": kind, "param": param, "code": code}}


def test_overload_names_the_time_of_another_attempt() -> None:
    refused = refusal(Unavailable("later", code="too_many_uploads", retry_after_s=10.0))
    assert (refused.status, refused.headers["Retry-After"]) == (503, "10")
    assert refused.headers["x-should-retry"] == "true"
