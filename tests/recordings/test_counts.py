"""Recordings are counted by their protocol, and failures by their code."""

import pytest

from livecaption.errors import InvalidUpload, UploadTooLarge
from livecaption.recordings.counts import RecordingCounts


def test_a_recording_is_here_until_its_block_ends() -> None:
    counts = RecordingCounts()
    with counts.accepted("openai"), counts.accepted("deepgram"):
        with counts.accepted("openai"):
            assert counts.n_here == {"openai": 2, "deepgram": 1}
        assert counts.n_here == {"openai": 1, "deepgram": 1}
    assert counts.n_here == {"openai": 0, "deepgram": 0}
    assert counts.n_accepted == {"openai": 2, "deepgram": 1}


def test_a_failure_is_counted_by_its_code_and_other_errors_are_none() -> None:
    counts = RecordingCounts()
    for error in (InvalidUpload("no"), UploadTooLarge("no"), InvalidUpload("no"), ConnectionResetError()):
        with pytest.raises(type(error)), counts.failures("openai"):
            raise error
    assert counts.n_failed == {"openai": {"invalid_upload": 2, "upload_too_large": 1}}
