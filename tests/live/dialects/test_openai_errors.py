"""OpenAI's error object: its own codes where it has one, and whose fault it was."""

from livecaption.errors import (
    InvalidAudio,
    InvalidUpload,
    LimitReached,
    LivecaptionError,
    TranscriptionFailed,
    Unauthorized,
    Unavailable,
)
from livecaption.events import ErrorReport
from livecaption.live.dialects.openai_errors import CODES, FAILURES, error_object, object_of
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
