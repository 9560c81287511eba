"""The outcomes of container streams, as the attacks on decoders count them."""

import pytest

from livecaption.evaluation.containers import KINDS, encode
from livecaption.evaluation.decoding_attacks import outcome_of
from livecaption.evaluation.server_process import serving
from tests.support.streaming import jfk_pcm


@pytest.mark.processes
async def test_an_outcome_is_the_end_or_the_first_error_of_a_stream() -> None:
    recording = encode(jfk_pcm()[:32_000], KINDS["flac"])
    async with serving("--store", "none") as server:
        url = await server.ready()
        assert await outcome_of(url, recording) == "end"
        assert await outcome_of(url, recording[:-1000]) == "truncated_audio"
        assert await outcome_of(url, b"rubbish" * 10_000) == "invalid_container"
    assert await outcome_of(url, recording) == "closed"
