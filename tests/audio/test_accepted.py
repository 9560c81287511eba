"""The lists of formats are FFmpeg's names, and the one for strangers is short."""

import av
import pytest

from livecaption.audio.accepted import FILES, STREAMS, Accepted


@pytest.mark.parametrize("accepted", [STREAMS, FILES], ids=["streams", "files"])
def test_each_name_is_one_of_ffmpeg(accepted: Accepted) -> None:
    known = {name for names in av.formats_available for name in names.split(",")}
    assert set(accepted.formats) <= known
    for name in accepted.codecs:
        assert av.Codec(name, "r").type == "audio"


def test_files_may_be_all_that_streams_may_be() -> None:
    assert set(STREAMS.formats) < set(FILES.formats)
    assert STREAMS.codecs < FILES.codecs


@pytest.mark.parametrize("accepted", [STREAMS, FILES], ids=["streams", "files"])
def test_no_format_leads_to_other_files_or_hosts(accepted: Accepted) -> None:
    assert not {"hls", "concat", "dash", "sdp", "rtsp", "lavfi", "image2", "tedcaptions", "applehttp"} & set(
        accepted.formats
    )
    assert accepted.options["protocol_whitelist"] == ""
